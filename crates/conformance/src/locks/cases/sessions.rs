//! Leases that live and end together, on a stream that may break.

use crate::locks::prelude::*;
use trellis_core::locks::SessionId;

pub async fn the_leases_of_a_session_stand_while_it_is_kept_alive(bench: &Bench) {
    let session = bench.session(ms(500), OnBreak::Keep).await.unwrap();
    let grant = bench.lock("a").of(&session).granted().await;
    bench.assert_left(grant.remaining, ms(500));
    for _ in 0..4 {
        bench.elapse(ms(300)).await;
        bench.assert_left(session.keep().await.unwrap(), ms(500));
    }
    bench.lock("a").held().await;
    bench.elapse(ms(500)).await;
    bench.elapse_until_late().await;
    bench.lock("a").granted().await;
}

pub async fn a_closed_session_releases_everything_at_once(bench: &Bench) {
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    bench.lock("a").of(&session).granted().await;
    bench.all(&["b", "c"]).of(&session).granted().await;
    let next = bench.all(&["a", "b", "c"]).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    let closed = Instant::now();
    assert_eq!(session.close().await, Ok(2));
    next.granted().await;
    bench.assert_took(closed, Instant::now(), Micros::ZERO);
}

pub async fn a_closed_session_is_over(bench: &Bench) {
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    session.close().await.unwrap();
    assert_eq!(code(session.keep().await), ErrorCode::LeaseLost);
    assert_eq!(
        code(bench.lock("a").of(&session).send().await),
        ErrorCode::LeaseLost
    );
    let again = bench.attach(session.state.id()).await;
    assert_eq!(again.map(|_| ()).unwrap_err().code, ErrorCode::LeaseLost);
}

pub async fn a_broken_stream_keeps_its_leases_until_the_deadline(bench: &Bench) {
    let session = bench.session(ms(600), OnBreak::Keep).await.unwrap();
    let opened = Instant::now();
    bench.lock("a").of(&session).granted().await;
    session.break_stream();
    bench.lock("a").held().await;
    bench.lock("a").wait(HOUR).start().granted().await;
    bench.assert_took(opened, Instant::now(), ms(600));
}

pub async fn a_broken_stream_that_asked_for_it_releases_at_once(bench: &Bench) {
    let session = bench.session(HOUR, OnBreak::Release).await.unwrap();
    bench.lock("a").of(&session).granted().await;
    let next = bench.lock("a").wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    let broken = Instant::now();
    session.break_stream();
    next.granted().await;
    bench.assert_took(broken, Instant::now(), Micros::ZERO);
}

pub async fn a_broken_stream_takes_its_waiting_calls_with_it(bench: &Bench) {
    let holder = bench.lock("a").granted().await;
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    let waiting = bench.lock("a").of(&session).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    session.break_stream();
    bench.until_waiting("a", 0).await;
    assert!(waiting.ended().await.is_err());
    bench.release(holder.lease).await.unwrap();
    bench.lock("a").granted().await;
}

pub async fn a_session_is_attached_again_and_knows_what_it_holds(bench: &Bench) {
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    let grant = bench.all(&["a", "b*"]).of(&session).id("r").granted().await;
    session.break_stream();
    let again = bench.attach(session.state.id()).await.unwrap();
    assert_eq!(again.state.ttl, HOUR);
    assert_eq!(again.state.generation, session.state.generation);
    let [held] = &again.state.held[..] else {
        panic!("{:?}", again.state.held);
    };
    assert_eq!(held.request_id.as_ref().unwrap().as_str(), "r");
    assert_eq!(
        (held.grant.lease, &held.grant.locks),
        (grant.lease, &grant.locks)
    );
    // A repeat finds the lease by its id.
    let repeated = bench.all(&["a", "b*"]).of(&again).id("r").granted().await;
    assert_eq!(repeated.lease, grant.lease);
    assert_eq!(again.close().await, Ok(1));
}

pub async fn attaching_keeps_a_session_alive(bench: &Bench) {
    let session = bench.session(ms(500), OnBreak::Keep).await.unwrap();
    bench.lock("a").of(&session).granted().await;
    session.break_stream();
    bench.elapse(ms(300)).await;
    let again = bench.attach(session.state.id()).await.unwrap();
    bench.assert_left(again.state.remaining, ms(500));
    bench.elapse_almost(ms(500)).await;
    bench.lock("a").held().await;
}

