//! Between the contract's messages of pipelines and the port's types.

use super::limits::level_policy;
use super::spec::{message as spec_message, spec};
use super::{Context, count, duration, fitting, page_after, page_size, scope, span};
use prost_types::FieldMask;
use std::collections::{BTreeMap, HashMap};
use trellis_core::limits::{ConcurrencySpec, LimitSpec};
use trellis_core::pipelines::{
    ListPipelines, Pipeline, PipelineName, PipelinePage, PipelineSource, ResetPipeline, SettingKey,
    SettingKind, SettingValue, StepName, UpdatePipeline,
};
use trellis_core::{Error, Micros, Namespace, Result};
use trellis_proto::v1;

/// Paths in one mask: more than the values of a pipeline.
const MAX_PATHS: usize = 1_024;
/// Steps in one map of a request: more than a pipeline can hold.
const MAX_STEPS: usize = 1_024;
const MIN_CACHE_TTL: Micros = Micros::from_millis(1);
const MIN_LOCK_TTL: Micros = Micros::from_millis(100);

/// The values that a request gives, each under its key.
type Values = BTreeMap<SettingKey, SettingValue>;

/// A pipeline by the names that a request gives.
pub(crate) fn pipeline(
    namespace: String,
    name: String,
    context: &Context<'_>,
) -> Result<(Namespace, PipelineName)> {
    let namespace = context.namespace(namespace)?;
    Ok((namespace, PipelineName::new(name, "name")?))
}

pub(crate) fn update(
    request: v1::PipelineServiceUpdateRequest,
    context: &Context<'_>,
) -> Result<UpdatePipeline> {
    let (namespace, name) = pipeline(request.namespace, request.name, context)?;
    let settings = request.settings.unwrap_or_default();
    let values = settings_in(settings, context).map_err(|error| error.within("settings"))?;
    let (dropped, replaced) = masked(request.update_mask, &values)?;
    if values.is_empty() && dropped.is_empty() && replaced.is_empty() {
        let allowed = "must hold a value, or update_mask must name one to drop";
        return Err(Error::invalid("settings", allowed));
    }
    Ok(UpdatePipeline {
        namespace,
        name,
        values: values.into_iter().collect(),
        dropped,
        replaced,
        base_version: base_version(request.base_version)?,
        allow_missing: request.allow_missing,
        level_policy: level_policy(request.level_policy)?,
    })
}

pub(crate) fn reset(
    request: v1::PipelineServiceResetRequest,
    context: &Context<'_>,
) -> Result<ResetPipeline> {
    let (namespace, name) = pipeline(request.namespace, request.name, context)?;
    Ok(ResetPipeline {
        namespace,
        name,
        base_version: base_version(request.base_version)?,
        level_policy: level_policy(request.level_policy)?,
    })
}

fn base_version(version: Option<i64>) -> Result<Option<u64>> {
    let Some(version) = version else {
        return Ok(None);
    };
    let known = u64::try_from(version).map(Some);
    known.map_err(|_| {
        let allowed = format!("must be 0 or a version that an answer told, is {version}");
        Error::invalid("base_version", allowed)
    })
}

/// What a mask drops: single values, and whole kinds. Every value that is given must be named by it.
fn masked(mask: Option<FieldMask>, values: &Values) -> Result<(Vec<SettingKey>, Vec<SettingKind>)> {
    let (mut named, mut replaced) = (Vec::new(), Vec::new());
    let paths = mask.unwrap_or_default().paths;
    if paths.is_empty() {
        return Ok((named, replaced));
    }
    if paths.len() > MAX_PATHS {
        let allowed = format!("must hold at most {MAX_PATHS} paths, has {}", paths.len());
        return Err(Error::invalid("update_mask", allowed));
    }
    for (index, path) in paths.iter().enumerate() {
        match SettingKind::of_map(path) {
            Some(kind) => replaced.push(kind),
            None => named.push(SettingKey::parse(
                path,
                &format!("update_mask.paths[{index}]"),
            )?),
        }
    }
    for key in values.keys() {
        if !replaced.contains(&key.kind) && !named.contains(key) {
            let allowed = "must be named by update_mask, which is given";
            return Err(Error::invalid(format!("settings.{}", key.path()), allowed));
        }
    }
    named.retain(|key| !values.contains_key(key));
    Ok((named, replaced))
}

