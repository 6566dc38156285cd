//! What a case works with: pipelines, the limits that obey them, and a namespace.

use super::Served;
use std::sync::Arc;
use trellis_core::limits::{
    AcquireRequest, Acquired, BucketState, Charge, ConcurrencySpec, DeleteLimit, FairShare,
    LevelPolicy, LimitSpec, Mode, Outcome, Priority, RateSpec, SetLimit, Sharing, SpecSource,
};
use trellis_core::pipelines::{
    ListPipelines, Pipeline, PipelineName, PipelinePage, PipelineWatch, ResetPipeline, SettingKey,
    SettingKind, SettingValue, UpdatePipeline,
};
use trellis_core::{ErrorCode, Key, Micros, Name, Result};

pub(super) fn secs(secs: u64) -> SettingValue {
    SettingValue::Ttl(Micros::from_secs(secs))
}

pub(super) fn rate(per_second: i64) -> SettingValue {
    let rate = RateSpec::new(per_second, Micros::from_secs(1), per_second).unwrap();
    SettingValue::Limit(LimitSpec::Rate(rate))
}

pub(super) fn slots(slots: i64) -> SettingValue {
    let spec = ConcurrencySpec::new(slots).unwrap();
    SettingValue::Limit(LimitSpec::Concurrency(spec))
}

fn pipeline_name(name: &str) -> PipelineName {
    PipelineName::new(name, "name").unwrap()
}

fn limit_name(name: &str) -> Name {
    Name::new(name, "limit").unwrap()
}

/// A rate whose refill no case lives to see.
pub(super) fn slow_rate(amount: i64) -> SettingValue {
    let rate = RateSpec::new(amount, Micros::from_secs(24 * 3_600), amount).unwrap();
    SettingValue::Limit(LimitSpec::Rate(rate))
}

/// A namespace of the backend under test.
pub type Bench = crate::Bench<Served>;

impl Bench {
    pub(super) async fn try_get(&self, name: &str) -> Result<Arc<Pipeline>> {
        let port = self.port();
        let got = port
            .pipelines
            .get(self.namespace.clone(), pipeline_name(name));
        got.await.map(|(pipeline, _)| pipeline)
    }

    pub(super) async fn get(&self, name: &str) -> Arc<Pipeline> {
        self.try_get(name).await.unwrap()
    }

    pub(super) async fn is_missing(&self, name: &str) -> bool {
        let got = self.try_get(name).await.map_err(|error| error.code);
        got.err() == Some(ErrorCode::PipelineNotFound)
    }

    pub(super) async fn page(&self, size: usize, after: Option<&str>) -> PipelinePage {
        let list = ListPipelines {
            namespace: self.namespace.clone(),
            page_size: size,
            after: after.map(pipeline_name),
        };
        self.port().pipelines.list(list).await.unwrap()
    }

    /// An update that changes nothing yet.
    pub(super) fn update(&self, name: &str) -> Update {
        Update {
            bench: self.clone(),
            update: UpdatePipeline {
                namespace: self.namespace.clone(),
                name: pipeline_name(name),
                values: Vec::new(),
                dropped: Vec::new(),
                replaced: Vec::new(),
                base_version: None,
                allow_missing: false,
                level_policy: LevelPolicy::KeepAmount,
            },
        }
    }

    pub(super) async fn reset(&self, name: &str) -> Option<Arc<Pipeline>> {
        self.reset_from(name, None).await.unwrap()
    }

    pub(super) async fn reset_from(
        &self,
        name: &str,
        base_version: Option<u64>,
    ) -> Result<Option<Arc<Pipeline>>> {
        let reset = ResetPipeline {
            namespace: self.namespace.clone(),
            name: pipeline_name(name),
            base_version,
            level_policy: LevelPolicy::KeepAmount,
        };
        let reset = self.port().pipelines.reset(reset).await;
        reset.map(|(pipeline, _)| pipeline)
    }

