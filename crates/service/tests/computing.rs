//! Getting or computing through the typed client: leases that live and end with their caller.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use prost::bytes::Bytes;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use trellis_client::cache::{Cache, ComputeError, FetchEvent, Keep, Source, StaleMode};
use trellis_client::{Client, Scope};
use trellis_conformance::cache::Settings;
use trellis_conformance::{grpc, spawn};

const TTL: Duration = Duration::from_mins(10);

fn cache() -> Cache {
    let (services, _) = support::caching(Settings::default());
    Client::from_channel(grpc::channel(services)).cache("answers")
}

async fn computed(value: &'static str, takes: Duration) -> Result<Bytes, Infallible> {
    sleep(takes).await;
    Ok(Bytes::from_static(value.as_bytes()))
}

/// Reads until somebody else computes the key.
async fn computing(cache: &Cache, key: &str) -> trellis_client::cache::Fetch {
    let mut fetch = cache.fetch([key], &Keep::new(TTL)).await.unwrap();
    assert_eq!(fetch.next().await.unwrap(), (0, FetchEvent::Computing));
    fetch
}

#[tokio::test(start_paused = true)]
async fn twenty_equal_calls_compute_once() {
    let (cache, count) = (cache(), Arc::new(AtomicUsize::new(0)));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (cache, count) = (cache.clone(), count.clone());
            spawn(async move {
                let compute = || async move {
                    count.fetch_add(1, Ordering::Relaxed);
                    computed("v", Duration::from_millis(200)).await
                };
                cache.get_or_compute("k", Keep::new(TTL), compute).await
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "v");
    }
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let entry = cache.get("k").await.unwrap().unwrap();
    assert_eq!((entry.source, entry.scope), (Source::Local, Scope::Local));
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.fills, stats.coalesced, stats.entries), (1, 19, 1));
    // 19 of a computation, one of an entry, and what was missed: the first, and each look before a fetch.
    let ratio = stats.hit_ratio().unwrap();
    let answered = stats.hits + stats.coalesced + stats.misses;
    assert!((ratio - 20.0 / f64::from(u8::try_from(answered).unwrap())).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_computation_is_taken_over_at_once() {
    let cache = cache();
    let first = {
        let cache = cache.clone();
        spawn(async move {
            let compute = || computed("never", Duration::from_secs(50));
            cache.get_or_compute("k", Keep::new(TTL), compute).await
        })
    };
    // Until the first one has the lease, this one has: it gives it up again by being dropped.
    let mut waiter = loop {
        let mut fetch = cache.fetch(["k"], &Keep::new(TTL)).await.unwrap();
        if let (_, FetchEvent::Computing) = fetch.next().await.unwrap() {
            break fetch;
        }
    };
    let dropped = Instant::now();
    first.abort();
    let (_, event) = waiter.next().await.unwrap();
    assert!(matches!(event, FetchEvent::Lease(_)), "{event:?}");
    assert!(dropped.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_for_as_long_as_its_computation_takes() {
    let cache = cache();
    let mut holder = cache.fetch(["k"], &Keep::new(TTL)).await.unwrap();
    let (_, FetchEvent::Lease(lease)) = holder.next().await.unwrap() else {
        panic!("nobody computes the key");
    };
    let mut waiter = computing(&cache, "k").await;
    let work = sleep(Duration::from_secs(45));
    holder.while_reading(work).await.unwrap();
    let value = Some(Bytes::from_static(b"v"));
    assert!(holder.fill(lease, value, &Keep::new(TTL)).await.unwrap());
    let (_, FetchEvent::Part(_) | FetchEvent::Hit { .. }) = waiter.next().await.unwrap() else {
        panic!("the value was kept in time");
    };
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_at_its_deadline_and_its_holder_is_told() {
    let cache = cache();
    let mut holder = cache.fetch(["k"], &Keep::new(TTL)).await.unwrap();
    let (_, FetchEvent::Lease(lease)) = holder.next().await.unwrap() else {
        panic!("nobody computes the key");
    };
    let mut waiter = computing(&cache, "k").await;
    let began = Instant::now();
    let (lost, taken) = tokio::join!(holder.next(), waiter.next());
    assert_eq!(lost.unwrap(), (0, FetchEvent::Lost(lease)));
    assert!(matches!(taken.unwrap().1, FetchEvent::Lease(_)));
    let took = began.elapsed().as_secs();
    assert!((55..=65).contains(&took), "{took} s");
    let late = holder.fill(lease, None, &Keep::new(TTL)).await;
    assert!(!late.unwrap());
}

#[tokio::test(start_paused = true)]
async fn keys_are_computed_once_over_batches_and_answered_in_order() {
    let (cache, count) = (cache(), Arc::new(AtomicUsize::new(0)));
    let batches = [
        ["a", "b", "a", "c"],
        ["c", "b", "d", "d"],
        ["d", "a", "c", "b"],
    ];
    let calls: Vec<_> = batches
        .into_iter()
        .map(|batch| {
            let (cache, count) = (cache.clone(), count.clone());
            let keys: Vec<String> = batch.map(str::to_owned).to_vec();
            spawn(async move {
                let compute = |missing: Vec<String>| {
                    count.fetch_add(missing.len(), Ordering::Relaxed);
                    async move {
                        sleep(Duration::from_millis(50)).await;
                        let values = missing.into_iter().map(|key| Bytes::from(key + "!"));
                        Ok::<_, Infallible>(values.collect::<Vec<_>>())
                    }
                };
                let values = cache.get_or_compute_many(keys.clone(), Keep::new(TTL), compute);
                (keys, values.await.unwrap())
            })
        })
        .collect();
    for call in calls {
        let (keys, values) = call.await.unwrap();
        let expected: Vec<_> = keys.into_iter().map(|key| Bytes::from(key + "!")).collect();
        assert_eq!(values, expected);
    }
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_who_waits_and_a_stale_value_stands_in() {
    let cache = cache();
    let mut holder = cache.fetch(["k"], &Keep::new(TTL)).await.unwrap();
    let (_, FetchEvent::Lease(lease)) = holder.next().await.unwrap() else {
        panic!("nobody computes the key");
    };
    let mut waiter = computing(&cache, "k").await;
    holder.fail(lease, "no quota").await.unwrap();
    let (_, FetchEvent::Failed { message, .. }) = waiter.next().await.unwrap() else {
        panic!("the computation failed");
    };
    assert_eq!(message, "no quota");

    let keep = Keep::new(Duration::from_secs(1)).stale(TTL, StaleMode::OnError);
    cache.set("stale", "old", &keep).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    let fails = || async { Err::<Bytes, _>("no quota") };
    let value = cache.get_or_compute("stale", keep.clone(), fails).await;
    assert_eq!(value.unwrap(), "old");
    let error = cache.get_or_compute("none", keep, fails).await.unwrap_err();
    assert!(
        matches!(error, ComputeError::Compute("no quota")),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_value_goes_both_ways_in_parts() {
    let cache = cache();
    let value = Bytes::from(vec![7; 3 * 1024 * 1024 + 5]);
    let compute = || {
        let value = value.clone();
        async move { Ok::<_, Infallible>(value) }
    };
    let computed = cache.get_or_compute("k", Keep::new(TTL), compute).await;
    assert!(computed.unwrap() == value);
    let again = cache.get("k").await.unwrap().unwrap();
    assert!(again.value.unwrap() == value);
    let many = cache
        .get_many(vec!["k".into(), "none".into(), "k".into()])
        .await;
    let sizes: Vec<_> = many
        .unwrap()
        .into_iter()
        .map(|entry| entry.and_then(|entry| entry.value).map(|value| value.len()))
        .collect();
    assert_eq!(sizes, [Some(value.len()), None, Some(value.len())]);
}

#[tokio::test(start_paused = true)]
async fn values_of_a_type_come_back_as_they_were() {
    let cache = cache();
    for _ in 0..2 {
        let compute = || async { Ok::<_, Infallible>(vec![Some(1.5), None]) };
        let typed: Vec<Option<f64>> = cache
            .get_or_compute_as("k", Keep::new(TTL), compute)
            .await
            .unwrap();
        assert_eq!(typed, [Some(1.5), None]);
    }
    let other = || async { Ok::<_, Infallible>(String::new()) };
    let error = cache.get_or_compute_as("k", Keep::new(TTL), other).await;
    assert!(matches!(error, Err(ComputeError::Type(_))));
}