fn settings_in(settings: v1::PipelineSettings, context: &Context<'_>) -> Result<Values> {
    let mut values = Values::new();
    let config = context.config;
    let ttl = |bounds| {
        move |ttl: prost_types::Duration, path: &str| {
            let ttl = span(Some(ttl), path, bounds)?;
            Ok(SettingValue::Ttl(ttl.unwrap_or_default()))
        }
    };
    let cache = ttl((MIN_CACHE_TTL, config.cache.max_ttl));
    take(
        &mut values,
        SettingKind::CacheTtl,
        settings.cache_ttls,
        cache,
    )?;
    take(
        &mut values,
        SettingKind::Limit,
        settings.limits,
        |it, path| {
            let spec = spec(it).map_err(|error| error.within(path))?;
            Ok(SettingValue::Limit(spec))
        },
    )?;
    let kind = SettingKind::Concurrency;
    take(&mut values, kind, settings.concurrency, |slots, path| {
        let spec = ConcurrencySpec::new(slots).map_err(|error| renamed(error, path))?;
        Ok(SettingValue::Limit(LimitSpec::Concurrency(spec)))
    })?;
    let lock = ttl((MIN_LOCK_TTL, config.locks.max_ttl));
    take(&mut values, SettingKind::LockTtl, settings.lock_ttls, lock)?;
    Ok(values)
}

/// An error about a value that has no field of its own.
fn renamed(error: Error, path: &str) -> Error {
    match error.violation {
        Some(violation) => Error::invalid(path, violation.allowed),
        None => error,
    }
}

fn take<T>(
    values: &mut Values,
    kind: SettingKind,
    map: HashMap<String, T>,
    read: impl Fn(T, &str) -> Result<SettingValue>,
) -> Result<()> {
    if map.len() > MAX_STEPS {
        let allowed = format!("must hold at most {MAX_STEPS} steps, has {}", map.len());
        return Err(Error::invalid(kind.map(), allowed));
    }
    // In order, so that of several faults always the same one is told.
    for (step, value) in map.into_iter().collect::<BTreeMap<_, _>>() {
        let step = StepName::new(step.as_str(), &format!("{}[{step:?}]", kind.map()))?;
        let key = SettingKey { kind, step };
        let value = read(value, &key.path())?;
        values.insert(key, value);
    }
    Ok(())
}

/// A pipeline as the contract spells it.
pub(crate) fn pipeline_out(pipeline: &Pipeline) -> v1::Pipeline {
    let mut settings = v1::PipelineSettings::default();
    let mut values = Vec::new();
    for (kind, step, value, source) in pipeline.values() {
        let name = step.to_string();
        match (kind, value) {
            (SettingKind::CacheTtl, SettingValue::Ttl(ttl)) => {
                settings.cache_ttls.insert(name, duration(*ttl));
            }
            (SettingKind::LockTtl, SettingValue::Ttl(ttl)) => {
                settings.lock_ttls.insert(name, duration(*ttl));
            }
            (SettingKind::Concurrency, SettingValue::Limit(LimitSpec::Concurrency(spec))) => {
                settings.concurrency.insert(name, spec.slots());
            }
            (_, SettingValue::Limit(spec)) => {
                settings.limits.insert(name, spec_message(spec));
            }
            // A value is of its kind, or it could not have been set.
            (SettingKind::Limit | SettingKind::Concurrency, SettingValue::Ttl(_)) => {}
        }
        let key = SettingKey {
            kind,
            step: step.clone(),
        };
        values.push(v1::PipelineValue {
            path: key.path(),
            alias: key.alias(),
            source: source_out(source).into(),
            limit: pipeline
                .limit_of(&key)
                .map(String::from)
                .unwrap_or_default(),
        });
    }
    v1::Pipeline {
        name: pipeline.name().to_string(),
        version: count(pipeline.version()),
        permanent: pipeline.is_permanent(),
        settings: Some(settings),
        values,
    }
}

fn source_out(source: PipelineSource) -> v1::PipelineSource {
    match source {
        PipelineSource::BuiltIn => v1::PipelineSource::BuiltIn,
        PipelineSource::Configuration => v1::PipelineSource::Configuration,
        PipelineSource::Update => v1::PipelineSource::Update,
    }
}

/// What stands before the last name of a page in its token.
fn pipelines_token(namespace: &Namespace) -> String {
    format!("pipelines/{namespace}/")
}

pub(crate) fn list(
    request: v1::PipelineServiceListRequest,
    context: &Context<'_>,
) -> Result<ListPipelines> {
    let namespace = context.namespace(request.namespace)?;
    let owner = pipelines_token(&namespace);
    let after = page_after(&request.page_token, &owner, |name, field| {
        PipelineName::new(name, field)
    })?;
    Ok(ListPipelines {
        namespace,
        page_size: page_size(request.page_size)?,
        after,
    })
}

