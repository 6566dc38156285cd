//! A store that forgets, refuses, pauses and hangs under daemons that admit nothing without it: what their calls
//! answer, that they recover without a restart, and that nothing is admitted above the limit but what the lost
//! data itself implies.

use crate::members::until;
use crate::{client, start_with, variables};
use std::fs;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use trellis_client::{Charge, Client, Error, ErrorReason, Scope};
use trellis_conformance::limits::Settings;
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

const PATIENCE: Duration = Duration::from_mins(1);

/// Units that the limit of the configuration admits in an hour.
const AMOUNT: i64 = 100;

/// Two daemons on one store, of which nothing is admitted without it.
struct Pair {
    redis: Redis,
    daemons: Vec<Daemon>,
    clients: Vec<Client>,
    _folder: tempfile::TempDir,
}

impl Pair {
    async fn start() -> Self {
        let redis = Redis::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trellis.toml");
        let declared = format!(
            "[[limits.declared]]\nname = \"key\"\nwindow = {{ amount = {AMOUNT}, period = \"1h\" }}\n"
        );
        fs::write(&file, declared).unwrap();
        let mut settings = variables(&redis, Settings::default());
        settings.extend([
            ("TRELLIS_REDIS__HEARTBEAT_INTERVAL", "100ms".to_owned()),
            ("TRELLIS_REDIS__STORE_TIMEOUT", "400ms".to_owned()),
            ("TRELLIS_LIMITS__FALLBACK", "fail".to_owned()),
            ("TRELLIS_LIMITS__FALLBACK_HOLD", "0s".to_owned()),
        ]);
        let daemons = start_with(2, &settings, &["--config", file.to_str().unwrap()]);
        let mut clients = Vec::new();
        for daemon in &daemons {
            let client = client(daemon).await;
            until(&client, "two members", |status| status.members.len() == 2).await;
            clients.push(client);
        }
        let pair = Self {
            redis,
            daemons,
            clients,
            _folder: folder,
        };
        for seat in [0, 1] {
            for _ in 0..10 {
                assert!(pair.take(seat).await.unwrap());
            }
        }
        pair
    }

    /// Takes a unit through one of the daemons; tells whether it was granted.
    async fn take(&self, seat: usize) -> Result<bool, Error> {
        let limits = self.clients[seat].limits();
        let acquired = limits.try_acquire(Charge::new("key", 1)).await?;
        assert_eq!(
            *acquired.scope(),
            Scope::Shared,
            "nothing is admitted apart"
        );
        Ok(acquired.is_granted())
    }

    async fn generations(&self) -> Vec<i64> {
        let mut generations = Vec::new();
        for client in &self.clients {
            let store = client.status().await.unwrap().store.unwrap();
            generations.push(store.generation);
        }
        generations
    }

    /// Asks both until nobody is served; tells what is surely left of the limit then, and the most that can be:
    /// callers whose answer was lost cannot know.
    async fn until_away(&self) -> RangeInclusive<i64> {
        let (mut granted, mut unknown) = (0, 0);
        for seat in [0, 1] {
            let began = Instant::now();
            loop {
                match self.take(seat).await.map_err(|error| error.reason()) {
                    Ok(took) => granted += i64::from(took),
                    Err(Some(ErrorReason::StoreUnavailable)) => break,
                    Err(Some(ErrorReason::OutcomeUnknown)) => unknown += 1,
                    Err(other) => panic!("{other:?}"),
                }
                assert!(began.elapsed() < PATIENCE, "never away");
            }
        }
        let left = LEFT - granted;
        left - unknown..=left
    }

    /// Waits until both share again, and takes the rest of the limit through both in turns: how much it was.
    async fn rest(&self) -> i64 {
        for client in &self.clients {
            until(client, "the return", |status| {
                let fallback = status.fallback.as_ref();
                status.limits_scope == Scope::Shared
                    && fallback.is_some_and(|fallback| fallback.since.is_none())
            })
            .await;
        }
        let mut rest = 0;
        while self.take_surely(usize::from(rest % 2 == 1)).await {
            rest += 1;
            assert!(rest <= 2 * AMOUNT, "there is no end of it");
        }
        assert!(!self.take_surely(0).await && !self.take_surely(1).await);
        rest
    }

