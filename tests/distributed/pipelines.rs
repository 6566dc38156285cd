//! Pipelines of three real daemons on one real Redis: the suite of the port over gRPC; what is set at one daemon is obeyed at the
//! others within a second, and outlives daemons and Redis.

use crate::members::until;
use crate::{client, clients, start, variables};
use futures::StreamExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use trellis_client::cache::Keep;
use trellis_client::{Client, ErrorReason, PipelineSource, Spec, SpecSource};
use trellis_conformance::grpc::{GrpcLimits, GrpcPipelines};
use trellis_conformance::pipelines::{Served, Settings, Subject};
use trellis_conformance::{Pace, limits, on_real_time};
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

/// Longer than anything a test waits for may take.
const PATIENCE: Duration = Duration::from_mins(1);

async fn three(settings: Settings) -> Subject {
    let redis = Redis::start().unwrap();
    let mut variables = variables(&redis, limits::Settings::default());
    let (bounds, namespaces) = (settings.bounds, settings.max_namespaces);
    variables.extend([
        ("TRELLIS_PIPELINES__MAX_NAMESPACES", namespaces.to_string()),
        (
            "TRELLIS_PIPELINES__MAX_PIPELINES",
            bounds.max_pipelines.to_string(),
        ),
        ("TRELLIS_PIPELINES__MAX_STEPS", bounds.max_steps.to_string()),
    ]);
    let daemons = start(3, &variables);
    let mut served = Vec::new();
    let first = GrpcPipelines::new(daemons[0].connect().await);
    for daemon in &daemons {
        served.push(Arc::new(Served {
            pipelines: Arc::new(first.at(daemon.connect().await)),
            limits: Arc::new(GrpcLimits::unary(client(daemon).await)),
        }));
    }
    let pace = Pace::Wall {
        tolerance: crate::TOLERANCE,
    };
    Subject::new(served, pace).owning(Mutex::new((daemons, redis)))
}

trellis_conformance::pipelines_conformance!(
    three,
    #[tokio::test]
    #[cfg_attr(no_redis, ignore = "no redis-server")]
);

/// Daemons with the default times, that see each other.
async fn daemons(redis: &Redis, count: usize) -> (Vec<Daemon>, Vec<Client>) {
    let daemons = start(
        count,
        &[
            ("USE_DISTRIBUTED", "true".to_owned()),
            ("REDIS_PORT", redis.port.to_string()),
        ],
    );
    let clients = clients(&daemons).await;
    (daemons, clients)
}

/// How long a value that is written now, under a step, stays fresh.
async fn ttl_at(client: &Client, step: &str) -> Duration {
    let cache = client.cache("default");
    let keep = Keep::new(Duration::from_secs(1)).pipeline(step);
    cache.set("key", "value", &keep).await.unwrap();
    let entry = cache.get("key").await.unwrap().unwrap();
    entry.ttl + entry.age
}

async fn capacity_at(client: &Client, limit: &str) -> (i64, SpecSource) {
    let peeked = client.limits().peek(limit, "").await.unwrap();
    (peeked.bucket.capacity, peeked.bucket.source)
}

/// Waits until a TTL at this daemon is the expected one.
async fn until_ttl(client: &Client, step: &str, expected: Duration) {
    let obeyed = async {
        while ttl_at(client, step)
            .await
            .as_secs()
            .abs_diff(expected.as_secs())
            > 1
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, obeyed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_is_set_at_one_daemon_is_obeyed_at_the_others_within_a_second() {
    on_real_time(async || {
        let redis = Redis::start().unwrap();
        let (_daemons, clients) = daemons(&redis, 3).await;
        let (step, limit) = ("vision_rag.embedding", "vision_rag.llm");
        for client in &clients {
            let before = Duration::from_hours(2);
            until_ttl(client, step, before).await;
            assert_eq!(capacity_at(client, limit).await, (10, SpecSource::Pipeline));
        }
        let mut watch = clients[2].pipelines().watch("vision_rag").await.unwrap();
        let first = watch.next().await.unwrap().unwrap();
        assert_eq!(first.map(|it| it.version), Some(0));
        let ttl = Duration::from_mins(5);
        let pipelines = clients[0].pipelines();
        let update = pipelines.update("vision_rag", |p| {
            p.embedding_cache_ttl(ttl).llm_rate_limit(500)
        });
        let updated = update.await.unwrap();
        let answered = Instant::now();
        for client in &clients {
            // Limits have changed for all when the update is answered.
            assert_eq!(
                capacity_at(client, limit).await,
                (500, SpecSource::Pipeline)
            );
            until_ttl(client, step, ttl).await;
            assert!(
                answered.elapsed() < Duration::from_secs(1),
                "{:?}",
                answered.elapsed()
            );
            let got = client.pipelines().get("vision_rag").await.unwrap();
            assert_eq!(got.version, updated.version);
            assert_eq!(
                got.source("embedding_cache_ttl"),
                Some(PipelineSource::Update)
            );
        }
        let told = watch.next().await.unwrap().unwrap();
        assert_eq!(told.map(|it| it.version), Some(updated.version));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn settings_outlive_daemons_and_redis_and_stay_in_force_while_it_is_away() {
    let mut redis = Redis::start().unwrap();
    let (running, clients) = daemons(&redis, 2).await;
    let ttl = Duration::from_mins(7);
    let spec = Spec::window(70, Duration::from_mins(1));
    let pipelines = clients[0].pipelines();
    let update = pipelines.update("ocr", |p| {
        p.cache_ttl("default", ttl).limit("default", spec)
    });
    let set = update.await.unwrap();
    assert_eq!(capacity_at(&clients[1], "ocr.default").await.0, 70);
    until_ttl(&clients[1], "ocr", ttl).await;
    redis.kill();
    // What is written goes to this daemon's own cache, for as long as the pipeline says.
    until(&clients[1], "the outage", |status| {
        status.store.as_ref().is_some_and(|store| !store.up)
    })
    .await;
    until_ttl(&clients[1], "ocr", ttl).await;
    assert_eq!(clients[1].pipelines().get("ocr").await.unwrap(), set);
    let refused = pipelines
        .update("ocr", |p| p.cache_ttl("default", ttl * 2))
        .await;
    assert_eq!(
        refused.unwrap_err().reason(),
        Some(ErrorReason::StoreUnavailable)
    );
    redis.restart();
    drop(running);
    let (_running, clients) = daemons(&redis, 1).await;
    let got = async {
        while clients[0].pipelines().get("ocr").await.unwrap() != set {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, got).await.unwrap();
    assert_eq!(capacity_at(&clients[0], "ocr.default").await.0, 70);
}