    pub(super) async fn watch(&self, name: &str) -> Box<dyn PipelineWatch> {
        let port = self.port();
        let watch = port
            .pipelines
            .watch(self.namespace.clone(), pipeline_name(name));
        watch.await.unwrap()
    }

    // Limits.

    /// Charges a limit without waiting.
    pub(super) async fn charge(&self, limit: &str, amount: i64) -> Result<Acquired> {
        let request = AcquireRequest {
            namespace: self.namespace.clone(),
            charges: vec![Charge::new(
                limit_name(limit),
                Key::new("", "key")?,
                amount,
            )?],
            mode: Mode::Try,
            reservation_ttl: None,
            request_id: None,
            priority: Priority::default(),
            fair: FairShare::default(),
            dry_run: false,
        };
        Arc::clone(&self.port().limits).acquire(request).await
    }

    pub(super) async fn is_granted(&self, limit: &str, amount: i64) -> bool {
        let acquired = self.charge(limit, amount).await.unwrap();
        matches!(acquired.outcome, Outcome::Granted(_))
    }

    pub(super) async fn peek(&self, limit: &str) -> Result<BucketState> {
        let key = Key::new("", "key").unwrap();
        let port = self.port();
        let peeked = port
            .limits
            .peek(self.namespace.clone(), limit_name(limit), key);
        peeked.await.map(|(bucket, _)| bucket)
    }

    /// What a limit holds when full.
    pub(super) async fn capacity(&self, limit: &str) -> i64 {
        self.peek(limit).await.unwrap().spec.capacity()
    }

    pub(super) async fn set_limit(&self, limit: &str, per_second: i64) {
        let SettingValue::Limit(spec) = rate(per_second) else {
            panic!("a rate is a limit");
        };
        let set = SetLimit {
            namespace: self.namespace.clone(),
            name: limit_name(limit),
            spec,
            overrides: Vec::new(),
            level_policy: LevelPolicy::KeepAmount,
            source: SpecSource::SetLimit,
            sharing: Sharing::default(),
            request_id: None,
        };
        self.port().limits.set_limit(set).await.unwrap();
    }

    pub(super) async fn delete_limit(&self, limit: &str) -> bool {
        let delete = DeleteLimit {
            namespace: self.namespace.clone(),
            name: limit_name(limit),
            request_id: None,
        };
        self.port().limits.delete_limit(delete).await.unwrap().0
    }
}

/// An update being made.
pub(super) struct Update {
    bench: Bench,
    update: UpdatePipeline,
}

impl Update {
    /// Sets a value by its path or alias.
    pub fn set(mut self, name: &str, value: SettingValue) -> Self {
        let key = SettingKey::parse(name, "path").unwrap();
        self.update.values.push((key, value));
        self
    }

    pub fn unset(mut self, name: &str) -> Self {
        let key = SettingKey::parse(name, "path").unwrap();
        self.update.dropped.push(key);
        self
    }

    pub fn replace(mut self, kind: SettingKind) -> Self {
        self.update.replaced.push(kind);
        self
    }

    pub fn from(mut self, version: u64) -> Self {
        self.update.base_version = Some(version);
        self
    }

    pub fn create(mut self) -> Self {
        self.update.allow_missing = true;
        self
    }

    pub fn level_policy(mut self, policy: LevelPolicy) -> Self {
        self.update.level_policy = policy;
        self
    }

    /// Sends it; tells whether the pipeline is new.
    pub async fn send(self) -> Result<(Arc<Pipeline>, bool)> {
        let updated = self.bench.port().pipelines.update(self.update).await;
        updated.map(|(pipeline, created, _)| (pipeline, created))
    }

    pub async fn done(self) -> Arc<Pipeline> {
        self.send().await.unwrap().0
    }

    pub async fn code(self) -> ErrorCode {
        self.send().await.unwrap_err().code
    }

    /// The field at fault.
    pub async fn fault(self) -> String {
        let error = self.send().await.unwrap_err();
        error
            .violation
            .unwrap_or_else(|| panic!("no field in {:?}", error.message))
            .field
    }
}
