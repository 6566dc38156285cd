//! What was spent without the store comes to it as debt: all of it, once, and no more than a capacity.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod support;

use std::time::Duration;
use support::{Daemon, Proxy, Server, quick, soon, swept_limits_config};
use trellis_core::limits::{
    BucketState, ConcurrencySpec, LevelPolicy, LimitSpec, Limits, RateSpec, Reconcile, SetLimit,
    Sharing, SpecSource, Spent, WindowSpec,
};
use trellis_core::{ErrorCode, Key, Micros, Name, Namespace};
use trellis_redis::{RedisConfig, RedisLimits};

const HOUR: Micros = Micros::from_secs(3_600);

/// A daemon and its limits.
struct Limited {
    daemon: Daemon,
    limits: std::sync::Arc<RedisLimits>,
}

impl Limited {
    async fn at(config: RedisConfig, name: &str) -> Self {
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        let limits = daemon.limits(swept_limits_config());
        Self { daemon, limits }
    }

    async fn on(server: &Server, name: &str) -> Self {
        let config = RedisConfig {
            port: server.port,
            ..RedisConfig::default()
        };
        Self::at(config, name).await
    }

    /// The name of a batch of this life.
    async fn batch(&self, number: u64) -> String {
        format!("{}-{number}", self.daemon.attached().await.incarnation)
    }

    async fn merge(&self, batch: &str, spent: &[Spent]) {
        self.limits.merge(batch, spent).await.unwrap();
    }

    async fn bucket(&self, limit: &str) -> BucketState {
        let peeked = self.limits.peek(namespace(), name(limit), key()).await;
        peeked.unwrap().0
    }

    async fn left(&self, limit: &str) -> i64 {
        self.bucket(limit).await.remaining
    }
}

fn namespace() -> Namespace {
    Namespace::new("test", "namespace").unwrap()
}

fn name(name: &str) -> Name {
    Name::new(name, "limit").unwrap()
}

fn key() -> Key {
    Key::new("k", "key").unwrap()
}

fn window(amount: i64) -> LimitSpec {
    LimitSpec::Window(WindowSpec::new(amount, HOUR).unwrap())
}

