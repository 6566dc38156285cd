//! Sessions over an outage.

use crate::bed::{Bed, HOUR, acquire, granted, is_degraded, is_silent, lease, namespace};
use std::time::Duration;
use tokio::time::sleep;
use trellis_conformance::spawn;
use trellis_core::locks::{
    AcquireLocks, Holder, LockPurpose, Locks, LostReason, SessionNews, Wait,
};
use trellis_core::{ErrorCode, Scope};
use trellis_resilience::LocksWhileAway;

#[tokio::test(start_paused = true)]
async fn a_session_opened_without_the_store_holds_on_and_is_taken_there_with_what_it_holds() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    bed.is_up(false);
    let (session, mut feed) = bed.open().await;
    assert!(is_degraded(&session.scope));
    let (alone, scope) = bed.granted_to(&session, "x").await;
    assert!(is_degraded(&scope));
    for _ in 0..5 {
        sleep(Duration::from_secs(5)).await;
        assert!(is_degraded(&bed.keep_session(&session).await.unwrap()));
    }
    // What is for correctness needs the store, in this session too.
    let refused = bed.asked_by(&session, "y", LockPurpose::Correctness).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::StoreUnavailable);
    bed.is_up(true);
    bed.shared().await;
    assert!(bed.held_there("x").await.unwrap() > alone.locks[0].token);
    assert_eq!(bed.keep_session(&session).await, Ok(Scope::Local));
    granted(
        bed.asked_by(&session, "y", LockPurpose::Correctness)
            .await
            .unwrap(),
    );
    for _ in 0..5 {
        sleep(Duration::from_secs(5)).await;
        bed.keep_session(&session).await.unwrap();
    }
    assert!(is_silent(&mut feed).await);
    bed.locks.release(lease(&alone)).await.unwrap();
    assert_eq!(bed.held_there("x").await, None);
    let closed = bed.locks.close_session(namespace(), session.key).await;
    assert_eq!((closed, bed.held_there("y").await), (Ok(1), None));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_which_of_its_leases_could_not_be_taken_to_the_store() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    let others = bed.store.locks.clone().acquire(acquire("x", Wait::Try));
    granted(others.outcome().await.unwrap());
    let (session, mut feed) = bed.open().await;
    bed.is_up(false);
    let (lost, _) = bed.granted_to(&session, "x").await;
    let (kept, _) = bed.granted_to(&session, "y").await;
    bed.is_up(true);
    bed.shared().await;
    let told = feed.next().await;
    let (lease, reason) = (lost.lease, LostReason::NotRestored);
    assert_eq!(told, SessionNews::Lost { lease, reason });
    assert!(is_silent(&mut feed).await);
    let error = bed.locks.release(self::lease(&lost)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LeaseLost);
    bed.locks.release(self::lease(&kept)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_what_it_loses_in_the_store_before_it_is_renewed_without_it() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    let (session, mut feed) = bed.open().await;
    let shared = bed.asked_by(&session, "x", LockPurpose::Correctness).await;
    let (shared, _) = granted(shared.unwrap());
    bed.is_up(false);
    // With a lease of the store alone it is not renewed.
    let error = bed.keep_session(&session).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
    assert!(is_silent(&mut feed).await);
    let (alone, _) = bed.granted_to(&session, "y").await;
    let error = bed.keep_session(&session).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
    let (lease, reason) = (shared.lease, LostReason::NotRestored);
    assert_eq!(feed.next().await, SessionNews::Lost { lease, reason });
    for _ in 0..5 {
        assert!(is_degraded(&bed.keep_session(&session).await.unwrap()));
        sleep(Duration::from_secs(5)).await;
    }
    bed.is_up(true);
    bed.shared().await;
    // The former session has ended there, and the next holds what was granted here.
    assert_eq!(bed.held_there("x").await, None);
    assert!(bed.held_there("y").await.unwrap() > alone.locks[0].token);
    assert!(is_silent(&mut feed).await);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_renewed_without_the_store_ends_and_leaves_nothing() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    bed.is_up(false);
    let (session, mut feed) = bed.open().await;
    let (alone, _) = bed.granted_to(&session, "x").await;
    sleep(Duration::from_secs(11)).await;
    let (lease, reason) = (alone.lease, LostReason::Expired);
    assert_eq!(feed.next().await, SessionNews::Lost { lease, reason });
    assert!(matches!(feed.next().await, SessionNews::Ended(_)));
    bed.locks.break_session(&namespace(), session.key);
    bed.is_up(true);
    bed.shared().await;
    assert_eq!(bed.held_there("x").await, None);
    assert_eq!(bed.store.locks.status().sessions, 0);
    let again = bed
        .locks
        .clone()
        .attach_session(namespace(), session.key.id);
    assert_eq!(again.await.err().unwrap().code, ErrorCode::LeaseNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_attached_again_wherever_it_stands() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    bed.is_up(false);
    let (first, mut feed) = bed.open().await;
    let (alone, _) = bed.granted_to(&first, "x").await;
    let attach = || {
        let locks = bed.locks.clone();
        async move {
            locks
                .attach_session(namespace(), first.key.id)
                .await
                .unwrap()
        }
    };
    bed.locks.break_session(&namespace(), first.key);
    let (second, _feed) = attach().await;
    assert_eq!(second.held[0].grant.lease, alone.lease);
    assert!(second.key.attachment > first.key.attachment);
    let void = bed.keep_session(&first).await.unwrap_err();
    assert_eq!(void.code, ErrorCode::LeaseLost);
    bed.is_up(true);
    bed.shared().await;
    let (third, _feed) = attach().await;
    assert_eq!(
        (third.held.len(), third.held[0].grant.lease),
        (1, alone.lease)
    );
    let void = bed.keep_session(&second).await.unwrap_err();
    assert_eq!(void.code, ErrorCode::LeaseLost);
    bed.keep_session(&third).await.unwrap();
    let _ = &mut feed;
    let closed = bed.locks.close_session(namespace(), third.key).await;
    assert_eq!(closed, Ok(1));
    assert_eq!(bed.held_there("x").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_session_waits_over_the_outage_and_is_let_in_where_the_session_stands_then() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    bed.is_up(false);
    let (session, _feed) = bed.open().await;
    let waits = AcquireLocks {
        holder: Holder::Session(session.key),
        ..acquire("x", Wait::For(HOUR))
    };
    let locks = bed.locks.clone();
    let waits = spawn(async move { locks.acquire(waits).outcome().await });
    sleep(Duration::from_secs(5)).await;
    bed.keep_session(&session).await.unwrap();
    bed.is_up(true);
    let (grant, scope) = granted(waits.await.unwrap().unwrap());
    assert!(!is_degraded(&scope));
    assert_eq!(bed.held_there("x").await, Some(grant.locks[0].token));
    bed.keep_session(&session).await.unwrap();
}