pub async fn attaching_voids_the_attachment_before(bench: &Bench) {
    let holder = bench.lock("a").granted().await;
    let mut old = bench.session(HOUR, OnBreak::Release).await.unwrap();
    let kept = bench.lock("b").of(&old).granted().await;
    let waiting = bench.lock("a").of(&old).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    let new = bench.attach(old.state.id()).await.unwrap();
    assert_eq!(code(waiting.ended().await), ErrorCode::LeaseLost);
    let SessionNews::Ended(over) = old.news().await else {
        panic!("must be over");
    };
    assert_eq!(over.code, ErrorCode::LeaseLost);
    bench.until_waiting("a", 0).await;
    assert_eq!(code(old.keep().await), ErrorCode::LeaseLost);
    assert_eq!(code(old.close().await), ErrorCode::LeaseLost);
    old.break_stream();
    new.keep().await.unwrap();
    bench.lock("b").held().await;
    bench.release(kept.lease).await.unwrap();
    bench.release(holder.lease).await.unwrap();
}

pub async fn a_session_that_is_not_kept_alive_is_told_what_it_lost(bench: &Bench) {
    let mut session = bench.session(ms(500), OnBreak::Keep).await.unwrap();
    let opened = Instant::now();
    let grant = bench.lock("a").of(&session).granted().await;
    let lost = SessionNews::Lost {
        lease: grant.lease,
        reason: LostReason::Expired,
    };
    assert_eq!(session.news().await, lost);
    bench.assert_took(opened, Instant::now(), ms(500));
    let SessionNews::Ended(over) = session.news().await else {
        panic!("must be over");
    };
    assert_eq!(over.code, ErrorCode::LeaseLost);
}

pub async fn a_session_that_has_expired_cannot_be_attached(bench: &Bench) {
    let session = bench.session(ms(300), OnBreak::Keep).await.unwrap();
    session.break_stream();
    bench.elapse(ms(300)).await;
    bench.elapse_until_late().await;
    let again = bench.attach(session.state.id()).await;
    assert_eq!(again.map(|_| ()).unwrap_err().code, ErrorCode::LeaseLost);
}

pub async fn a_session_that_expires_while_it_waits_is_never_let_in(bench: &Bench) {
    // The session first: on real time it must not outlive the lease, by however little.
    let session = bench.session(ms(500), OnBreak::Keep).await.unwrap();
    bench.lock("a").ttl(ms(500)).granted().await;
    let waiting = bench.lock("a").of(&session).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    assert_eq!(code(waiting.ended().await), ErrorCode::LeaseLost);
    bench.lock("a").wait(HOUR).start().granted().await;
}

pub async fn a_lease_of_a_session_is_released_alone(bench: &Bench) {
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    let a = bench.lock("a").of(&session).granted().await;
    bench.lock("b").of(&session).granted().await;
    bench.release(a.lease).await.unwrap();
    bench.lock("a").granted().await;
    bench.lock("b").held().await;
    assert_eq!(session.close().await, Ok(1));
}

pub async fn a_lease_of_a_session_is_not_kept_alive_alone(bench: &Bench) {
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    let grant = bench.lock("a").of(&session).granted().await;
    let error = bench.keep_alive(grant.lease).await.unwrap_err();
    assert_eq!(error.violation.unwrap().field, "lease_id");
}

pub async fn a_session_waits_for_what_it_holds_itself(bench: &Bench) {
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    let first = bench.lock("a").of(&session).granted().await;
    bench.lock("a").of(&session).held().await;
    let second = bench.lock("a").of(&session).wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    bench.release(first.lease).await.unwrap();
    second.granted().await;
}

pub async fn a_waiting_call_of_a_session_is_told_its_place(bench: &Bench) {
    use trellis_core::locks::{AcquiringLocks, Progress};
    let holder = bench.lock("a").granted().await;
    let ahead = bench.lock("a").wait(HOUR).start();
    bench.until_waiting("a", 1).await;
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    let AcquiringLocks::Waiting(mut waiting) = bench.lock("a").of(&session).wait(HOUR).begin()
    else {
        panic!("must wait");
    };
    assert_eq!(waiting.next().await, Progress::Queued(2));
    ahead.cancel().await;
    assert_eq!(waiting.next().await, Progress::Queued(1));
    bench.release(holder.lease).await.unwrap();
    let Progress::Ended(acquired) = waiting.next().await else {
        panic!("must be granted");
    };
    grant(acquired.unwrap());
}

pub async fn a_session_that_nobody_made_is_not_found(bench: &Bench) {
    let nobodys = SessionId::parse("7f-00000000000000000000000000000001", "session").unwrap();
    let attached = bench.attach(nobodys).await;
    assert_eq!(
        attached.map(|_| ()).unwrap_err().code,
        ErrorCode::LeaseNotFound
    );
}