fn spent(limit: &str, amount: i64, spec: LimitSpec) -> Spent {
    Spent {
        namespace: namespace(),
        limit: name(limit),
        key: key(),
        amount,
        spec,
        held_for: HOUR,
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_batch_counts_once_however_often_it_is_sent_and_whoever_sends_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Limited::on(&server, "a").await,
        Limited::on(&server, "b").await,
    );
    let rate = RateSpec::new(1, HOUR, 100).unwrap();
    let spent = [
        spent("window", 30, window(100)),
        spent("rate", 40, LimitSpec::Rate(rate)),
    ];
    let batch = a.batch(1).await;
    for daemon in [&a, &a, &b] {
        daemon.merge(&batch, &spent).await;
        assert_eq!(
            (a.left("window").await, a.left("rate").await),
            (70, 60),
            "for the first time only"
        );
    }
    // Another life has another name, and another batch of the same life has one too.
    for (number, batch) in [(1, b.batch(1).await), (2, a.batch(2).await)] {
        a.merge(&batch, &spent).await;
        assert_eq!(a.left("window").await, 70 - 30 * number);
    }
    assert_eq!(a.left("rate").await, 60 - 80, "into debt");
    let over = |state: BucketState| state.overshoot;
    assert_eq!(over(b.bucket("rate").await), 20);
    assert_eq!(over(b.bucket("window").await), 0);
    assert_eq!(a.limits.status().overshoot, 20);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_debt_is_at_most_a_capacity() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::on(&server, "a").await;
    let rate = LimitSpec::Rate(RateSpec::new(1, HOUR, 10).unwrap());
    let spent = [
        spent("window", 1_000, window(10)),
        spent("rate", 1_000, rate),
    ];
    for (number, left) in [(1, 0), (2, -10)] {
        a.merge(&a.batch(number).await, &spent).await;
        assert_eq!((a.left("window").await, a.left("rate").await), (left, left));
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn slots_are_held_for_as_long_as_they_are_held_by_the_daemon() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::on(&server, "a").await;
    let slots = LimitSpec::Concurrency(ConcurrencySpec::new(3).unwrap());
    let short = Spent {
        held_for: Micros::from_millis(50),
        ..spent("short", 2, slots.clone())
    };
    let long = spent("long", 2, slots);
    a.merge(&a.batch(1).await, &[short, long]).await;
    let long = a.bucket("long").await;
    assert_eq!(long.remaining, 1);
    assert!(
        long.full_after > Micros::from_secs(3_000) && long.full_after <= HOUR,
        "{long:?}"
    );
    soon("free slots", async {
        // Peeking never makes a bucket, and one that is idle and full may be gone with its limit.
        while a
            .limits
            .peek(namespace(), name("short"), key())
            .await
            .is_ok_and(|(bucket, _)| bucket.remaining < 3)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(a.left("long").await, 1);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn the_spec_in_force_counts_and_a_forgotten_limit_is_made_of_the_one_that_was() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::on(&server, "a").await;
    let set = SetLimit {
        namespace: namespace(),
        name: name("declared"),
        spec: window(50),
        overrides: Vec::new(),
        level_policy: LevelPolicy::KeepAmount,
        source: SpecSource::SetLimit,
        sharing: Sharing::Auto,
        request_id: None,
    };
    a.limits.set_limit(set).await.unwrap();
    let spent = [
        spent("declared", 7, window(9)),
        spent("forgotten", 7, window(9)),
    ];
    a.merge(&a.batch(1).await, &spent).await;
    let (declared, forgotten) = (a.bucket("declared").await, a.bucket("forgotten").await);
    assert_eq!((declared.remaining, declared.capacity), (43, 50));
    assert_eq!((forgotten.remaining, forgotten.capacity), (2, 9));
    assert_eq!(forgotten.source, SpecSource::Inline);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_batch_whose_answer_was_lost_is_sent_again_and_counts_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let config = RedisConfig {
        port: proxy.port,
        store_timeout: Duration::from_secs(1),
        ..RedisConfig::default()
    };
    let a = Limited::at(config, "a").await;
    let batch = [spent("window", 30, window(100))];
    // The store knows the script from then on, and carries it out without asking for its text.
    a.merge(&a.batch(1).await, &batch).await;
    let (session, second) = (a.daemon.attached().await, a.batch(2).await);
    proxy.hold_answers();
    let lost = a.limits.merge(&second, &batch).await.unwrap_err();
    assert_eq!(lost.code, ErrorCode::OutcomeUnknown);
    a.daemon.session_after(session).await;
    assert_eq!(a.left("window").await, 40, "it was carried out");
    a.merge(&second, &batch).await;
    assert_eq!(a.left("window").await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_batch_of_a_daemon_that_was_declared_dead_is_refused_until_it_lives_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Limited::at(quick(&server), "a").await,
        Limited::at(quick(&server), "b").await,
    );
    b.daemon.sees(&["a", "b"]).await;
    let (session, batch) = (a.daemon.attached().await, a.batch(1).await);
    a.daemon.heart.cancel();
    b.daemon.sees(&["b"]).await;
    let spent = [spent("window", 30, window(100))];
    // The first attempt is refused, or comes after the daemon has attached anew under another life: the name
    // that the batch was given stays.
    soon("the merge", async {
        while a.limits.merge(&batch, &spent).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let next = a.daemon.session_after(session).await;
    assert!(next.incarnation > session.incarnation);
    a.merge(&batch, &spent).await;
    assert_eq!(b.left("window").await, 70);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_merged_batch_keeps_its_namespace_until_it_is_forgotten() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::on(&server, "a").await;
    let soon_full = LimitSpec::Window(WindowSpec::new(9, Micros::from_millis(20)).unwrap());
    a.merge(&a.batch(1).await, &[spent("short", 7, soon_full)])
        .await;
    let keys = a.daemon.store.keys();
    let (merged, limits, spaces) = (
        format!("{}:merged", keys.of("limits", &["test"])),
        format!("{}:limits", keys.of("limits", &["test"])),
        keys.of("limits-namespaces", &[]),
    );
    let gone = async |key: &str| {
        soon(key, async {
            while server.run(&["EXISTS", key]) != "0" {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    gone(&limits).await;
    assert_eq!(server.run(&["SISMEMBER", &spaces, "test"]), "1");
    assert_eq!(server.run(&["HLEN", &merged]), "1");
    // As if it had been merged long ago.
    server.run(&["HSET", &merged, &a.batch(1).await, "1"]);
    gone(&merged).await;
    soon("the namespace to go", async {
        while server.run(&["SISMEMBER", &spaces, "test"]) != "0" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_writes_no_more_refuses_a_batch_as_away_and_not_as_a_defect() {
    let refusals: [(&[&str], &[&str]); 2] = [
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
        ),
    ];
    for (begin, end) in refusals {
        let Some(server) = Server::start() else {
            return;
        };
        let a = Limited::on(&server, "a").await;
        let spent = [spent("window", 30, window(100))];
        a.merge(&a.batch(1).await, &spent).await;
        let second = a.batch(2).await;
        server.run(begin);
        let refused = a.limits.merge(&second, &spent).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::StoreUnavailable, "{refused:?}");
        server.run(end);
        soon("the merge", async {
            while a.limits.merge(&second, &spent).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(a.left("window").await, 40);
    }
}
