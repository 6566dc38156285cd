//! The cache of three real daemons on one real Redis: what is computed how often, and what stays forgotten when Redis was
//! away meanwhile.

use crate::members::until;
use crate::{client, http, start, variables};
use bytes::Bytes;
use futures::future::join_all;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use trellis_client::cache::{Cache, Condition, Keep};
use trellis_conformance::limits::Settings;
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

/// Longer than a test takes.
const LONG: Duration = Duration::from_hours(1);

/// Daemons that see each other, and their caches.
async fn daemons(redis: &Redis, count: usize) -> (Vec<Daemon>, Vec<Cache>) {
    let mut variables = variables(redis, Settings::default());
    variables.extend([
        ("TRELLIS_REDIS__HEARTBEAT_INTERVAL", "100ms".to_owned()),
        ("TRELLIS_REDIS__STORE_TIMEOUT", "1s".to_owned()),
    ]);
    let daemons = start(count, &variables);
    let mut caches = Vec::new();
    for daemon in &daemons {
        let client = client(daemon).await;
        until(&client, "all members", |status| {
            status.members.len() == count
        })
        .await;
        caches.push(client.cache("answers"));
    }
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

async fn metric(daemon: &Daemon, name: &str) -> String {
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
