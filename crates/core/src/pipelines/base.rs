//! What a daemon starts with: the built-in pipelines under those of its configuration.

use super::builtin::built_in;
use super::name::PipelineName;
use super::pipeline::{Pipeline, PipelineSource};
use super::setting::Settings;
use crate::{Micros, Result};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// Bounds on pipelines and their values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineBounds {
    /// Pipelines that updates have made or changed, in one namespace.
    pub max_pipelines: usize,
    /// Steps with a value of one kind, in one pipeline.
    pub max_steps: usize,
    /// The longest TTL of a cache entry.
    pub max_cache_ttl: Micros,
    /// The longest TTL of a lock.
    pub max_lock_ttl: Micros,
}

impl Default for PipelineBounds {
    fn default() -> Self {
        Self {
            max_pipelines: 1_000,
            max_steps: 64,
            max_cache_ttl: Micros::from_secs(366 * 24 * 3_600),
            max_lock_ttl: Micros::from_secs(3_600),
        }
    }
}

/// The pipelines of a namespace that no update has changed. The same for all namespaces.
#[derive(Clone, Debug)]
pub struct Base {
    pipelines: BTreeMap<PipelineName, Arc<Pipeline>>,
    bounds: PipelineBounds,
}

impl Base {
    /// The built-in pipelines with those of the configuration over them. Errors: a bound that the built-in ones do not
    /// keep.
    pub fn new(configured: &[(PipelineName, Settings)], bounds: PipelineBounds) -> Result<Self> {
        let mut pipelines = BTreeMap::new();
        let built_in = built_in(&bounds)?;
        let layers = [
            (PipelineSource::BuiltIn, &built_in[..]),
            (PipelineSource::Configuration, configured),
        ];
        for (source, layer) in layers {
            for (name, settings) in layer {
                let below = pipelines.remove(name);
                let below = below.unwrap_or_else(|| Pipeline::new(name.clone()).permanent());
                pipelines.insert(name.clone(), below.over(settings, source));
            }
        }
        let pipelines = pipelines.into_iter();
        Ok(Self {
            pipelines: pipelines.map(|(name, it)| (name, Arc::new(it))).collect(),
            bounds,
        })
    }

    /// The bounds that values keep.
    #[must_use]
    pub fn bounds(&self) -> &PipelineBounds {
        &self.bounds
    }

    /// The pipeline of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Pipeline>> {
        self.pipelines.get(name)
    }

    /// Those after a name, in order.
    pub(super) fn after<'a>(
        &'a self,
        name: Option<&'a PipelineName>,
    ) -> impl Iterator<Item = &'a Arc<Pipeline>> {
        let from = name.map_or(Unbounded, Excluded);
        self.pipelines
            .range::<PipelineName, _>((from, Unbounded))
            .map(|(_, it)| it)
    }
}
