//! Leases of their own while the store is away, and what becomes of them.

use crate::bed::{Bed, HOUR, acquire, for_efficiency, granted, is_degraded, lease, namespace};
use std::time::Duration;
use tokio::time::sleep;
use trellis_conformance::spawn;
use trellis_core::locks::{AcquireLocks, LockGrant, LockOutcome, Locks, Token, Wait};
use trellis_core::{ErrorCode, Name, Scope};
use trellis_resilience::LocksWhileAway;

#[tokio::test(start_paused = true)]
async fn what_is_granted_without_the_store_says_so_and_has_a_lower_token_than_what_comes_after() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    bed.is_up(false);
    let (alone, scope) = bed.granted("x").await;
    assert!(is_degraded(&scope), "{scope:?}");
    bed.locks.release(lease(&alone)).await.unwrap();
    bed.is_up(true);
    bed.shared().await;
    let (shared, _) = bed.granted("x").await;
    assert!(shared.locks[0].token > alone.locks[0].token);
}

#[tokio::test(start_paused = true)]
async fn a_lease_granted_without_the_store_goes_on_in_it_when_its_lock_is_free() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    bed.is_up(false);
    let (alone, _) = bed.granted("x").await;
    assert!(is_degraded(&bed.keep(&alone).await.unwrap()));
    bed.is_up(true);
    bed.shared().await;
    let others = bed.store.clone().acquire(acquire("x", Wait::Try));
    let others = others.outcome().await.unwrap().outcome;
    assert!(matches!(others, LockOutcome::Held { .. }), "{others:?}");
    bed.keep(&alone).await.unwrap();
    bed.locks.release(lease(&alone)).await.unwrap();
    bed.granted("x").await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_granted_without_the_store_is_lost_when_another_holds_its_lock() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    let others = bed.store.locks.clone().acquire(acquire("x", Wait::Try));
    granted(others.outcome().await.unwrap());
    bed.is_up(false);
    let (alone, _) = bed.granted("x").await;
    bed.is_up(true);
    bed.shared().await;
    let lost = bed.keep(&alone).await.unwrap_err();
    assert_eq!(lost.code, ErrorCode::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_given_to_this_daemon_is_not_granted_without_it() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    bed.is_up(false);
    let error = bed.ask("timed-here", Wait::Try).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_sole_daemon_grants_alone_and_one_of_many_does_not() {
    let sole = Bed::new(LocksWhileAway::SoleDaemon, 1);
    sole.is_up(false);
    sole.granted("x").await;
    let one_of_many = Bed::new(LocksWhileAway::SoleDaemon, 2);
    one_of_many.is_up(false);
    let error = one_of_many.ask("x", Wait::Try).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn what_is_for_efficiency_is_granted_without_the_store_whatever_the_policy() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    bed.is_up(false);
    let asked = bed.locks.clone().acquire(for_efficiency("x", Wait::Try));
    let (alone, scope) = granted(asked.outcome().await.unwrap());
    assert!(is_degraded(&scope), "{scope:?}");
    // What is for correctness is not, be the lock free here or not.
    for lock in ["x", "y"] {
        let error = bed.ask(lock, Wait::Try).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StoreUnavailable);
    }
    bed.is_up(true);
    bed.shared().await;
    let others = bed.ask("x", Wait::Try).await.unwrap().outcome;
    assert!(matches!(others, LockOutcome::Held { .. }), "{others:?}");
    bed.locks.release(lease(&alone)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_for_efficiency_that_waits_moves_over_and_one_for_correctness_waits_on() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    let others = bed.store.locks.clone().acquire(acquire("x", Wait::Try));
    granted(others.outcome().await.unwrap());
    let waits = |acquire: AcquireLocks| {
        let locks = bed.locks.clone();
        spawn(async move { locks.acquire(acquire).outcome().await })
    };
    let correct = waits(acquire("x", Wait::For(HOUR)));
    let efficient = waits(for_efficiency("x", Wait::For(HOUR)));
    while bed.store.locks.status().waiters < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    bed.is_up(false);
    let (_, scope) = granted(efficient.await.unwrap().unwrap());
    assert!(is_degraded(&scope));
    let error = correct.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn looks_tell_without_the_store_what_is_held_here_and_else_that_nobody_knows() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    let before = bed.ask("y", Wait::Try).await.unwrap();
    let (before, _) = granted(before);
    bed.is_up(false);
    let asked = bed.locks.clone().acquire(for_efficiency("x", Wait::Try));
    let (alone, _) = granted(asked.outcome().await.unwrap());
    let name = |lock: &str| Name::new(lock, "name").unwrap();
    let (state, scope) = bed.locks.inspect(namespace(), name("x")).await.unwrap();
    assert!(state.holder_count == 1 && is_degraded(&scope));
    let unknown = bed.locks.inspect(namespace(), name("y")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::StoreUnavailable);
    let here = bed
        .locks
        .check_token(namespace(), name("x"), alone.locks[0].token);
    assert!(here.await.unwrap().remaining.is_some());
    let there = bed
        .locks
        .check_token(namespace(), name("y"), before.locks[0].token);
    assert_eq!(there.await.unwrap_err().code, ErrorCode::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_moves_over_when_the_store_goes_away() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    let others = bed.store.locks.clone().acquire(acquire("x", Wait::Try));
    granted(others.outcome().await.unwrap());
    let locks = bed.locks.clone();
    let waits = spawn(async move {
        let waiting = locks.acquire(acquire("x", Wait::For(HOUR)));
        waiting.outcome().await
    });
    while bed.store.locks.status().waiters == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    bed.is_up(false);
    let (_, scope) = granted(waits.await.unwrap().unwrap());
    assert!(is_degraded(&scope));
    // Nothing of it is left in the store.
    assert_eq!(bed.store.locks.status().waiters, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_and_goes_flips_no_scope_faster_than_the_dwell_and_grants_nothing_twice()
{
    let bed = Bed::new(LocksWhileAway::Local, 1);
    let up = bed.store.up.clone();
    spawn(async move {
        loop {
            sleep(Duration::from_millis(500)).await;
            up.send_modify(|up| *up = !*up);
        }
    });
    let began = tokio::time::Instant::now();
    let (mut flips, mut granted_in_all) = (Vec::new(), 0);
    let mut held: Option<LockGrant> = None;
    let mut last = Token::NONE;
    while began.elapsed() < Duration::from_mins(10) {
        sleep(Duration::from_millis(37)).await;
        let alone = bed.locks.scope() != Scope::Shared;
        if flips.last().is_none_or(|(before, _)| *before != alone) {
            flips.push((alone, began.elapsed()));
        }
        let stands = match &held {
            Some(grant) => bed.keep(grant).await.is_ok(),
            None => false,
        };
        if let Ok(acquired) = bed.ask("x", Wait::Try).await
            && let LockOutcome::Granted(grant) = acquired.outcome
        {
            assert!(!stands, "{grant:?} beside {held:?}");
            assert!(grant.locks[0].token > last, "{grant:?} after {last:?}");
            (last, granted_in_all) = (grant.locks[0].token, granted_in_all + 1);
            held = Some(grant);
        } else if let Some(grant) = held.take_if(|_| stands && granted_in_all % 3 != 0) {
            let _ = bed.locks.release(lease(&grant)).await;
        }
    }
    assert!(granted_in_all > 1);
    // The first dwell is a second; the next ones are longer.
    assert!(flips.len() < 60, "{} flips: {flips:?}", flips.len());
}
