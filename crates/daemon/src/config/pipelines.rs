//! Pipelines: the group's table, and those that the configuration sets: `[[pipelines.declared]]` in a file.
//!
//! Each value is checked as the API checks an update, and refused by its index and field.

use super::allowed::Allowed::Count;
use super::declared::{Rate, Window, allowed, find, index_style, one_spec};
use super::effective::{Declarations, show};
use super::error::Problem;
use super::settings::{MILLION, Setting, setting};
use super::span::Span;
use figment::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use trellis_core::limits::{ConcurrencySpec, LimitSpec};
use trellis_core::pipelines::{
    Base, PipelineBounds, PipelineName, SettingKey, SettingKind, SettingValue, Settings, StepName,
};
use trellis_core::{Error, Micros, Result};
use trellis_local::MemoryPipelinesConfig;

/// The most pipelines that a file sets.
const MAX_DECLARED: usize = 1_000;

/// The group `pipelines`. The table below tells what each means.
#[derive(Clone, Debug, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "they are named as the settings are"
)]
pub(super) struct PipelinesSettings {
    max_namespaces: usize,
    max_pipelines: usize,
    max_steps: usize,
}

impl PipelinesSettings {
    pub(super) fn memory(&self) -> MemoryPipelinesConfig {
        MemoryPipelinesConfig {
            max_namespaces: self.max_namespaces,
        }
    }

    /// Bounds on values, with the longest TTLs of cache and locks.
    pub(super) fn bounds(&self, max_cache_ttl: Micros, max_lock_ttl: Micros) -> PipelineBounds {
        PipelineBounds {
            max_pipelines: self.max_pipelines,
            max_steps: self.max_steps,
            max_cache_ttl,
            max_lock_ttl,
        }
    }
}

/// The table of the group.
pub(super) static PIPELINES: &[Setting] = &[
    setting(
        "pipelines.max_namespaces",
        "1024",
        Count(1, MILLION),
        "Namespaces with pipelines that updates have made or changed. Further ones fail with TOO_MANY_NAMESPACES.",
    ),
    setting(
        "pipelines.max_pipelines",
        "1000",
        Count(1, 100_000),
        "Pipelines of one namespace that updates have made or changed. Further ones fail with TOO_MANY_PIPELINES.",
    ),
    setting(
        "pipelines.max_steps",
        "64",
        Count(8, 1_000),
        "Steps with a value of one kind, in one pipeline.",
    ),
];

/// A pipeline as a file sets it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredPipeline {
    name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    cache_ttls: BTreeMap<String, Span>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, Limit>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    concurrency: BTreeMap<String, i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lock_ttls: BTreeMap<String, Span>,
}

/// The limit of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
}

impl DeclaredPipeline {
    /// Its name and values. Errors name the field.
    fn read(&self, bounds: &PipelineBounds) -> Result<(PipelineName, Settings)> {
        let mut settings = Settings::default();
        let mut set = |kind: SettingKind, step: &str, value: SettingValue| {
            let step = StepName::new(step, kind.map())?;
            settings.set(SettingKey { kind, step }, value, bounds)
        };
        for (step, ttl) in &self.cache_ttls {
            set(
                SettingKind::CacheTtl,
                step,
                SettingValue::Ttl((*ttl).into()),
            )?;
        }
        for (step, limit) in &self.limits {
            let spec = one_spec(limit.rate.as_ref(), limit.window.as_ref(), None);
            let spec = spec.map_err(|error| error.within(format_args!("limits.{step}")))?;
            set(SettingKind::Limit, step, SettingValue::Limit(spec))?;
        }
        for (step, slots) in &self.concurrency {
            let spec = ConcurrencySpec::new(*slots).map_err(|error| {
                let allowed = error.violation.map_or(error.message, |it| it.allowed);
                Error::invalid(format!("concurrency.{step}"), allowed)
            })?;
            let spec = SettingValue::Limit(LimitSpec::Concurrency(spec));
            set(SettingKind::Concurrency, step, spec)?;
        }
        for (step, ttl) in &self.lock_ttls {
            set(SettingKind::LockTtl, step, SettingValue::Ttl((*ttl).into()))?;
        }
        Ok((PipelineName::new(self.name.as_str(), "name")?, settings))
    }
}

