//! Limits follow their pipeline also where the update did not come to its end here, and stand above those of the
//! configuration.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use trellis_conformance::PausedClock;
use trellis_core::limits::{
    LevelPolicy, LimitSpec, Limits, RateSpec, SetLimit, Sharing, SpecSource,
};
use trellis_core::pipelines::{
    Base, PipelineBounds, PipelineName, Pipelines, ResetPipeline, SettingKey, SettingValue,
    UpdatePipeline,
};
use trellis_core::{Clock, ErrorCode, Key, Micros, Name, Namespace};
use trellis_engine::{ObeyedPipelines, PipelineLimits};
use trellis_local::{MemoryLimits, MemoryLimitsConfig, MemoryPipelines, MemoryPipelinesConfig};

/// The pipelines underneath, and the limits that obey them.
fn memory() -> (Arc<MemoryPipelines>, PipelineLimits) {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let base = Base::new(&[], PipelineBounds::default()).unwrap();
    let pipelines = MemoryPipelines::new(base, MemoryPipelinesConfig::default(), clock.clone());
    let pipelines = Arc::new(pipelines);
    let limits = MemoryLimits::new(MemoryLimitsConfig::default(), clock);
    let (_, limits) = ObeyedPipelines::new(pipelines.clone(), Arc::new(limits));
    (pipelines, limits)
}

fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

fn rate(amount: i64) -> LimitSpec {
    LimitSpec::Rate(RateSpec::new(amount, Micros::from_secs(1), amount).unwrap())
}

async fn peek(limits: &PipelineLimits, name: &str) -> Result<(i64, SpecSource), ErrorCode> {
    let (name, key) = (
        Name::new(name, "limit").unwrap(),
        Key::new("", "key").unwrap(),
    );
    let peeked = limits.peek(namespace(), name, key).await;
    let (bucket, _) = peeked.map_err(|error| error.code)?;
    Ok((bucket.spec.capacity(), bucket.source))
}

/// Changes a pipeline beneath what makes limits obey, as a call does that is dropped half way.
async fn update_beneath(pipelines: &MemoryPipelines, amount: i64) {
    let key = SettingKey::parse("limits.llm", "path").unwrap();
    let update = UpdatePipeline {
        namespace: namespace(),
        name: PipelineName::new("mine", "name").unwrap(),
        values: vec![(key, SettingValue::Limit(rate(amount)))],
        dropped: Vec::new(),
        replaced: Vec::new(),
        base_version: None,
        allow_missing: true,
        level_policy: LevelPolicy::KeepAmount,
    };
    pipelines.update(update).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_call_makes_good_an_update_that_did_not_reach_the_limits() {
    let (pipelines, limits) = memory();
    for amount in [5, 7, 3] {
        update_beneath(&pipelines, amount).await;
        let told = peek(&limits, "mine.llm").await;
        assert_eq!(told, Ok((amount, SpecSource::Pipeline)));
    }
    let reset = ResetPipeline {
        namespace: namespace(),
        name: PipelineName::new("mine", "name").unwrap(),
        base_version: None,
        level_policy: LevelPolicy::KeepAmount,
    };
    pipelines.reset(reset).await.unwrap();
    let gone = peek(&limits, "mine.llm").await;
    assert_eq!(gone, Err(ErrorCode::LimitNotFound));
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_stands_above_the_limit_of_its_name_in_the_configuration() {
    let (_, limits) = memory();
    let declared = SetLimit {
        namespace: namespace(),
        name: Name::new("ocr.default", "name").unwrap(),
        spec: rate(99),
        overrides: Vec::new(),
        level_policy: LevelPolicy::KeepAmount,
        source: SpecSource::Configuration,
        sharing: Sharing::default(),
        request_id: None,
    };
    limits.set_limit(declared.clone()).await.unwrap();
    let told = peek(&limits, "ocr.default").await;
    assert_eq!(told, Ok((10, SpecSource::Pipeline)));
    // By hand it is an update, which stands above all.
    let by_hand = SetLimit {
        source: SpecSource::SetLimit,
        ..declared
    };
    limits.set_limit(by_hand).await.unwrap();
    let told = peek(&limits, "ocr.default").await;
    assert_eq!(told, Ok((99, SpecSource::SetLimit)));
}
