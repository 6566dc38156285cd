//! How a group deals its events out.

use crate::events::prelude::*;
use crate::spawn;
use std::collections::BTreeSet;
use std::pin::pin;
use tokio::time::Instant;
use trellis_core::events::Room;

fn keyed(id: &str, key: &str) -> Event {
    Event::new(NewEvent {
        id: id.to_owned(),
        source: "/suite".to_owned(),
        kind: "suite.made".to_owned(),
        ordering_key: key.to_owned(),
        ..NewEvent::default()
    })
    .unwrap()
}

/// Events come again at once, three times in all.
fn quick() -> GroupSpec {
    GroupSpec {
        lease: SECOND,
        max_attempts: 3,
        min_backoff: Micros::ZERO,
        max_backoff: Micros::ZERO,
        ..GroupSpec::default()
    }
}

pub async fn each_event_goes_to_one_member(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 30).await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    let members = (0..3).map(|_| {
        let member = member.clone();
        spawn(async move { member.drain().await })
    });
    let mut seen = Vec::new();
    for member in members.collect::<Vec<_>>() {
        seen.extend(member.await.unwrap());
    }
    assert_eq!(seen.len(), ids.len());
    let seen: BTreeSet<String> = seen.into_iter().collect();
    assert_eq!(seen, ids.into_iter().collect());
    assert!(member.ids(10).await.is_empty());
}

pub async fn groups_do_not_take_from_each_other(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 5).await;
    for group in ["billing", "stock"] {
        let member = bench.member("orders", group);
        member.join(Start::Earliest).await;
        assert_eq!(member.drain().await, ids);
    }
}

pub async fn a_member_waits_for_what_comes(bench: &Bench) {
    let member = bench.member("orders", "billing");
    member.join(Start::Latest).await;
    let waiting = spawn({
        let member = member.clone();
        async move { member.one().await }
    });
    bench.elapse(ms(10)).await;
    bench.publish("bills", "other").await;
    bench.publish("orders", "a").await;
    let delivered = waiting.await.unwrap();
    assert_eq!(delivered.event.event, event("a"));
    assert_eq!(delivered.attempt, 1);
    assert!(delivered.remaining <= GroupSpec::default().lease);
}

pub async fn a_wait_in_vain_ends_at_its_time(bench: &Bench) {
    let member = bench.member("orders", "billing");
    member.join(Start::Latest).await;
    for wait in [Micros::ZERO, ms(300)] {
        let asked = Instant::now();
        assert!(member.receive(ALL, wait).await.unwrap().is_empty());
        bench.assert_took(asked, Instant::now(), wait);
    }
}

pub async fn a_call_that_was_given_up_takes_nothing(bench: &Bench) {
    let member = bench.member("orders", "billing");
    member.join(Start::Latest).await;
    {
        let mut waiting = pin!(member.receive(ALL, HOUR));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("there is nothing"),
            () = bench.elapse(ms(10)) => {}
        }
    }
    bench.publish("orders", "a").await;
    assert_eq!(member.one().await.event.event, event("a"));
}

pub async fn no_more_is_dealt_out_than_there_is_room_for(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 20).await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    let bytes = event("a10").bytes();
    let room = Room {
        events: 100,
        bytes: 3 * bytes,
    };
    let mut seen = Vec::new();
    while seen.len() < ids.len() {
        let delivered = member.receive(room, HOUR).await.unwrap();
        let sum: usize = delivered.iter().map(|it| it.event.event.bytes()).sum();
        assert!(sum <= room.bytes);
        seen.extend(names(delivered.iter().map(|it| &*it.event)));
    }
    assert_eq!(seen, ids);
    let little = Room {
        events: 1,
        bytes: 1,
    };
    bench.publish("orders", "large").await;
    assert_eq!(member.receive(little, HOUR).await.unwrap().len(), 1);
}

pub async fn what_is_acknowledged_does_not_come_again_and_moves_the_floor(bench: &Bench) {
    bench.publish_all("orders", "a", 3).await;
    bench.publish_all("bills", "b", 3).await;
    let member = bench.member("orders", "billing");
    member.set(quick(), Start::Earliest).await;
    let delivered = member.get(3).await;
    assert_eq!(member.look().await.leased, 3);
    member.ack(&delivered[1]).await.unwrap();
    let floor = member.look().await.floor;
    let mut behind = bench.reader("orders", Start::Cursor(floor)).await;
    assert_eq!(behind.until_caught_up().await, ["a0", "a1", "a2"]);
    member.ack(&delivered[0]).await.unwrap();
    let floor = member.look().await.floor;
    let mut behind = bench.reader("orders", Start::Cursor(floor)).await;
    assert_eq!(behind.until_caught_up().await, ["a2"]);
    member.ack(&delivered[2]).await.unwrap();
    // Again, and long after.
    member.ack(&delivered[2]).await.unwrap();
    bench.elapse(SECOND).await;
    bench.elapse(SECOND).await;
    member.ack(&delivered[0]).await.unwrap();
    assert!(member.ids(10).await.is_empty());
    assert_eq!(member.look().await.leased, 0);
}

pub async fn an_event_whose_lease_ends_comes_again(bench: &Bench) {
    bench.publish("orders", "a").await;
    let member = bench.member("orders", "billing");
    member.set(quick(), Start::Earliest).await;
    let since = Instant::now();
    let first = member.one().await;
    bench.assert_left(first.remaining, SECOND);
    let second = member.one().await;
    bench.assert_took(since, Instant::now(), SECOND);
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(code(member.ack(&first).await), ErrorCode::LeaseLost);
    member.ack(&second).await.unwrap();
    member.ack(&first).await.unwrap();
}

