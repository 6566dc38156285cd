//! Computations that fail.

use crate::cache::prelude::*;

pub async fn a_failure_is_told_to_all_who_wait(bench: &Bench) {
    let lease = bench.lease("k").await;
    let (first, second) = (bench.wait("k").await, bench.wait("k").await);
    assert_eq!(bench.fail(lease, Micros::ZERO).await, Ok(None));
    for waiter in [first, second] {
        let failure = waiter.failure().await;
        assert_eq!(failure.code, 14);
        assert_eq!(&*failure.message, "the provider is away");
    }
    // Not remembered, and no entry: it is computed anew.
    bench.lease("k").await;
}

pub async fn a_repeated_failure_changes_nothing_more(bench: &Bench) {
    let lease = bench.lease("k").await;
    bench.fail(lease, Micros::ZERO).await.unwrap();
    let next = bench.lease("k").await;
    assert_eq!(bench.fail(lease, SECOND).await, Ok(None));
    bench.fill(next, "v").await.unwrap();
}

pub async fn a_remembered_failure_is_told_until_its_time_is_over(bench: &Bench) {
    let lease = bench.lease("k").await;
    bench.fail(lease, SECOND).await.unwrap();
    bench.elapse(ms(400)).await;
    match bench.ask(&["k"]).one().await.unwrap() {
        Begun::Failed(failure) => bench.assert_told(failure.remembered_for, ms(600)),
        other => panic!("not failed but {other:?}"),
    }
    assert_eq!(bench.get("k").await, None);
    bench.elapse(ms(600)).await;
    bench.lease("k").await;
}

pub async fn a_write_ends_a_remembered_failure(bench: &Bench) {
    for name in ["set", "deleted", "cleared"] {
        let lease = bench.lease(name).await;
        bench.fail(lease, ms(60_000)).await.unwrap();
    }
    bench.set("set", "v").await;
    assert_eq!(text(&bench.ask(&["set"]).hit().await.0), "v");
    bench.delete("deleted").await;
    bench.lease("deleted").await;
    bench.clear(ClearTarget::All).await;
    bench.lease("cleared").await;
}

pub async fn above_the_bound_failures_are_told_and_not_remembered(bench: &Bench) {
    for number in 0..5 {
        let name = format!("k{number}");
        let lease = bench.lease(&name).await;
        let waiter = bench.wait(&name).await;
        bench.fail(lease, ms(60_000)).await.unwrap();
        waiter.failure().await;
    }
    let first = bench.ask(&["k0"]).one().await.unwrap();
    assert!(matches!(first, Begun::Failed(_)), "{first:?}");
    bench.lease("k4").await;
}

pub async fn a_stale_entry_is_served_when_the_computation_fails(bench: &Bench) {
    let stale = entry("old").ttl(ms(100)).stale_for(ms(60_000));
    bench.set("k", stale).await;
    bench.elapse(ms(200)).await;
    let ask = bench.ask(&["k"]).stale(StaleMode::OnError);
    let lease = ask.clone().lease().await;
    let (patient, strict) = (ask.clone().wait().await, bench.wait("k").await);
    let instead = bench.fail(lease, SECOND).await.unwrap().unwrap();
    assert_eq!((text(&instead), instead.source), ("old", Source::Stale));
    let hit = patient.value().await;
    assert_eq!((text(&hit), hit.source), ("old", Source::Stale));
    strict.failure().await;
    // While the failure is remembered, the entry is served without another try.
    let (hit, refresh) = ask.hit().await;
    assert_eq!((hit.source, refresh), (Source::Stale, None));
}
