//! Repeats of a call, by its request id.

use crate::locks::prelude::*;

pub async fn a_repeated_acquire_gets_the_first_lease(bench: &Bench) {
    let first = bench.lock("a").ttl(SECOND).id("r").granted().await;
    bench.elapse(ms(300)).await;
    let again = bench.lock("a").ttl(SECOND).id("r").granted().await;
    assert_eq!(again.lease, first.lease);
    assert_eq!(again.locks, first.locks);
    bench.assert_left(again.remaining, ms(700));
    assert_eq!(bench.inspect("a").await.holder_count, 1);
}

pub async fn a_repeated_refusal_stays_one(bench: &Bench) {
    let holder = bench.lock("a").ttl(SECOND).granted().await;
    bench.lock("a").id("r").held().await;
    bench.release(holder.lease).await.unwrap();
    let (retry_after, _) = bench.lock("a").id("r").held().await;
    bench.assert_left(retry_after, SECOND);
}

pub async fn a_repeat_of_a_waiting_call_joins_it(bench: &Bench) {
    let holder = bench.lock("a").granted().await;
    let first = bench.lock("a").wait(HOUR).id("r").start();
    bench.until_waiting("a", 1).await;
    // How long it would wait is no part of its body.
    let second = bench.lock("a").wait(SECOND).id("r").start();
    bench.elapse(ms(1)).await;
    assert_eq!(bench.inspect("a").await.waiter_count, 1);
    bench.release(holder.lease).await.unwrap();
    let (first, second) = (first.granted().await, second.granted().await);
    assert_eq!(first.lease, second.lease);
}

pub async fn a_joined_call_goes_on_without_one_of_its_callers(bench: &Bench) {
    let holder = bench.lock("a").granted().await;
    let first = bench.lock("a").wait(HOUR).id("r").start();
    bench.until_waiting("a", 1).await;
    let second = bench.lock("a").wait(HOUR).id("r").start();
    bench.elapse(ms(1)).await;
    first.cancel().await;
    bench.elapse(ms(1)).await;
    assert_eq!(bench.inspect("a").await.waiter_count, 1);
    bench.release(holder.lease).await.unwrap();
    second.granted().await;
}

pub async fn a_repeat_of_a_grant_that_has_ended_is_lost(bench: &Bench) {
    let grant = bench.lock("a").id("r").granted().await;
    bench.release(grant.lease).await.unwrap();
    let again = bench.lock("a").id("r").send().await.unwrap();
    assert_eq!(again.outcome, LockOutcome::Lost);
    assert_eq!(bench.inspect("a").await.holder_count, 0);
}

pub async fn an_id_with_another_body_is_refused(bench: &Bench) {
    bench.lock("a").ttl(SECOND).id("r").granted().await;
    for other in [
        bench.lock("a*").ttl(SECOND),
        bench.lock("a").ttl(SECOND).for_efficiency(),
        bench.lock("a").ttl(HOUR),
        bench.lock("b").ttl(SECOND),
        bench.lock("a").ttl(SECOND).value(b"v"),
    ] {
        assert_eq!(code(other.id("r").send().await), ErrorCode::RequestIdReused);
    }
}

pub async fn an_id_belongs_to_its_namespace_and_method(bench: &Bench) {
    bench.lock("a").id("r").granted().await;
    bench.beside("2").lock("b").id("r").granted().await;
    bench.lock("b").wait(SECOND).id("r").granted().await;
    let session = bench.session(HOUR, OnBreak::Keep).await.unwrap();
    bench.lock("c").of(&session).id("r").granted().await;
}

pub async fn an_id_is_forgotten_after_its_window(bench: &Bench) {
    bench.lock("a").ttl(SECOND).id("r").granted().await;
    bench
        .elapse(Settings::default().machine.request_window)
        .await;
    bench.elapse_until_late().await;
    bench
        .lock("a")
        .ttl(SECOND)
        .value(b"other")
        .id("r")
        .granted()
        .await;
}

pub async fn a_repeated_force_release_is_done_once(bench: &Bench) {
    let grant = bench.lock("a").granted().await;
    let token = grant.locks[0].token;
    assert_eq!(bench.force("a", token, Some("r")).await, Ok(1));
    bench.lock("a").granted().await;
    assert_eq!(bench.force("a", token, Some("r")).await, Ok(1));
    bench.lock("a").held().await;
}
