//! Who sees whom, and how a daemon does whose store is away.

use crate::{client, http, start, variables};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use trellis_client::{Client, DaemonStatus, Limit, Scope, SpecSource};
use trellis_conformance::limits::Settings;
use trellis_tests::daemon::{Daemon, binary, command};
use trellis_tests::redis::Redis;

const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until the status is as wanted.
pub async fn until(
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
                .all(|member| member.silence < Duration::from_secs(1) && member.attached)
        );
        // Each listens on a port that the system chose, and tells the others which.
        let mut addresses: Vec<_> = status.members.iter().map(|it| &it.address).collect();
        let mut listened: Vec<_> = daemons.iter().map(|daemon| &daemon.grpc).collect();
        addresses.sort();
        listened.sort();
        assert_eq!(addresses, listened);
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
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_is_told_to_end_is_gone_at_once() {
    let redis = Redis::start().unwrap();
    let mut variables = quick(&redis);
    // Longer than anything is waited for: nobody goes by being declared dead.
    variables.push(("TRELLIS_REDIS__DEATH_AFTER", "10m".to_owned()));
    let mut daemons = start(2, &variables);
    let first = client(&daemons[0]).await;
    until(&first, "two members", |status| status.members.len() == 2).await;
    let second = daemons.pop().unwrap();
    second.signal("TERM");
    until(&first, "the leave", |status| status.members.len() == 1).await;
    let (status, log) = second.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(" WARN "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_starts_without_its_store_says_so_and_joins_when_it_comes() {
    let mut redis = Redis::start().unwrap();
    redis.kill();
    // Built before the time is taken.
    binary();
    let began = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trellis.toml");
    let declared = "[[limits.declared]]\nname = \"llm\"\nconcurrency = { slots = 3 }\n";
    std::fs::write(&file, declared).unwrap();
    let settings = quick(&redis);
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, text)| (*name, &text[..]))
        .collect();
    let daemon = Daemon::start_with(&settings, &["--config", file.to_str().unwrap()]);
    assert!(began.elapsed() < PATIENCE / 2, "it waited for its store");
    let client = client(&daemon).await;
    let status = client.status().await.unwrap();
    assert!(
        matches!(status.limits_scope, Scope::Degraded { .. }),
        "{status:?}"
    );
    assert!(!status.store.unwrap().up);
    assert!(status.members.is_empty(), "it has not seen anybody yet");
    assert!(is_ready(&daemon).await, "degraded is ready");
    assert!(limits(&client).await.is_none(), "declared nowhere yet");
    redis.restart();
    let status = until(&client, "the store", |status| {
        status.limits_scope == Scope::Shared
    })
    .await;
    assert!(status.store.unwrap().up);
    is_declared(&client).await;
    // A store that has lost its memory is told again.
    redis.run(&["FLUSHALL"]);
    is_declared(&client).await;
}

/// Whether `/readyz` says so.
async fn is_ready(daemon: &Daemon) -> bool {
    http(daemon, "/readyz").await.starts_with("HTTP/1.1 200")
}

/// The limits in the store; `None` while it is away.
async fn limits(client: &Client) -> Option<Vec<Limit>> {
    client.limits().list_limits().all().await.ok()
}

/// Waits until the limit of the configuration is there, as such.
async fn is_declared(client: &Client) {
    let asking = async {
        loop {
            match limits(client).await.as_deref() {
                Some([limit]) if limit.name == "llm" => return limit.source,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let source = timeout(PATIENCE, asking).await.unwrap();
    assert_eq!(source, SpecSource::Configuration);
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