/// The pipelines as they were written, and what a daemon starts with; `None` where something is refused.
pub(super) fn read(
    written: &Declarations,
    bounds: PipelineBounds,
    problems: &mut Vec<Problem>,
) -> (Vec<DeclaredPipeline>, Option<Base>) {
    let before = problems.len();
    let mut problem = |setting: String, value: Option<String>, allowed: String| {
        problems.push(Problem {
            setting,
            origin: written.origin.clone(),
            value,
            allowed,
        });
    };
    let none = Vec::new();
    let list = match &written.list {
        None => &none,
        Some(Value::Array(_, list)) if list.len() <= MAX_DECLARED => list,
        Some(other) => {
            let allowed = format!("must be at most {MAX_DECLARED} tables [[pipelines.declared]]");
            problem("pipelines.declared".to_owned(), Some(show(other)), allowed);
            &none
        }
    };
    let (mut declared, mut configured) = (Vec::new(), Vec::new());
    let mut seen = HashMap::new();
    for (index, item) in list.iter().enumerate() {
        let at = |field: &str| match field {
            "" => format!("pipelines.declared[{index}]"),
            field => format!("pipelines.declared[{index}].{field}"),
        };
        match read_one(item, &bounds) {
            Ok((one, (name, settings))) => {
                if let Some(first) = seen.insert(name.clone(), index) {
                    let allowed = format!("is set already by pipelines.declared[{first}]");
                    problem(at("name"), Some(format!("{:?}", name.as_str())), allowed);
                }
                declared.push(one);
                configured.push((name, settings));
            }
            Err((field, allowed)) => {
                let value = find(item, &field).map(show);
                problem(at(&field), value, allowed);
            }
        }
    }
    let base = Base::new(&configured, bounds);
    if let Err(error) = &base {
        problem(
            "pipelines.max_steps".to_owned(),
            None,
            error.message.clone(),
        );
    }
    let refused = problems.len() > before;
    (declared, base.ok().filter(|_| !refused))
}

/// A pipeline as it was written, and what it says.
type One = (DeclaredPipeline, (PipelineName, Settings));

/// One pipeline, or the field at fault and what is allowed there.
fn read_one(item: &Value, bounds: &PipelineBounds) -> std::result::Result<One, (String, String)> {
    let declared: DeclaredPipeline = item
        .deserialize()
        .map_err(|error| (index_style(&error.path), allowed(&error.kind)))?;
    match declared.read(bounds) {
        Ok(read) => Ok((declared, read)),
        Err(error) => {
            let message = error.message;
            Err(error
                .violation
                .map_or((String::new(), message), |it| (it.field, it.allowed)))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use trellis_core::limits::LimitSpec;
    use trellis_core::pipelines::{PipelineSource, SettingKind};

    const GOOD: &str = r#"
        [[pipelines.declared]]
        name = "vision_rag"
        cache_ttls = { embedding = "3h" }
        limits = { llm = { window = { amount = 7, period = "1m" } } }
        [[pipelines.declared]]
        name = "mine"
        concurrency = { default = 3 }
        lock_ttls = { default = "5s" }
    "#;

    #[test]
    fn a_declared_pipeline_stands_over_the_built_in_one() {
        let config = Config::from_toml(GOOD).unwrap();
        let rag = config.pipelines.find("vision_rag").unwrap();
        let sources: Vec<_> = rag
            .values()
            .map(|(_, step, _, source)| (step.as_str(), source))
            .collect();
        assert!(sources.contains(&("embedding", PipelineSource::Configuration)));
        assert!(sources.contains(&("search", PipelineSource::BuiltIn)));
        let llm = rag.limit(SettingKind::Limit, "llm").unwrap();
        assert!(matches!(llm, LimitSpec::Window(window) if window.amount() == 7));
        let mine = config.pipelines.find("mine").unwrap();
        assert!(mine.is_permanent() && mine.values().count() == 2);
        let again = Config::from_toml(&config.to_toml()).unwrap();
        assert_eq!(again.to_toml(), config.to_toml());
        assert_eq!(again.pipelines.find("mine"), Some(mine));
    }

    #[test]
    fn a_bad_pipeline_is_refused_by_its_index_and_field() {
        for (bad, field) in [
            ("name = \"Mine\"", ".name"),
            ("name = \"mine\"", ".name"),
            ("cache_ttls = {}", ""),
            ("name = \"a\"\ntypo = 1", ""),
            ("name = \"a\"\ncache_ttls = { x = \"0s\" }", ".cache_ttls.x"),
            ("name = \"a\"\ncache_ttls = { x = 5 }", ".cache_ttls.x"),
            ("name = \"a\"\nlock_ttls = { x = \"2h\" }", ".lock_ttls.x"),
            ("name = \"a\"\nconcurrency = { x = 0 }", ".concurrency.x"),
            ("name = \"a\"\nlimits = { x = {} }", ".limits.x"),
            (
                "name = \"a\"\nlimits = { X = { rate = { amount = 1, period = \"1s\" } } }",
                ".limits",
            ),
        ] {
            let text = format!("{GOOD}[[pipelines.declared]]\n{bad}");
            let refused = Config::from_toml(&text).unwrap_err().to_string();
            let start = format!("pipelines.declared[2]{field}");
            assert!(refused.contains(&start), "{bad}: {refused}");
        }
    }

    #[test]
    fn built_in_ttls_keep_to_lower_bounds() {
        let config = Config::from_toml("locks.max_ttl = \"1m\"\ncache.max_ttl = \"1h\"").unwrap();
        for name in ["ocr", "vision_rag", "multi_agent", "chain", "graph"] {
            assert!(config.pipelines.find(name).is_some(), "{name}");
        }
    }
}
