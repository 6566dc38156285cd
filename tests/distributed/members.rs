//! Who sees whom, and how a daemon does whose store is away.

use crate::{client, start, variables};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use trellis_client::{Client, DaemonStatus, Scope};
use trellis_conformance::limits::Settings;
use trellis_tests::daemon::command;
use trellis_tests::redis::Redis;

const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until the status is as wanted.
async fn until(
    client: &Client,
    what: &str,
    wanted: impl Fn(&DaemonStatus) -> bool,
) -> DaemonStatus {
    let asking = async {
        loop {
            let status = client.status().await.unwrap();
            if wanted(&status) {
                return status;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let found = timeout(PATIENCE, asking).await;
    found.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Settings under which silence is noticed soon.
fn quick(redis: &Redis) -> Vec<(&'static str, String)> {
    let mut variables = variables(redis, Settings::default());
    variables.extend([
        ("TRELLIS_REDIS__HEARTBEAT_INTERVAL", "100ms".to_owned()),
        ("TRELLIS_REDIS__STORE_TIMEOUT", "300ms".to_owned()),
        ("TRELLIS_REDIS__DEATH_AFTER", "1s".to_owned()),
        ("TRELLIS_REDIS__CONNECT_TIMEOUT", "500ms".to_owned()),
    ]);
    variables
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn every_daemon_lists_all_and_drops_those_that_have_died_or_left() {
    let redis = Redis::start().unwrap();
    let mut daemons = start(3, &quick(&redis));
    let (first, second) = (client(&daemons[0]).await, client(&daemons[1]).await);
    for client in [&first, &second] {
        let status = until(client, "three members", |status| status.members.len() == 3).await;
        assert_eq!(
            status
                .members
                .iter()
                .filter(|member| member.this_daemon)
                .count(),
            1
        );
        assert!(
            status
                .members
                .iter()
                .all(|member| member.version == status.version)
        );
        assert!(
            status
                .members
                .iter()
                .all(|member| member.silence < Duration::from_secs(1))
        );
        let store = status.store.unwrap();
        assert!(
            store.up && store.generation > 0 && store.incarnation > 0,
            "{store:?}"
        );
    }
    daemons.pop().unwrap().signal("KILL");
    let killed = Instant::now();
    until(&first, "the death", |status| status.members.len() == 2).await;
    assert!(
        killed.elapsed() >= Duration::from_millis(500),
        "declared dead too soon"
    );
    daemons.pop().unwrap().signal("TERM");
    until(&first, "the leave", |status| status.members.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_starts_without_its_store_says_so_and_joins_when_it_comes() {
    let mut redis = Redis::start().unwrap();
    redis.kill();
    let began = Instant::now();
    let daemon = start(1, &quick(&redis)).pop().unwrap();
    assert!(began.elapsed() < PATIENCE / 2, "it waited for its store");
    let client = client(&daemon).await;
    let status = client.status().await.unwrap();
    assert!(
        matches!(status.limits_scope, Scope::Degraded { .. }),
        "{status:?}"
    );
    assert!(!status.store.unwrap().up);
    redis.restart();
    let status = until(&client, "the store", |status| {
        status.limits_scope == Scope::Shared
    })
    .await;
    assert!(status.store.unwrap().up);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_may_evict_limits_is_refused_by_the_name_of_its_setting() {
    let redis = Redis::start().unwrap();
    redis.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let mut command = command();
    command.envs(
        quick(&redis)
            .iter()
            .map(|(name, text)| (*name, text.as_str())),
    );
    let output = command
        .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("maxmemory-policy"), "{said}");
}
