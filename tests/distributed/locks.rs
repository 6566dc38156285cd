//! Locks of three real daemons on one real Redis, through the typed client: guards, and what becomes of them when their
//! daemon or the store fails.

use crate::{Variable, clients, http, start_with, variables};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use trellis_client::{LockGuard, Locked, Locks, Scope};
use trellis_conformance::limits::Settings;
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

const PATIENCE: Duration = Duration::from_secs(30);

/// The settings of daemons that notice a death within a second.
fn quick(redis: &Redis) -> Vec<Variable> {
    let mut variables = variables(redis, Settings::default());
    variables.extend([
        ("TRELLIS_REDIS__HEARTBEAT_INTERVAL", "100ms".to_owned()),
        ("TRELLIS_REDIS__STORE_TIMEOUT", "300ms".to_owned()),
        ("TRELLIS_REDIS__DEATH_AFTER", "1s".to_owned()),
    ]);
    variables
}

/// Such daemons, which see each other.
pub async fn daemons_with(redis: &Redis, count: usize) -> Vec<Daemon> {
    daemons(redis, count, &[]).await.0
}

/// The same and their locks.
async fn daemons(redis: &Redis, count: usize, further: &[&str]) -> (Vec<Daemon>, Vec<Locks>) {
    let daemons = start_with(count, &quick(redis), further);
    let clients = clients(&daemons).await;
    let locks = clients
        .iter()
        .map(|client| client.locks().ttl(Duration::from_secs(1)));
    let locks = locks.collect();
    (daemons, locks)
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_lock_is_one_for_all_daemons_and_goes_to_the_next_at_once() {
    let redis = Redis::start().unwrap();
    let (daemons, locks) = daemons(&redis, 3, &[]).await;
    let guard = locks[0].lock("job").acquire().await.unwrap();
    let guard = guard.granted().unwrap();
    let tried = locks[1].lock("job").try_acquire().await.unwrap();
    assert!(tried.granted().is_none());
    let waits = locks[2].lock("job").max_wait(PATIENCE);
    let waits = async { waits.acquire().await.unwrap().granted().unwrap() };
    let token = guard.token();
    let (next, ()) = tokio::join!(waits, async {
        while locks[1].inspect("job").await.unwrap().waiters == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        guard.release().await.unwrap();
    });
    assert!(next.token() > token);
    let metrics = http(&daemons[2], "/metrics").await;
    assert!(metrics.contains("trellis_locks_decisions_total{outcome=\"granted\"} 1"));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_killed_daemon_takes_no_lock_with_it_for_longer_than_its_death_and_a_ttl() {
    let redis = Redis::start().unwrap();
    let (mut daemons, locks) = daemons(&redis, 2, &[]).await;
    let guard = locks[0].lock("job").acquire().await.unwrap();
    let guard = guard.granted().unwrap();
    daemons.remove(0).signal("KILL");
    let killed = Instant::now();
    let next = locks[1].lock("job").max_wait(PATIENCE);
    let next = timeout(PATIENCE, next.acquire()).await.unwrap().unwrap();
    assert!(next.granted().unwrap().token() > guard.token());
    // The holder knew before anybody else was let in.
    assert!(!guard.is_valid());
    assert!(killed.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_was_stopped_for_longer_than_its_life_grants_nothing_that_is_anothers() {
    let redis = Redis::start().unwrap();
    let (daemons, locks) = daemons(&redis, 2, &[]).await;
    let guard = locks[0].lock("job").acquire().await.unwrap();
    let paused = guard.granted().unwrap();
    daemons[0].signal("STOP");
    let next = locks[1].lock("job").max_wait(PATIENCE);
    let next = timeout(PATIENCE, next.acquire()).await.unwrap().unwrap();
    let next = next.granted().unwrap();
    daemons[0].signal("CONT");
    assert!(!paused.is_valid());
    // A resource that is shown the tokens refuses the late one.
    assert!(paused.token() < next.token());
    assert!(!locks[1].check_token("job", paused.token()).await.unwrap());
    assert!(locks[1].check_token("job", next.token()).await.unwrap());
    timeout(PATIENCE, paused.lost()).await.unwrap();
    assert!(next.is_valid());
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn guards_outlive_a_store_that_has_lost_everything() {
    let redis = Redis::start().unwrap();
    let (_daemons, locks) = daemons(&redis, 2, &[]).await;
    let guard = locks[0].lock("job").acquire().await.unwrap();
    let guard = guard.granted().unwrap();
    redis.run(&["FLUSHALL"]);
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        assert!(guard.is_valid());
        // While the daemons attach again, nobody is asked.
        if let Ok(state) = locks[1].inspect("job").await {
            assert!(state.holders.iter().all(|it| it.token == guard.token()));
        }
    }
    let tried = locks[1].lock("job").try_acquire().await.unwrap();
    assert!(tried.granted().is_none());
    let token = guard.token();
    guard.release().await.unwrap();
    let next = locks[1].lock("job").max_wait(PATIENCE);
    assert!(next.acquire().await.unwrap().granted().unwrap().token() > token);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_lock_for_efficiency_is_held_over_an_outage_and_one_for_correctness_is_not_granted_in_it()
{
    let mut redis = Redis::start().unwrap();
    let (_daemons, locks) = daemons(&redis, 2, &[]).await;
    // One session was there before, the other begins in the outage.
    let before = locks[0].lock("before").acquire().await.unwrap();
    before.granted().unwrap().release().await.unwrap();
    redis.kill();
    let mut guards = Vec::new();
    for (locks, name) in locks.iter().zip(["one", "other"]) {
        let efficient = locks.lock(name).efficiency().max_wait(PATIENCE);
        let guard = timeout(PATIENCE, efficient.acquire()).await.unwrap();
        let guard = guard.unwrap().granted().unwrap();
        assert!(
            matches!(guard.scope(), Scope::Degraded { .. }),
            "{:?}",
            guard.scope()
        );
        guards.push(guard);
    }
    let correct = locks[0]
        .lock("another")
        .max_wait(Duration::from_millis(500));
    let refused = timeout(PATIENCE, correct.acquire()).await.unwrap();
    assert!(!matches!(&refused, Ok(Locked::Granted(_))), "{refused:?}");
    let stand = |guards: &[LockGuard]| guards.iter().all(LockGuard::is_valid);
    // Longer than their TTL.
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        assert!(stand(&guards));
    }
    redis.restart();
    // What was granted without the store keeps others out everywhere once it is back.
    for (locks, name) in locks.iter().rev().zip(["one", "other"]) {
        let held = async {
            while !locks
                .inspect(name)
                .await
                .is_ok_and(|it| it.holders.len() == 1)
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, held).await.unwrap();
        assert!(
            locks
                .lock(name)
                .try_acquire()
                .await
                .unwrap()
                .granted()
                .is_none()
        );
    }
    assert!(stand(&guards));
    for guard in guards {
        guard.release().await.unwrap();
    }
    let next = locks[1].lock("one").acquire().await.unwrap();
    assert!(next.granted().is_some());
}