pub async fn a_late_acknowledgement_counts_until_somebody_else_has_the_event(bench: &Bench) {
    bench.publish("orders", "a").await;
    let member = bench.member("orders", "billing");
    let later = GroupSpec {
        min_backoff: HOUR,
        max_backoff: HOUR,
        ..quick()
    };
    member.set(later, Start::Earliest).await;
    let delivered = member.one().await;
    bench.elapse(SECOND).await;
    bench.elapse_until_late().await;
    member.until(|state| state.retrying == 1).await;
    let nacked = member.settle(delivered.lease, Settlement::Nack(None)).await;
    assert_eq!(code(nacked), ErrorCode::LeaseLost);
    member.ack(&delivered).await.unwrap();
    assert_eq!(member.look().await.retrying, 0);
}

pub async fn a_lease_that_is_extended_stands(bench: &Bench) {
    bench.publish("orders", "a").await;
    let member = bench.member("orders", "billing");
    member.set(quick(), Start::Earliest).await;
    let since = Instant::now();
    let first = member.one().await;
    bench.elapse(ms(500)).await;
    let extended = member.settle(first.lease, Settlement::Extend(Some(ms(1_500))));
    bench.assert_left(extended.await.unwrap().unwrap(), ms(1_500));
    let shorter = member.settle(first.lease, Settlement::Extend(Some(SECOND)));
    bench.assert_left(shorter.await.unwrap().unwrap(), ms(1_500));
    let second = member.one().await;
    bench.assert_took(since, Instant::now(), ms(2_000));
    let lost = member.settle(first.lease, Settlement::Extend(None)).await;
    assert_eq!(code(lost), ErrorCode::LeaseLost);
    let own = member.settle(second.lease, Settlement::Extend(None)).await;
    bench.assert_left(own.unwrap().unwrap(), SECOND);
}

pub async fn an_event_that_is_refused_comes_again_after_the_delay(bench: &Bench) {
    bench.publish("orders", "a").await;
    let member = bench.member("orders", "billing");
    member.set(quick(), Start::Earliest).await;
    let first = member.one().await;
    let since = Instant::now();
    let nack = Settlement::Nack(Some(ms(1_500)));
    member.settle(first.lease, nack).await.unwrap();
    let state = member.look().await;
    assert_eq!((state.leased, state.retrying), (0, 1));
    assert!(member.ids(1).await.is_empty());
    assert_eq!(member.one().await.attempt, 2);
    bench.assert_took(since, Instant::now(), ms(1_500));
}

pub async fn without_a_delay_an_event_waits_longer_each_time(bench: &Bench) {
    bench.publish("orders", "a").await;
    let member = bench.member("orders", "billing");
    let spec = GroupSpec {
        min_backoff: ms(500),
        max_backoff: ms(1_500),
        ..GroupSpec::default()
    };
    member.set(spec, Start::Earliest).await;
    let mut delivered = member.one().await;
    for wait in [500, 1_000, 1_500, 1_500] {
        let since = Instant::now();
        member
            .settle(delivered.lease, Settlement::Nack(None))
            .await
            .unwrap();
        delivered = member.one().await;
        bench.assert_took(since, Instant::now(), ms(wait));
    }
}

pub async fn those_who_wait_are_served_in_the_order_of_their_coming(bench: &Bench) {
    let member = bench.member("orders", "billing");
    member.join(Start::Latest).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let member = member.clone();
        waiting.push(spawn(async move { member.one().await }));
        bench.elapse(ms(10)).await;
    }
    for (waiting, id) in waiting.into_iter().zip(["a", "b", "c"]) {
        bench.publish("orders", id).await;
        assert_eq!(waiting.await.unwrap().event.event, event(id));
    }
}

pub async fn events_of_one_key_come_one_after_the_other_if_the_group_is_ordered(bench: &Bench) {
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "")] {
        bench
            .publish_event("orders", &keyed(id, key))
            .await
            .unwrap();
    }
    let member = bench.member("orders", "billing");
    let ordered = GroupSpec {
        ordered: true,
        ..quick()
    };
    member.set(ordered, Start::Earliest).await;
    let first = member.get(10).await;
    let ids = names(first.iter().map(|it| &*it.event));
    assert_eq!(ids, ["a1", "b1", "c1"]);
    let nack = Settlement::Nack(Some(Micros::ZERO));
    member.settle(first[0].lease, nack).await.unwrap();
    let again = member.get(10).await;
    assert_eq!(names(again.iter().map(|it| &*it.event)), ["a1"]);
    member.ack(&again[0]).await.unwrap();
    assert_eq!(member.ids(10).await, ["a2"]);
    let beside = bench.member("orders", "stock");
    beside.join(Start::Earliest).await;
    assert_eq!(beside.ids(10).await, ["a1", "a2", "b1", "c1"]);
}

pub async fn a_group_that_lags_far_behind_gets_everything(bench: &Bench) {
    let many = 2 * Settings::default().max_open;
    let ids = bench.publish_all("orders", "a", many).await;
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    assert_eq!(member.drain().await, ids);
    bench.publish("orders", "last").await;
    assert_eq!(member.drain().await, ["last"]);
    assert_eq!(member.look().await.behind, 0);
}
