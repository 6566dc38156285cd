//! Dead letters, and their replay.

use crate::events::prelude::*;
use trellis_core::events::group::DeadReason;
use trellis_core::log::Offset;

fn twice() -> GroupSpec {
    GroupSpec {
        max_attempts: 2,
        min_backoff: Micros::ZERO,
        max_backoff: Micros::ZERO,
        ..GroupSpec::default()
    }
}

pub async fn an_event_is_dead_after_its_attempts(bench: &Bench) {
    bench.publish_all("orders", "a", 2).await;
    let member = bench.member("orders", "billing");
    member.set(twice(), Start::Earliest).await;
    for attempt in 1..=2 {
        let delivered = member.one().await;
        assert_eq!(
            (delivered.event.event.id(), delivered.attempt),
            (Some("a0"), attempt)
        );
        member
            .settle(delivered.lease, Settlement::Nack(None))
            .await
            .unwrap();
    }
    assert_eq!(member.drain().await, ["a1"]);
    let (dead, next) = member.dead(Offset(0), 10).await;
    assert_eq!(next, None);
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].attempts, dead[0].reason),
        (2, DeadReason::Attempts)
    );
    assert_eq!(dead[0].event.event, event("a0"));
    let state = member.look().await;
    assert_eq!((state.dead, state.retrying, state.behind), (1, 0, 0));
}

pub async fn leases_that_end_count_as_attempts(bench: &Bench) {
    bench.publish("orders", "a").await;
    let member = bench.member("orders", "billing");
    let spec = GroupSpec {
        lease: SECOND,
        ..twice()
    };
    member.set(spec, Start::Earliest).await;
    for attempt in 1..=2 {
        assert_eq!(member.one().await.attempt, attempt);
    }
    bench.elapse(SECOND).await;
    bench.elapse_until_late().await;
    member.until(|state| state.dead == 1).await;
}

pub async fn a_rejected_event_is_dead_at_once(bench: &Bench) {
    bench.publish_all("orders", "a", 2).await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    let delivered = member.one().await;
    let reject = member.settle(delivered.lease, Settlement::Reject);
    assert_eq!(reject.await, Ok(None));
    let (dead, _) = member.dead(Offset(0), 10).await;
    assert_eq!(
        (dead[0].attempts, dead[0].reason),
        (1, DeadReason::Rejected)
    );
    member.ack(&delivered).await.unwrap();
    assert_eq!(member.drain().await, ["a1"]);
}

pub async fn dead_letters_are_told_in_pages(bench: &Bench) {
    bench.publish_all("orders", "a", 5).await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    for delivered in member.get(5).await {
        member
            .settle(delivered.lease, Settlement::Reject)
            .await
            .unwrap();
    }
    let (mut seen, mut from) = (Vec::new(), Some(Offset(0)));
    while let Some(next) = from {
        let (dead, next) = member.dead(next, 2).await;
        assert!(dead.len() <= 2);
        seen.extend(names(dead.iter().map(|it| &*it.event)));
        from = next;
    }
    assert_eq!(seen, ["a0", "a1", "a2", "a3", "a4"]);
}

pub async fn replayed_dead_letters_come_again_with_their_attempts_counted_anew(bench: &Bench) {
    bench.publish_all("orders", "a", 3).await;
    let member = bench.member("orders", "billing");
    member.set(twice(), Start::Earliest).await;
    let delivered = member.get(3).await;
    for delivered in &delivered {
        member
            .settle(delivered.lease, Settlement::Reject)
            .await
            .unwrap();
    }
    bench.publish("orders", "b").await;
    assert_eq!(member.drain().await, ["b"]);
    let places = vec![delivered[1].event.offset, Offset(u64::MAX - 1)];
    assert_eq!(member.replay(Replay::These(places.clone())).await, 1);
    let again = member.one().await;
    assert_eq!((again.event.event.id(), again.attempt), (Some("a1"), 1));
    assert_eq!(member.replay(Replay::These(places)).await, 0);
    member
        .settle(again.lease, Settlement::Nack(None))
        .await
        .unwrap();
    assert_eq!(member.replay(Replay::All).await, 2);
    let mut ids = member.drain().await;
    ids.sort();
    assert_eq!(ids, ["a0", "a1", "a2"]);
    assert_eq!(member.replay(Replay::All).await, 0);
    let state = member.look().await;
    assert_eq!((state.dead, state.retrying, state.behind), (0, 0, 0));
}
