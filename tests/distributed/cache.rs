//! The cache of three real daemons on one real Redis: what is computed how often, and what stays forgotten when Redis was
//! away meanwhile.

use crate::{clients, http, start, variables};
use bytes::Bytes;
use futures::future::join_all;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use trellis_client::cache::{Cache, Condition, Keep, Source};
use trellis_conformance::limits::Settings;
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

/// Longer than a test takes.
pub const LONG: Duration = Duration::from_hours(1);

/// Daemons that see each other, and their caches.
async fn daemons(redis: &Redis, count: usize) -> (Vec<Daemon>, Vec<Cache>) {
    daemons_with(redis, count, &[]).await
}

/// The same with further settings.
pub async fn daemons_with(
    redis: &Redis,
    count: usize,
    further: &[(&'static str, String)],
) -> (Vec<Daemon>, Vec<Cache>) {
    let mut variables = variables(redis, Settings::default());
    variables.extend([
        ("TRELLIS_REDIS__HEARTBEAT_INTERVAL", "100ms".to_owned()),
        ("TRELLIS_REDIS__STORE_TIMEOUT", "1s".to_owned()),
    ]);
    variables.extend_from_slice(further);
    let daemons = start(count, &variables);
    let clients = clients(&daemons).await;
    let caches = clients.iter().map(|client| client.cache("answers"));
    let caches = caches.collect();
    (daemons, caches)
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn twenty_equal_questions_at_three_daemons_are_computed_once() {
    let redis = Redis::start().unwrap();
    let (_daemons, caches) = daemons(&redis, 3).await;
    let (asked, computed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ask = async |number: usize| {
        asked.fetch_add(1, Ordering::Relaxed);
        let compute = || async {
            computed.fetch_add(1, Ordering::Relaxed);
            // Others ask meanwhile.
            while asked.load(Ordering::Relaxed) < 20 {
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>(Bytes::from_static(b"answer"))
        };
        let cache = &caches[number % 3];
        let answer = cache.get_or_compute("question", Keep::new(LONG), compute);
        answer.await.unwrap()
    };
    let answers = join_all((0..20).map(ask)).await;
    assert!(answers.iter().all(|answer| answer == "answer"));
    assert_eq!(computed.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn overlapping_batches_at_three_daemons_compute_every_key_once() {
    let redis = Redis::start().unwrap();
    let (_daemons, caches) = daemons(&redis, 3).await;
    let computed = AtomicUsize::new(0);
    let ask = async |number: usize| {
        let mut keys: Vec<String> = (number * 10..number * 10 + 40)
            .map(|key| format!("text {key}"))
            .collect();
        if number % 2 == 1 {
            keys.reverse();
        }
        let compute = |missing: Vec<String>| {
            computed.fetch_add(missing.len(), Ordering::Relaxed);
            async { Ok::<_, Infallible>(missing.into_iter().map(Bytes::from).collect()) }
        };
        let cache = &caches[number % 3];
        let values = cache.get_or_compute_many(keys.clone(), Keep::new(LONG), compute);
        assert_eq!(values.await.unwrap(), keys);
    };
    join_all((0..4).map(ask)).await;
    assert_eq!(computed.load(Ordering::Relaxed), 70);
}

pub async fn metric(daemon: &Daemon, name: &str) -> String {
    let metrics = http(daemon, "/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_caches_alone_while_redis_is_away_and_what_it_deleted_does_not_come_back() {
    let mut redis = Redis::start().unwrap();
    let (daemons, caches) = daemons(&redis, 2).await;
    let keep = Keep::new(LONG);
    for key in ["deleted", "kept"] {
        caches[0].set(key, "old", &keep).await.unwrap();
        let entry = caches[1].get(key).await.unwrap().unwrap();
        assert_eq!(entry.value.unwrap(), "old");
    }
    redis.kill();
    let compute = || async { Ok::<_, Infallible>(Bytes::from_static(b"here")) };
    let value = caches[0].get_or_compute("asked", keep.clone(), compute);
    assert_eq!(value.await.unwrap(), "here");
    // A hit of this daemon's own cache.
    let entry = caches[0].get("asked").await.unwrap().unwrap();
    assert_eq!(entry.value.unwrap(), "here");
    caches[0].delete("deleted").await.unwrap();
    assert_eq!(
        metric(&daemons[0], "trellis_cache_outages_total").await,
        "1"
    );
    assert_eq!(metric(&daemons[0], "trellis_cache_journalled").await, "1");
    redis.restart();
    // The store has been told once calls are shared again, which only a condition needs.
    let probe = || caches[0].set_if("probe", None, &keep, Condition::Absent);
    let shared = async {
        while probe().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, shared).await.unwrap();
    assert_eq!(metric(&daemons[0], "trellis_cache_journalled").await, "0");
    for cache in &caches {
        assert_eq!(cache.get("deleted").await.unwrap(), None);
    }
    let entry = caches[0].get("kept").await.unwrap().unwrap();
    assert_eq!(entry.value.unwrap(), "old");
    assert_eq!(caches[0].get("asked").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_answers_again_from_its_own_copy_until_another_changes_the_value() {
    let redis = Redis::in_memory().unwrap();
    let (daemons, caches) = daemons(&redis, 2).await;
    let keep = Keep::new(LONG);
    caches[0].set("k", "old", &keep).await.unwrap();
    let again = |source: Source| {
        let cache = &caches[1];
        let asked = async move {
            loop {
                let entry = cache.get("k").await.unwrap().unwrap();
                if entry.source == source {
                    return entry;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), asked)
    };
    let copy = again(Source::Near).await.unwrap();
    assert_eq!(copy.value.unwrap(), "old");
    let shared = caches[1].clone().read_shared();
    let entry = shared.get("k").await.unwrap().unwrap();
    assert_eq!(
        (entry.source, entry.version),
        (Source::Shared, copy.version)
    );
    let answer = shared.get_or_compute("k", keep.clone(), || async {
        Err::<Bytes, _>("it is there")
    });
    assert_eq!(answer.await.unwrap(), "old");
    assert_eq!(metric(&daemons[1], "trellis_cache_near_serving").await, "1");
    assert_ne!(
        metric(&daemons[1], "trellis_cache_near_hits_total").await,
        "0"
    );
    caches[0].set("k", "new", &keep).await.unwrap();
    let told = again(Source::Shared).await.unwrap();
    assert_eq!(told.value.unwrap(), "new");
}

/// More than a daemon reads at a time, and more than one answer holds.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_batch_of_many_large_values_comes_in_pieces_and_whole() {
    let redis = Redis::in_memory().unwrap();
    let (daemons, caches) = daemons(&redis, 2).await;
    let value = |number: usize| Bytes::from(vec![u8::try_from(number).unwrap(); 1024 * 1024]);
    let keys: Vec<String> = (0..60).map(|number| format!("k{number}")).collect();
    let keep = Keep::new(LONG);
    for (number, key) in keys.iter().enumerate() {
        caches[0]
            .set(key.as_str(), value(number), &keep)
            .await
            .unwrap();
    }
    let missing = "missing".to_owned();
    let asked: Vec<String> = keys.iter().cloned().chain([missing]).collect();
    for cache in [caches[1].clone(), caches[1].clone().read_shared()] {
        let compute = |missing: Vec<String>| async move {
            assert_eq!(missing, ["missing"]);
            Err::<Vec<Bytes>, _>("computed last")
        };
        // The lease is granted in the last piece, and its failure ends the call.
        let failed = cache.get_or_compute_many(asked.clone(), keep.clone(), compute);
        failed.await.unwrap_err();
        let compute = |_| async { Err::<Vec<Bytes>, _>("all are there") };
        let values = cache.get_or_compute_many(keys.clone(), keep.clone(), compute);
        for (number, got) in values.await.unwrap().into_iter().enumerate() {
            assert!(got == value(number), "{number}");
        }
        let found = cache.get_many(keys.clone()).await.unwrap();
        for (number, got) in found.into_iter().enumerate() {
            assert!(got.unwrap().value.unwrap() == value(number), "{number}");
        }
    }
    assert_eq!(
        metric(&daemons[1], "trellis_cache_outages_total").await,
        "0"
    );
}
