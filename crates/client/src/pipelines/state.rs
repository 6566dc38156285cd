//! A pipeline as it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::convert;
use crate::error::{Error, Result};
use crate::spec::Spec;

/// A pipeline as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineState {
    /// Its name.
    pub name: String,
    /// Rises with every change; 0 where there was none.
    pub version: i64,
    /// It exists without any update: it is built in or configured.
    pub permanent: bool,
    /// How long values are fresh in the cache, by step.
    pub cache_ttls: BTreeMap<String, Duration>,
    /// How often a step may run.
    pub limits: BTreeMap<String, Spec>,
    /// How many of a step may run at a time.
    pub concurrency: BTreeMap<String, i64>,
    /// How long a lock lasts unless it is kept alive, by step.
    pub lock_ttls: BTreeMap<String, Duration>,
    /// Where each value comes from.
    pub values: Vec<PipelineValue>,
}

/// Where one value comes from, and by which names it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineValue {
    /// Which value, for example `cache_ttls.embedding`.
    pub path: String,
    /// The same in one word, for example `embedding_cache_ttl`.
    pub alias: String,
    /// Where it comes from.
    pub source: PipelineSource,
    /// The limit to charge, for `limits` and `concurrency`.
    pub limit: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineSource {
    /// It is built in.
    BuiltIn,
    /// The daemon's configuration sets it.
    Configuration,
    /// An update has set it.
    Update,
}

impl PipelineState {
    /// How long values of a step are fresh in the cache.
    #[must_use]
    pub fn cache_ttl(&self, step: &str) -> Option<Duration> {
        self.cache_ttls.get(step).copied()
    }

    /// Where a value comes from, by its path or alias.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<PipelineSource> {
        let mut values = self.values.iter();
        let value = values.find(|value| value.path == name || value.alias == name);
        value.map(|value| value.source)
    }
}

impl TryFrom<proto::Pipeline> for PipelineState {
    type Error = Error;

    fn try_from(pipeline: proto::Pipeline) -> Result<Self> {
        let settings = convert::required(pipeline.settings, "settings")?;
        let spans = |spans: std::collections::HashMap<String, prost_types::Duration>| {
            let spans = spans
                .into_iter()
                .map(|(step, ttl)| Ok((step, convert::duration(Some(ttl), "ttl")?)));
            spans.collect::<Result<_>>()
        };
        let limits = settings.limits.into_iter();
        let limits = limits.map(|(step, spec)| Ok((step, Spec::try_from(spec)?)));
        Ok(Self {
            name: pipeline.name,
            version: pipeline.version,
            permanent: pipeline.permanent,
            cache_ttls: spans(settings.cache_ttls)?,
            limits: limits.collect::<Result<_>>()?,
            concurrency: settings.concurrency.into_iter().collect(),
            lock_ttls: spans(settings.lock_ttls)?,
            values: convert::all(pipeline.values)?,
        })
    }
}

impl TryFrom<proto::PipelineValue> for PipelineValue {
    type Error = Error;

    fn try_from(value: proto::PipelineValue) -> Result<Self> {
        use proto::PipelineSource as Wire;
        let source = match Wire::try_from(value.source) {
            Ok(Wire::BuiltIn) => PipelineSource::BuiltIn,
            Ok(Wire::Configuration) => PipelineSource::Configuration,
            Ok(Wire::Update) => PipelineSource::Update,
            Ok(Wire::Unspecified) | Err(_) => {
                return Err(convert::unknown(value.source, "source"));
            }
        };
        Ok(Self {
            path: value.path,
            alias: value.alias,
            source,
            limit: Some(value.limit).filter(|limit| !limit.is_empty()),
        })
    }
}
