//! A pipeline with the values in force, and the names of its limits.

use super::name::{PipelineName, StepName, StepRef};
use super::setting::{SettingKey, SettingKind, SettingValue, Settings};
use crate::limits::LimitSpec;
use crate::{Error, Micros, Name, Result};
use std::collections::BTreeMap;

/// What ends the name of a limit of slots.
const SLOTS: &str = "slots";

/// Where a value comes from; a later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PipelineSource {
    /// It is built in.
    BuiltIn,
    /// The configuration sets it.
    Configuration,
    /// An update has set it.
    Update,
}

/// A pipeline as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    name: PipelineName,
    version: u64,
    permanent: bool,
    /// By [`SettingKind`].
    values: [BTreeMap<StepName, (SettingValue, PipelineSource)>; 4],
}

impl Pipeline {
    /// One without values, that nothing has changed.
    #[must_use]
    pub fn new(name: PipelineName) -> Self {
        Self {
            name,
            version: 0,
            permanent: false,
            values: Default::default(),
        }
    }

    /// The same under a version.
    #[must_use]
    pub fn at(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// The same, existing without any update.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }

    /// The same with these values over those that are there.
    #[must_use]
    pub fn over(mut self, settings: &Settings, source: PipelineSource) -> Self {
        for (kind, step, value) in settings.iter() {
            self.values[kind as usize].insert(step.clone(), (value.clone(), source));
        }
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &PipelineName {
        &self.name
    }

    /// Rises with every change; 0 where there was none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether it exists without any update.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// The values in force, and where they come from.
    pub fn values(
        &self,
    ) -> impl Iterator<Item = (SettingKind, &StepName, &SettingValue, PipelineSource)> {
        SettingKind::ALL.into_iter().flat_map(|kind| {
            let values = self.values[kind as usize].iter();
            values.map(move |(step, (value, source))| (kind, step, value, *source))
        })
    }

    /// A value in force.
    #[must_use]
    pub fn value(&self, kind: SettingKind, step: &str) -> Option<&SettingValue> {
        self.values[kind as usize].get(step).map(|(value, _)| value)
    }

    /// The TTL of a step, else `inline`. Errors: `InvalidField` for `field` when there is neither.
    pub fn ttl(
        &self,
        kind: SettingKind,
        step: &StepRef,
        inline: Option<Micros>,
        field: &str,
    ) -> Result<Micros> {
        if let Some(SettingValue::Ttl(ttl)) = self.value(kind, step.step.as_str()) {
            return Ok(*ttl);
        }
        inline.ok_or_else(|| {
            let known: Vec<_> = self.values[kind as usize].keys().map(StepName::as_str).collect();
            let allowed = format!(
                "must name a step of pipeline {} with a value in {}, or the request needs a ttl; there are: {}",
                self.name,
                kind.map(),
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
            Error::invalid(field, allowed)
        })
    }

    /// The limits that it declares.
    pub fn limits(&self) -> impl Iterator<Item = (Result<Name>, &LimitSpec)> {
        self.values()
            .filter_map(|(kind, step, value, _)| match value {
                SettingValue::Limit(spec) => Some((limit_name(&self.name, kind, step), spec)),
                SettingValue::Ttl(_) => None,
            })
    }

    /// The spec of the limit of that name, when it is one of this pipeline.
    #[must_use]
    pub fn limit(&self, kind: SettingKind, step: &str) -> Option<&LimitSpec> {
        match self.value(kind, step)? {
            SettingValue::Limit(spec) => Some(spec),
            SettingValue::Ttl(_) => None,
        }
    }

    /// The limit of a setting; `None` for a TTL.
    #[must_use]
    pub fn limit_of(&self, key: &SettingKey) -> Option<Name> {
        match key.kind {
            SettingKind::Limit | SettingKind::Concurrency => {
                limit_name(&self.name, key.kind, &key.step).ok()
            }
            SettingKind::CacheTtl | SettingKind::LockTtl => None,
        }
    }
}

/// `<pipeline>.<step>`, and `<pipeline>.<step>.slots` for a concurrency.
fn limit_name(pipeline: &PipelineName, kind: SettingKind, step: &StepName) -> Result<Name> {
    let name = match kind {
        SettingKind::Concurrency => format!("{pipeline}.{step}.{SLOTS}"),
        _ => format!("{pipeline}.{step}"),
    };
    Name::new(name, "limit")
}

/// The pipeline, kind and step that a limit would belong to by its name. Allocates nothing: it is asked for every charge.
#[must_use]
pub fn limit_parts(name: &str) -> Option<(&str, SettingKind, &str)> {
    let (pipeline, rest) = name.split_once('.')?;
    match rest.split_once('.') {
        None => Some((pipeline, SettingKind::Limit, rest)),
        Some((step, SLOTS)) => Some((pipeline, SettingKind::Concurrency, step)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_limit_tells_its_setting() {
        let pipeline = Pipeline::new(PipelineName::new("vision_rag", "name").unwrap());
        for path in ["limits.llm", "concurrency.images", "concurrency.default"] {
            let key = SettingKey::parse(path, "path").unwrap();
            let name = pipeline.limit_of(&key).unwrap();
            let parts = limit_parts(name.as_str());
            assert_eq!(parts, Some(("vision_rag", key.kind, key.step.as_str())));
        }
        for other in ["llm", "", "a.b.c", "a.b.slots.d"] {
            assert_eq!(limit_parts(other), None, "{other:?}");
        }
        let ttl = SettingKey::parse("cache_ttl", "path").unwrap();
        assert_eq!(pipeline.limit_of(&ttl), None);
    }
}