    /// Takes a unit; a limit that is declared again, or a store that is looked at again, is waited for.
    async fn take_surely(&self, seat: usize) -> bool {
        let taking = async {
            loop {
                match self.take(seat).await {
                    Ok(granted) => return granted,
                    Err(error) if error.reason() == Some(ErrorReason::StoreUnavailable) => {
                        sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        timeout(PATIENCE, taking).await.unwrap()
    }

    /// Both daemons are those that were started, and none has said that a task has failed.
    fn assert_unharmed(mut self) {
        for mut daemon in self.daemons.drain(..) {
            assert!(daemon.is_running(), "a daemon has ended");
            daemon.signal("TERM");
            let (status, log) = daemon.wait();
            assert_eq!(status.code(), Some(0), "{log}");
            assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
        }
    }
}

/// What is used is used: of the limit the two have taken 20.
const LEFT: i64 = AMOUNT - 20;

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_flushall_a_limit_begins_where_it_was_seen_and_every_daemon_tells_of_a_new_generation()
 {
    let pair = Pair::start().await;
    let before = pair.generations().await;
    pair.redis.run(&["FLUSHALL"]);
    for (client, before) in pair.clients.iter().zip(before) {
        until(client, "a new generation", |status| {
            status.store.as_ref().unwrap().generation > before
        })
        .await;
    }
    assert_eq!(pair.rest().await, LEFT);
    pair.assert_unharmed();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_script_flush_nobody_notices_anything() {
    let pair = Pair::start().await;
    let before = pair.generations().await;
    for granted in 0..20 {
        pair.redis.run(&["SCRIPT", "FLUSH"]);
        assert!(pair.take(granted % 2).await.unwrap());
    }
    assert_eq!(pair.rest().await, LEFT - 20);
    assert_eq!(pair.generations().await, before);
    pair.assert_unharmed();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_writes_no_more_admits_nothing_and_has_forgotten_nothing() {
    let pair = Pair::start().await;
    let before = pair.generations().await;
    pair.redis
        .run(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let left = pair.until_away().await;
    assert_eq!(left.start(), left.end(), "a refusal is no lost answer");
    let status = pair.clients[0].status().await.unwrap();
    assert!(!status.fallback.unwrap().reason.is_empty());
    pair.redis
        .run(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert_eq!(pair.rest().await, *left.end());
    assert_eq!(pair.generations().await, before, "it has lost nothing");
    pair.assert_unharmed();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_became_a_replica_of_nothing_comes_back_with_all_it_had() {
    let pair = Pair::start().await;
    let before = pair.generations().await;
    // Nobody listens there: it keeps what it has.
    pair.redis.run(&["REPLICAOF", "127.0.0.1", "1"]);
    let left = pair.until_away().await;
    pair.redis.run(&["REPLICAOF", "NO", "ONE"]);
    let rest = pair.rest().await;
    assert!(left.contains(&rest), "{rest} of {left:?}");
    for (now, before) in pair.generations().await.into_iter().zip(before) {
        assert!(now > before, "it may have been another server meanwhile");
    }
    pair.assert_unharmed();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_is_paused_carries_out_nothing_late_that_was_called_lost() {
    let pair = Pair::start().await;
    pair.redis.run(&["CLIENT", "PAUSE", "3000", "ALL"]);
    let left = pair.until_away().await;
    let rest = pair.rest().await;
    assert!(left.contains(&rest), "{rest} of {left:?}");
    pair.assert_unharmed();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_store_that_hangs_is_left_and_found_again() {
    let pair = Pair::start().await;
    let before = pair.generations().await;
    pair.redis.signal("STOP");
    let left = pair.until_away().await;
    pair.redis.signal("CONT");
    let rest = pair.rest().await;
    assert!(left.contains(&rest), "{rest} of {left:?}");
    assert_eq!(pair.generations().await, before, "it has lost nothing");
    pair.assert_unharmed();
}
