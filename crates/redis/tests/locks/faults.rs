//! Locks when daemons die, the store forgets and links are cut: nobody is let in beside a holder who stands, tokens
//! rise, holders are told, and nobody waits for the dead.

use crate::locking::{
    HOUR, Locking, SECOND, granted, is_away, lease, namespace, one_behind_a_proxy, token,
};
use crate::support::{Server, soon, spawn};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use trellis_core::Micros;
use trellis_core::locks::{Holder, LockOutcome, Locks, SessionNews, Wait};

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_flushall_holders_hold_on_and_waiters_come_in_their_order() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Locking::on(&server, "a").await,
        Locking::on(&server, "b").await,
    );
    a.daemon.sees(&["a", "b"]).await;
    b.daemon.sees(&["a", "b"]).await;
    let held = a.granted("x", HOUR).await;
    let (first, second) = (Arc::new(b), Arc::new(a));
    let waits = {
        let b = first.clone();
        spawn(async move { b.granted("x", HOUR).await })
    };
    first.until_waiting("x", 1).await;
    let waits_longer = {
        let a = second.clone();
        spawn(async move { a.granted("x", HOUR).await })
    };
    first.until_waiting("x", 2).await;
    server.run(&["FLUSHALL"]);
    first.until_waiting("x", 2).await;
    assert!(matches!(first.tried("x").await, LockOutcome::Held { .. }));
    second.keep(&held).await.unwrap();
    second.release(&held).await.unwrap();
    let next = soon("the first in line", waits).await.unwrap();
    assert!(token(&next) > token(&held) && next.generation > held.generation);
    first.until_waiting("x", 1).await;
    first.release(&next).await.unwrap();
    let last = soon("the second in line", waits_longer).await.unwrap();
    assert!(token(&last) > token(&next));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn after_a_restart_that_lost_everything_a_session_keeps_what_it_holds() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let a = Locking::on(&server, "a").await;
    let (session, mut feed) = a.session(HOUR).await;
    let held = granted(a.ask("x", Holder::Session(session.key), Wait::Try).await);
    server.kill();
    server.restart(&[]);
    assert!(matches!(a.tried("x").await, LockOutcome::Held { .. }));
    a.locks
        .keep_session(namespace(), session.key)
        .await
        .unwrap();
    // Nothing was lost, so nothing is told.
    let told = tokio::time::timeout(Duration::from_millis(50), feed.next()).await;
    assert!(told.is_err(), "{told:?}");
    assert_eq!(a.locks.close_session(namespace(), session.key).await, Ok(1));
    let next = a.granted("x", HOUR).await;
    assert!(token(&next) > token(&held));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_restart_from_disk_keeps_holders_and_lines() {
    let Some(mut server) = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    else {
        return;
    };
    let a = Arc::new(Locking::on(&server, "a").await);
    let held = a.granted("x", HOUR).await;
    let waits = {
        let a = a.clone();
        spawn(async move { a.granted("x", HOUR).await })
    };
    a.until_waiting("x", 1).await;
    server.kill();
    server.restart(&[]);
    assert!(matches!(a.tried("x").await, LockOutcome::Held { .. }));
    a.until_waiting("x", 1).await;
    a.release(&held).await.unwrap();
    let next = soon("the next", waits).await.unwrap();
    assert!(token(&next) > token(&held));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn tokens_rise_though_the_store_forgets_them_and_its_clock_is_behind() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Locking::on(&server, "a").await;
    // As if the clock had been an hour ahead, and were set back while the data are lost.
    let ahead = a.daemon.store.session().unwrap().generation + HOUR.0;
    let guard = a.daemon.store.keys().guard();
    server.run(&["HSET", &guard, "minted", &ahead.to_string()]);
    let before = a.granted("x", HOUR).await;
    assert!(token(&before).get() > ahead);
    server.run(&["FLUSHALL"]);
    a.until_waiting("x", 0).await;
    a.release(&before).await.unwrap();
    let after = a.granted("x", HOUR).await;
    assert!(token(&after) > token(&before));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn what_a_dead_daemon_timed_ends_one_ttl_after_its_death() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Locking::on(&server, "a").await,
        Locking::on(&server, "b").await,
    );
    let held = a.granted("x", SECOND).await;
    a.keep(&held).await.unwrap();
    a.stop();
    let stopped = Instant::now();
    let next = b.granted("x", HOUR).await;
    let waited = stopped.elapsed();
    assert!(token(&next) > token(&held));
    // It could have acknowledged a renewal for nearly as long as the others count it as alive.
    assert!(waited >= Duration::from_millis(1_700), "{waited:?}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_holder_goes_on_through_another_daemon_when_its_own_has_died() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Locking::on(&server, "a").await,
        Locking::on(&server, "b").await,
    );
    b.daemon.sees(&["a", "b"]).await;
    let held = a.granted("x", SECOND).await;
    let (session, _feed) = a.session(Micros::from_secs(5)).await;
    granted(a.ask("y", Holder::Session(session.key), Wait::Try).await);
    a.stop();
    let attached = b.locks.clone().attach_session(namespace(), session.id());
    let (session, _feed) = attached.await.unwrap();
    assert_eq!(session.held.len(), 1);
    b.daemon.sees(&["b"]).await;
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        b.keep(&held).await.unwrap();
        b.locks
            .keep_session(namespace(), session.key)
            .await
            .unwrap();
    }
    assert!(matches!(b.tried("x").await, LockOutcome::Held { .. }));
    assert!(matches!(b.tried("y").await, LockOutcome::Held { .. }));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn nobody_waits_for_a_call_whose_daemon_has_died() {
    let Some(server) = Server::start() else {
        return;
    };
    let (a, b) = (
        Locking::on(&server, "a").await,
        Locking::on(&server, "b").await,
    );
    b.daemon.sees(&["a", "b"]).await;
    let held = b.granted("x", HOUR).await;
    let (a_locks, stop) = (
        a.locks.clone(),
        (a.daemon.heart.clone(), a.daemon.stop.clone()),
    );
    let _dead = spawn(async move { a.granted("x", HOUR).await });
    b.until_waiting("x", 1).await;
    stop.0.cancel();
    stop.1.cancel();
    b.daemon.sees(&["b"]).await;
    b.until_waiting("x", 0).await;
    b.release(&held).await.unwrap();
    b.granted("x", HOUR).await;
    drop(a_locks);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_call_that_waits_survives_a_cut_link_and_is_told_its_grant() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, a, b) = one_behind_a_proxy(&server).await;
    let held = b.granted("x", HOUR).await;
    let a = Arc::new(a);
    let waits = {
        let a = a.clone();
        spawn(async move { a.granted("x", HOUR).await })
    };
    b.until_waiting("x", 1).await;
    proxy.cut(true);
    // The grant is told to nobody.
    b.release(&held).await.unwrap();
    proxy.cut(false);
    let next = soon("the grant", waits).await.unwrap();
    assert!(token(&next) > token(&held));
    assert!(matches!(b.tried("x").await, LockOutcome::Held { .. }));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_was_taken_for_dead_acknowledges_nothing_that_is_anothers_by_now() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, a, b) = one_behind_a_proxy(&server).await;
    let (session, mut feed) = a.session(SECOND).await;
    let held = granted(a.ask("x", Holder::Session(session.key), Wait::Try).await);
    proxy.cut(true);
    let next = soon("the next holder", b.granted("x", HOUR)).await;
    assert!(token(&next) > token(&held));
    let kept = a.locks.keep_session(namespace(), session.key).await;
    assert!(kept.is_err(), "{kept:?}");
    proxy.cut(false);
    let told = soon("the loss", feed.next()).await;
    assert!(matches!(told, SessionNews::Lost { lease, .. } if lease == held.lease));
    assert!(matches!(a.tried("x").await, LockOutcome::Held { .. }));
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn while_the_store_is_away_a_new_call_waits_and_then_fails() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let a = Locking::on(&server, "a").await;
    server.kill();
    let asked = Instant::now();
    let wait = Wait::For(Micros::from_millis(600));
    let error = a.ask("x", lease(HOUR), wait).await.unwrap_err();
    assert!(is_away(error.code), "{error:?}");
    assert!(asked.elapsed() >= Duration::from_millis(600));
    server.restart(&[]);
    a.granted("x", HOUR).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn renewals_of_many_leases_ask_the_store_no_more_than_renewals_of_one() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Locking::on(&server, "a").await;
    let mut grants = Vec::new();
    for number in 0..500 {
        grants.push(a.granted(&format!("lock-{number}"), HOUR).await);
    }
    let calls = || {
        let stats = server.run(&["INFO", "commandstats"]);
        let line = stats
            .lines()
            .find(|line| line.contains("evalsha:"))
            .unwrap();
        let calls = line.split("calls=").nth(1).unwrap();
        let calls = calls.split(',').next().unwrap();
        calls.parse::<u64>().unwrap()
    };
    let before = calls();
    let began = Instant::now();
    for grant in &grants {
        a.keep(grant).await.unwrap();
    }
    let seconds = began.elapsed().as_secs() + 1;
    // Beats, and what is told of the renewals, four times a second.
    assert!(calls() - before < 30 * seconds, "{}", calls() - before);
}
