//! The pipelines port through contract and server, by the generated client.

use super::convert::{answer, spec_in, spec_out};
use super::pages::Pages;
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use trellis_client as client;
use trellis_core::limits::{LevelPolicy, LimitSpec};
use trellis_core::pipelines::{
    ListPipelines, Pipeline, PipelineBounds, PipelineName, PipelinePage, PipelineSource,
    PipelineWatch, Pipelines, ResetPipeline, SettingKey, SettingKind, SettingValue, Settings,
    UpdatePipeline,
};
use trellis_core::{Micros, Namespace, Result, Scope};
use trellis_proto::v1::{self, pipeline_service_client::PipelineServiceClient};

/// One daemon's pipelines.
#[derive(Debug)]
pub struct GrpcPipelines {
    stub: PipelineServiceClient<Channel>,
    pages: Arc<Pages>,
}

impl GrpcPipelines {
    /// Over a connection.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self {
            stub: PipelineServiceClient::new(channel),
            pages: Arc::default(),
        }
    }

    /// The same pipelines at another daemon, where a list goes on.
    #[must_use]
    pub fn at(&self, channel: Channel) -> Self {
        Self {
            pages: Arc::clone(&self.pages),
            ..Self::new(channel)
        }
    }
}

fn call<T>(called: std::result::Result<Response<T>, Status>) -> Result<T> {
    answer(
        called
            .map(Response::into_inner)
            .map_err(client::Error::from),
    )
}

fn scope(scope: Option<v1::Scope>) -> Scope {
    match v1::ScopeKind::try_from(scope.unwrap().kind).unwrap() {
        v1::ScopeKind::Shared => Scope::Shared,
        v1::ScopeKind::Local => Scope::Local,
        other => panic!("{other:?}"),
    }
}

fn version(version: Option<u64>) -> Option<i64> {
    version.map(|version| i64::try_from(version).unwrap())
}

fn policy(policy: LevelPolicy) -> i32 {
    match policy {
        LevelPolicy::KeepAmount => v1::LevelPolicy::Unspecified,
        LevelPolicy::KeepProportion => v1::LevelPolicy::KeepProportion,
        LevelPolicy::Refill => v1::LevelPolicy::Refill,
    }
    .into()
}

fn settings_out(values: &[(SettingKey, SettingValue)]) -> v1::PipelineSettings {
    let mut settings = v1::PipelineSettings::default();
    for (key, value) in values {
        let step = key.step.to_string();
        match (key.kind, value) {
            (SettingKind::Concurrency, SettingValue::Limit(LimitSpec::Concurrency(spec))) => {
                settings.concurrency.insert(step, spec.slots());
            }
            (_, SettingValue::Limit(spec)) => {
                let spec = spec_out(spec).try_into().unwrap();
                settings.limits.insert(step, spec);
            }
            (kind, SettingValue::Ttl(ttl)) => {
                let ttl = std::time::Duration::from(*ttl).try_into().unwrap();
                let ttls = match kind {
                    SettingKind::CacheTtl => &mut settings.cache_ttls,
                    _ => &mut settings.lock_ttls,
                };
                ttls.insert(step, ttl);
            }
        }
    }
    settings
}

/// The mask of an update; none where it only sets, as callers leave it out.
fn mask(update: &UpdatePipeline) -> Option<prost_types::FieldMask> {
    if update.dropped.is_empty() && update.replaced.is_empty() {
        return None;
    }
    // Dropped by alias, set by path, so that both spellings are used.
    let paths = update.dropped.iter().map(SettingKey::alias);
    let paths = paths.chain(update.replaced.iter().map(|kind| kind.map().to_owned()));
    let paths = paths.chain(update.values.iter().map(|(key, _)| key.path()));
    Some(prost_types::FieldMask {
        paths: paths.collect(),
    })
}

