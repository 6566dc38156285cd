//! A store that has forgotten the limits of the configuration: calls wait until these are declared again. And ends
//! of calls that nobody will fetch.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::{Daemon, Server, quick, soon, spawn, swept_limits_config};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trellis_core::limits::{
    AcquireRequest, Acquired, Charge, ConcurrencySpec, DeleteLimit, FairShare, LevelPolicy,
    LimitSpec, Limits, Mode, Outcome, Priority, SetLimit, Sharing, SpecSource,
};
use trellis_core::{ErrorCode, Key, Micros, Name, Namespace, Result};
use trellis_redis::{RedisConfig, RedisLimits};

const LONG: Mode = Mode::Wait(Micros::from_secs(60));

struct Limited {
    daemon: Daemon,
    limits: Arc<RedisLimits>,
}

impl Limited {
    async fn at(config: RedisConfig, name: &str) -> Self {
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        let limits = daemon.limits(swept_limits_config());
        Self { daemon, limits }
    }

    /// Declares the one slot.
    async fn declare(&self) {
        let slots = ConcurrencySpec::new(1).unwrap();
        let set = SetLimit {
            namespace: namespace(),
            name: name(),
            spec: LimitSpec::Concurrency(slots),
            overrides: Vec::new(),
            level_policy: LevelPolicy::KeepAmount,
            source: SpecSource::Configuration,
            sharing: Sharing::Auto,
            request_id: None,
        };
        self.limits.set_limit(set).await.unwrap();
    }

    fn acquire(&self, mode: Mode) -> JoinHandle<Result<Acquired>> {
        let request = AcquireRequest {
            namespace: namespace(),
            charges: vec![Charge::new(name(), Key::new("", "key").unwrap(), 1).unwrap()],
            mode,
            reservation_ttl: Some(Micros::from_secs(600)),
            request_id: None,
            priority: Priority::Interactive,
            fair: FairShare::UNNAMED,
            dry_run: false,
        };
        spawn(self.limits.clone().acquire(request))
    }

    async fn until_waiting(&self, count: usize) {
        soon("a call in line", async {
            let peek = || {
                let key = Key::new("", "key").unwrap();
                self.limits.peek(namespace(), name(), key)
            };
            while !peek()
                .await
                .is_ok_and(|(bucket, _)| bucket.waiters == count)
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn namespace() -> Namespace {
    Namespace::new("test", "namespace").unwrap()
}

fn name() -> Name {
    Name::new("slots", "limit").unwrap()
}

fn patient(server: &Server) -> RedisConfig {
    RedisConfig {
        port: server.port,
        // A busy machine should not bring it about.
        store_timeout: Duration::from_secs(2),
        heartbeat_interval: Duration::from_millis(50),
        ..RedisConfig::default()
    }
}

fn is_granted(acquired: &Acquired) -> bool {
    matches!(acquired.outcome, Outcome::Granted(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_a_flush_calls_wait_for_the_limits_of_the_configuration() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::at(patient(&server), "a").await;
    let session = a.daemon.attached().await;
    let declared = watch::Sender::new(Some(session.generation));
    a.limits.await_declarations(declared.subscribe());
    // Nothing of it was ever used, so the daemon has nothing of it to tell to the store.
    a.declare().await;
    server.run(&["FLUSHALL"]);
    let session = a.daemon.session_after(session).await;
    let trying = a.acquire(Mode::Try);
    // It has not been told that there is no such limit by the time that a call made since is answered.
    let key = Key::new("", "key").unwrap();
    let missing = a.limits.peek(namespace(), name(), key).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::LimitNotFound);
    assert!(!trying.is_finished());
    a.declare().await;
    declared.send_replace(Some(session.generation));
    assert!(is_granted(&trying.await.unwrap().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_limit_that_nobody_declares_is_told_of_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::at(patient(&server), "a").await;
    let session = a.daemon.attached().await;
    let declared = watch::Sender::new(Some(session.generation));
    a.limits.await_declarations(declared.subscribe());
    let error = a.acquire(Mode::Try).await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn ends_that_a_dead_daemon_did_not_fetch_are_swept() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Limited::at(quick(&server), "a").await,
        Limited::at(quick(&server), "b").await,
    );
    a.daemon.sees(&["a", "b"]).await;
    a.declare().await;
    assert!(is_granted(&a.acquire(Mode::Try).await.unwrap().unwrap()));
    let waiting = b.acquire(LONG);
    a.until_waiting(1).await;
    // It hears nothing any more.
    b.daemon.stop.cancel();
    b.daemon.heart.cancel();
    waiting.abort();
    let delete = DeleteLimit {
        namespace: namespace(),
        name: name(),
        request_id: None,
    };
    a.limits.delete_limit(delete).await.unwrap();
    let root = a.daemon.store.keys().of("limits", &["test"]);
    let (ended, enders) = (format!("{root}:ended:b"), format!("{root}:enders"));
    assert_eq!(server.run(&["HKEYS", &enders]), "b");
    assert_eq!(server.run(&["HLEN", &ended]), "1");
    a.daemon.sees(&["a"]).await;
    for key in [ended, enders] {
        soon(&key, async {
            while server.run(&["EXISTS", &key]) != "0" {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
