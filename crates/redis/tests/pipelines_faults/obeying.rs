//! A daemon whose limits obey its pipelines, and what tests ask of it.

use crate::support::{Daemon, Proxy, Server, limits_config, quick, soon};
use std::sync::Arc;
use trellis_core::limits::{
    AcquireRequest, Charge, FairShare, LevelPolicy, LimitSpec, Limits, Mode, Outcome, Priority,
    RateSpec, SetLimit, Sharing, SpecSource,
};
use trellis_core::pipelines::{
    Pipeline, PipelineBounds, PipelineName, PipelineView, Pipelines, ResetPipeline, SettingKey,
    SettingKind, SettingValue, UpdatePipeline,
};
use trellis_core::{Key, Micros, Name, Namespace, Result, Scope};
use trellis_engine::{ObeyedPipelines, PipelineLimits};
use trellis_redis::{RedisConfig, RedisPipelines, RedisPipelinesConfig};

/// A daemon, its pipelines, and its limits that obey them.
pub struct Obeying {
    pub daemon: Daemon,
    pub known: Arc<RedisPipelines>,
    pub pipelines: ObeyedPipelines,
    pub limits: Arc<PipelineLimits>,
}

impl Obeying {
    pub async fn on(server: &Server, name: &str) -> Self {
        Self::with(quick(server), name).await
    }

    pub async fn with(config: RedisConfig, name: &str) -> Self {
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        let config = RedisPipelinesConfig { max_namespaces: 8 };
        let bounds = PipelineBounds {
            max_pipelines: 8,
            ..PipelineBounds::default()
        };
        let known = daemon.pipelines(config, bounds);
        let limits = daemon.limits(limits_config());
        let (pipelines, limits) = ObeyedPipelines::new(known.clone(), limits);
        soon("the pipelines", known.loaded()).await;
        Self {
            daemon,
            known,
            pipelines,
            limits: Arc::new(limits),
        }
    }

    /// Through a proxy.
    pub async fn behind(server: &Server, proxy: &Proxy, name: &str) -> Self {
        let config = RedisConfig {
            port: proxy.port,
            ..quick(server)
        };
        Self::with(config, name).await
    }

    /// Sets a cache TTL, and a rate a day.
    pub async fn update(&self, pipeline: &str, secs: u64, amount: i64) -> Result<Arc<Pipeline>> {
        let ttl = SettingValue::Ttl(Micros::from_secs(secs));
        let update = UpdatePipeline {
            namespace: namespace(),
            name: name(pipeline),
            values: vec![
                (key("cache_ttl"), ttl),
                (key("rate_limit"), SettingValue::Limit(daily(amount))),
            ],
            dropped: Vec::new(),
            replaced: Vec::new(),
            base_version: None,
            allow_missing: true,
            level_policy: LevelPolicy::KeepAmount,
        };
        let updated = self.pipelines.update(update).await;
        updated.map(|(pipeline, ..)| pipeline)
    }

    pub async fn reset(&self, pipeline: &str) -> Result<Option<Arc<Pipeline>>> {
        let reset = ResetPipeline {
            namespace: namespace(),
            name: name(pipeline),
            base_version: None,
            level_policy: LevelPolicy::KeepAmount,
        };
        let reset = self.pipelines.reset(reset).await;
        reset.map(|(pipeline, _)| pipeline)
    }

    pub async fn get(&self, pipeline: &str) -> Result<(Arc<Pipeline>, Scope)> {
        self.pipelines.get(namespace(), name(pipeline)).await
    }

    /// What a call would obey now.
    pub fn obeyed(&self, pipeline: &str) -> Option<Arc<Pipeline>> {
        self.known.find(&namespace(), pipeline)
    }

    /// Waits until calls obey this, and asks the store nothing.
    pub async fn obeys(&self, pipeline: &str, expected: Option<&Arc<Pipeline>>) {
        soon("an obeyed change", async {
            while self.obeyed(pipeline).as_ref() != expected {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub async fn peek(&self, limit: &str) -> Result<(i64, SpecSource)> {
        let (limit, key) = (Name::new(limit, "limit")?, Key::new("", "key")?);
        let (bucket, _) = self.limits.peek(namespace(), limit, key).await?;
        Ok((bucket.spec.capacity(), bucket.source))
    }

    pub async fn charge(&self, limit: &str, spec: Option<LimitSpec>) -> Result<(bool, SpecSource)> {
        let limit = Name::new(limit, "limit")?;
        let mut charge = Charge::new(limit, Key::new("", "key")?, 1)?;
        charge.spec = spec;
        let request = AcquireRequest {
            namespace: namespace(),
            charges: vec![charge],
            mode: Mode::Try,
            reservation_ttl: None,
            request_id: None,
            priority: Priority::default(),
            fair: FairShare::default(),
            dry_run: false,
        };
        let acquired = self.limits.clone().acquire(request).await?;
        let granted = matches!(acquired.outcome, Outcome::Granted(_));
        Ok((granted, acquired.charges[0].source))
    }

    pub async fn set_by_hand(&self, limit: &str, amount: i64) {
        let set = SetLimit {
            namespace: namespace(),
            name: Name::new(limit, "limit").unwrap(),
            spec: daily(amount),
            overrides: Vec::new(),
            level_policy: LevelPolicy::KeepAmount,
            source: SpecSource::SetLimit,
            sharing: Sharing::default(),
            request_id: None,
        };
        self.limits.set_limit(set).await.unwrap();
    }
}

pub fn namespace() -> Namespace {
    Namespace::new("n/with a slash", "namespace").unwrap()
}

pub fn name(name: &str) -> PipelineName {
    PipelineName::new(name, "name").unwrap()
}

pub fn key(path: &str) -> SettingKey {
    SettingKey::parse(path, "path").unwrap()
}

pub fn daily(amount: i64) -> LimitSpec {
    LimitSpec::Rate(RateSpec::new(amount, Micros::from_secs(24 * 3_600), amount).unwrap())
}

pub fn ttl(pipeline: &Pipeline) -> Option<&SettingValue> {
    pipeline.value(SettingKind::CacheTtl, "default")
}