pub(crate) fn page(page: &PipelinePage, namespace: &Namespace) -> v1::PipelineServiceListResponse {
    let all = page.pipelines.iter().map(|it| pipeline_out(it));
    let (pipelines, cut) = fitting(all);
    let last = pipelines.last().filter(|_| cut || page.more);
    v1::PipelineServiceListResponse {
        next_page_token: last
            .map(|last| format!("{}{}", pipelines_token(namespace), last.name))
            .unwrap_or_default(),
        pipelines,
        scope: Some(scope(&page.scope)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServiceConfig;

    fn read(request: v1::PipelineServiceUpdateRequest) -> Result<UpdatePipeline> {
        let namespace = super::super::namespace(String::new()).unwrap();
        let config = ServiceConfig::default();
        let context = Context {
            config: &config,
            namespace: &namespace,
            deadline: None,
        };
        update(request, &context)
    }

    fn request(mask: &[&str]) -> v1::PipelineServiceUpdateRequest {
        let hour = prost_types::Duration {
            seconds: 3_600,
            nanos: 0,
        };
        let settings = v1::PipelineSettings {
            cache_ttls: HashMap::from([("embedding".to_owned(), hour)]),
            ..v1::PipelineSettings::default()
        };
        v1::PipelineServiceUpdateRequest {
            name: "vision_rag".to_owned(),
            settings: Some(settings),
            update_mask: Some(FieldMask {
                paths: mask.iter().map(|path| (*path).to_owned()).collect(),
            }),
            ..v1::PipelineServiceUpdateRequest::default()
        }
    }

    fn fault(request: v1::PipelineServiceUpdateRequest) -> String {
        read(request).unwrap_err().violation.unwrap().field
    }

    #[test]
    fn a_mask_names_what_changes_and_what_is_dropped() {
        for mask in [&[][..], &["cache_ttls.embedding"], &["embedding_cache_ttl"]] {
            let update = read(request(mask)).unwrap();
            let changed = (update.values.len(), update.dropped, update.replaced);
            assert_eq!(changed, (1, Vec::new(), Vec::new()), "{mask:?}");
        }
        let update = read(request(&["cache_ttls", "llm_rate_limit"])).unwrap();
        assert_eq!(update.replaced, [SettingKind::CacheTtl]);
        assert_eq!(update.dropped[0].path(), "limits.llm");
    }

    #[test]
    fn a_mask_that_does_not_fit_the_values_is_refused() {
        assert_eq!(
            fault(request(&["cache_ttls.nothing_like_it", "nonsense"])),
            "update_mask.paths[1]"
        );
        let unnamed = request(&["lock_ttls"]);
        assert_eq!(fault(unnamed), "settings.cache_ttls.embedding");
        let many = vec!["cache_ttls"; MAX_PATHS + 1];
        assert_eq!(fault(request(&many)), "update_mask");
        let nothing = v1::PipelineServiceUpdateRequest {
            settings: None,
            update_mask: None,
            ..request(&[])
        };
        assert_eq!(fault(nothing), "settings");
    }

    #[test]
    fn a_bad_value_is_refused_by_its_path_and_its_range() {
        let mut bad = request(&[]);
        let settings = bad.settings.as_mut().unwrap();
        settings.concurrency.insert("images".to_owned(), 0);
        assert_eq!(fault(bad.clone()), "settings.concurrency.images");
        let settings = bad.settings.as_mut().unwrap();
        settings
            .limits
            .insert("llm".to_owned(), v1::LimitSpec::default());
        assert_eq!(fault(bad.clone()), "settings.limits.llm.kind");
        let settings = bad.settings.as_mut().unwrap();
        let nothing = prost_types::Duration::default();
        settings.cache_ttls.insert("embedding".to_owned(), nothing);
        let error = read(bad.clone()).unwrap_err();
        assert_eq!(
            error.message,
            "settings.cache_ttls.embedding: must be 1 ms to 366 d, is 0 s and 0 ns"
        );
        let settings = bad.settings.as_mut().unwrap();
        settings.cache_ttls.insert("Odd".to_owned(), nothing);
        assert_eq!(fault(bad), "settings.cache_ttls[\"Odd\"]");
        let version = v1::PipelineServiceUpdateRequest {
            base_version: Some(-1),
            ..request(&[])
        };
        assert_eq!(fault(version), "base_version");
    }
}