fn pipeline(message: v1::Pipeline) -> Arc<Pipeline> {
    let settings = message.settings.unwrap();
    let mut values = HashMap::new();
    let span = |ttl: prost_types::Duration| {
        SettingValue::Ttl(Micros::from(std::time::Duration::try_from(ttl).unwrap()))
    };
    for (step, ttl) in settings.cache_ttls {
        values.insert(format!("cache_ttls.{step}"), span(ttl));
    }
    for (step, ttl) in settings.lock_ttls {
        values.insert(format!("lock_ttls.{step}"), span(ttl));
    }
    for (step, spec) in settings.limits {
        let spec = spec_in(client::Spec::try_from(spec).unwrap());
        values.insert(format!("limits.{step}"), SettingValue::Limit(spec));
    }
    for (step, slots) in settings.concurrency {
        let spec = spec_in(client::Spec::concurrency(slots));
        values.insert(format!("concurrency.{step}"), SettingValue::Limit(spec));
    }
    let version = u64::try_from(message.version).unwrap();
    let name = PipelineName::new(message.name, "name").unwrap();
    let mut told = Pipeline::new(name).at(version);
    if message.permanent {
        told = told.permanent();
    }
    for value in message.values {
        let key = SettingKey::parse(&value.path, "path").unwrap();
        assert_eq!(SettingKey::parse(&value.alias, "alias").unwrap(), key);
        let limit = told.limit_of(&key).map(String::from).unwrap_or_default();
        assert_eq!(value.limit, limit);
        let source = match v1::PipelineSource::try_from(value.source).unwrap() {
            v1::PipelineSource::BuiltIn => PipelineSource::BuiltIn,
            v1::PipelineSource::Configuration => PipelineSource::Configuration,
            v1::PipelineSource::Update => PipelineSource::Update,
            v1::PipelineSource::Unspecified => panic!("a value without a source"),
        };
        let mut one = Settings::default();
        let stated = values.remove(&value.path).unwrap();
        one.set(key, stated, &PipelineBounds::default()).unwrap();
        told = told.over(&one, source);
    }
    assert!(values.is_empty(), "values without a source: {values:?}");
    Arc::new(told)
}

#[async_trait]
impl Pipelines for GrpcPipelines {
    async fn get(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<(Arc<Pipeline>, Scope)> {
        let request = v1::PipelineServiceGetRequest {
            namespace: namespace.into(),
            name: name.to_string(),
        };
        let got = call(self.stub.clone().get(request).await)?;
        Ok((pipeline(got.pipeline.unwrap()), scope(got.scope)))
    }

    async fn list(&self, list: ListPipelines) -> Result<PipelinePage> {
        let after = list.after.as_ref().map(PipelineName::as_str);
        let token = self.pages.token(&list.namespace, "pipelines", after)?;
        let request = v1::PipelineServiceListRequest {
            namespace: list.namespace.clone().into(),
            page_size: i32::try_from(list.page_size).unwrap(),
            page_token: token.unwrap_or_default(),
        };
        let page = call(self.stub.clone().list(request).await)?;
        let pipelines: Vec<_> = page.pipelines.into_iter().map(pipeline).collect();
        let end = pipelines.last().map(|last| last.name().as_str());
        let next = Some(page.next_page_token).filter(|token| !token.is_empty());
        let more = self.pages.keep(list.namespace, "pipelines", end, next);
        Ok(PipelinePage {
            pipelines,
            more,
            scope: scope(page.scope),
        })
    }

    async fn update(&self, update: UpdatePipeline) -> Result<(Arc<Pipeline>, bool, Scope)> {
        let request = v1::PipelineServiceUpdateRequest {
            update_mask: mask(&update),
            namespace: update.namespace.into(),
            name: update.name.to_string(),
            settings: Some(settings_out(&update.values)),
            base_version: version(update.base_version),
            allow_missing: update.allow_missing,
            level_policy: policy(update.level_policy),
        };
        let updated = call(self.stub.clone().update(request).await)?;
        let told = pipeline(updated.pipeline.unwrap());
        Ok((told, updated.created, scope(updated.scope)))
    }

    async fn reset(&self, reset: ResetPipeline) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        let request = v1::PipelineServiceResetRequest {
            namespace: reset.namespace.into(),
            name: reset.name.to_string(),
            base_version: version(reset.base_version),
            level_policy: policy(reset.level_policy),
        };
        let reset = call(self.stub.clone().reset(request).await)?;
        Ok((reset.pipeline.map(pipeline), scope(reset.scope)))
    }

    async fn watch(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<Box<dyn PipelineWatch>> {
        let request = v1::PipelineServiceWatchRequest {
            namespace: namespace.into(),
            name: name.to_string(),
        };
        let states = call(self.stub.clone().watch(request).await)?;
        Ok(Box::new(Watch(states)))
    }
}

struct Watch(Streaming<v1::PipelineServiceWatchResponse>);

#[async_trait]
impl PipelineWatch for Watch {
    async fn next(&mut self) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        let state = answer(self.0.message().await.map_err(client::Error::from))?;
        let state = state.expect("a watch does not end by itself");
        Ok((state.pipeline.map(pipeline), scope(state.scope)))
    }
}
