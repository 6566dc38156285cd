//! Limits while the store is away and after: what daemons admit, what they tell, what the store learns.

use crate::members::until;
use crate::{client, http, start, variables};
use std::time::Duration;
use tokio::time::timeout;
use trellis_client::{Charge, Client, DaemonStatus, Limits, Scope, Spec};
use trellis_conformance::limits::Settings;
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

const HOUR: Duration = Duration::from_hours(1);

fn settings(redis: &Redis) -> Vec<(&'static str, String)> {
    let mut variables = variables(redis, Settings::default());
    variables.extend([
        ("TRELLIS_REDIS__HEARTBEAT_INTERVAL", "100ms".to_owned()),
        ("TRELLIS_REDIS__STORE_TIMEOUT", "1s".to_owned()),
    ]);
    variables
}

/// Two daemons that see each other.
async fn two(redis: &Redis) -> (Vec<Daemon>, Vec<Client>) {
    let daemons = start(2, &settings(redis));
    let mut clients = Vec::new();
    for daemon in &daemons {
        let client = client(daemon).await;
        until(&client, "two members", |status| status.members.len() == 2).await;
        clients.push(client);
    }
    (daemons, clients)
}

/// Takes units of a limit of 100 an hour, one after the other; tells how many were granted and the last scope.
async fn take(limits: &Limits, calls: usize) -> (usize, Scope) {
    let (mut granted, mut scope) = (0, Scope::Shared);
    for _ in 0..calls {
        let charge = Charge::new("key", 1).spec(Spec::window(100, HOUR));
        let acquired = limits.acquire().charge(charge).send().await.unwrap();
        scope = acquired.scope().clone();
        granted += usize::from(acquired.is_granted());
    }
    (granted, scope)
}

fn is_open(status: &DaemonStatus) -> bool {
    let fallback = status.fallback.as_ref();
    fallback.is_some_and(|fallback| fallback.since.is_some())
}

async fn metric(daemon: &Daemon, name: &str) -> String {
    let metrics = http(daemon, "/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Waits until so much is left. A share that was spent apart is withheld until a beat has shown that it is not any more.
async fn left(limits: &Limits, units: i64) {
    let known = async {
        while limits.peek("key", "").await.unwrap().bucket.remaining != units {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, known).await.unwrap();
}

/// Longer than any step takes, and shorter than a share is withheld.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn daemons_go_on_with_their_shares_say_so_and_the_store_learns_what_was_spent() {
    let mut redis = Redis::start().unwrap();
    let (daemons, clients) = two(&redis).await;
    let limits: Vec<_> = clients.iter().map(Client::limits).collect();
    for limits in &limits {
        assert_eq!(take(limits, 10).await, (10, Scope::Shared));
    }
    // So that both know of the 80 that are left.
    take(&limits[0], 1).await;
    take(&limits[1], 1).await;
    redis.kill();
    let mut spent = 0;
    for (seat, client) in clients.iter().enumerate() {
        until(client, "the outage", is_open).await;
        let (granted, scope) = take(&limits[seat], 60).await;
        assert!(matches!(scope, Scope::Degraded { .. }), "{scope:?}");
        // Half of what was left when it looked last.
        assert!((39..=40).contains(&granted), "{granted}");
        spent += i64::try_from(granted).unwrap();
        let status = client.status().await.unwrap();
        let fallback = status.fallback.unwrap();
        assert_eq!((fallback.shares, fallback.outages), (2, 1), "{fallback:?}");
        assert!(!fallback.reason.is_empty(), "{fallback:?}");
        assert_eq!(fallback.decisions, 60);
        assert_eq!(fallback.unmerged_buckets, 1);
        assert_eq!(fallback.unmerged_units, i64::try_from(granted).unwrap());
        assert_eq!(metric(&daemons[seat], "trellis_fallback_open").await, "1.0");
        assert_eq!(
            metric(&daemons[seat], "trellis_fallback_share").await,
            "0.5"
        );
    }
    redis.restart();
    for (seat, client) in clients.iter().enumerate() {
        let status = until(client, "the return", |status| !is_open(status)).await;
        let fallback = status.fallback.unwrap();
        assert_eq!((fallback.unmerged_buckets, fallback.unmerged_units), (0, 0));
        assert_eq!(status.limits_scope, Scope::Shared);
        assert_eq!(metric(&daemons[seat], "trellis_fallback_open").await, "0.0");
    }
    left(&limits[0], 100 - 22 - spent).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_is_told_to_end_tells_the_store_first_what_was_spent_without_it() {
    let mut redis = Redis::start().unwrap();
    let (mut daemons, clients) = two(&redis).await;
    let limits = clients[1].limits();
    assert_eq!(take(&limits, 20).await, (20, Scope::Shared));
    redis.kill();
    until(&clients[1], "the outage", is_open).await;
    assert_eq!(take(&limits, 7).await.0, 7);
    redis.restart();
    until(&clients[1], "the store", |status| {
        status.store.as_ref().is_some_and(|store| store.up)
    })
    .await;
    // The dwell is not over, or just so: nobody but the end may have merged.
    let ending = daemons.pop().unwrap();
    ending.signal("TERM");
    let (status, log) = ending.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    until(&clients[0], "the return", |status| !is_open(status)).await;
    left(&clients[0].limits(), 100 - 27).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_is_told_to_end_without_its_store_says_what_is_lost() {
    let mut redis = Redis::start().unwrap();
    let mut daemons = start(1, &settings(&redis));
    let client = client(&daemons[0]).await;
    let limits = client.limits();
    until(&client, "itself", |status| status.members.len() == 1).await;
    assert_eq!(take(&limits, 20).await, (20, Scope::Shared));
    redis.kill();
    until(&client, "the outage", is_open).await;
    assert_eq!(take(&limits, 7).await.0, 7);
    let ending = daemons.pop().unwrap();
    ending.signal("TERM");
    let (status, log) = ending.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let said = log
        .lines()
        .find(|line| line.contains("it will never know what was spent"));
    let said = said.unwrap_or_else(|| panic!("nothing said in {log}"));
    assert!(said.contains("units=7"), "{said}");
}
