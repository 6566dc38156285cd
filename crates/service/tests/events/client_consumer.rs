//! The client's consumers: each event done by one member, its lease extended, and given back when it is dropped.

use crate::switch::Daemon;
use futures::{FutureExt as _, StreamExt as _};
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::sleep;
use trellis_client::ErrorReason;
use trellis_client::events::{Consumer, DeadReason, Event, Group, GroupSpec, Start, Topic};
use trellis_conformance::spawn;

const LEASE: Duration = Duration::from_secs(10);

async fn publish(topic: &Topic, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let event = Event::json("/shop", "order.paid", &number).unwrap();
        topic.publish(event).await.unwrap();
    }
}

async fn group(topic: &Topic) -> Group {
    let group = topic.group("billing");
    let spec = GroupSpec {
        lease: Some(LEASE),
        ..GroupSpec::default()
    };
    group.set(spec, Start::Earliest).await.unwrap();
    group
}

/// A daemon, and a group of a topic of so many events.
async fn with_events(count: usize) -> (Daemon, Group) {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let group = group(&topic).await;
    publish(&topic, 0..count).await;
    (daemon, group)
}

fn one_at_a_time(group: &Group) -> Consumer {
    group.consumer().prefetch(1).open()
}

#[tokio::test(start_paused = true)]
async fn each_event_is_done_by_one_member() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let group = group(&topic).await;
    let members = [0, 1, 2].map(|_| {
        let mut consumer = group.consumer().prefetch(4).open();
        spawn(async move {
            let mut done: Vec<usize> = Vec::new();
            let patience = Duration::from_secs(5);
            while let Ok(delivery) = tokio::time::timeout(patience, consumer.next()).await {
                let delivery = delivery.unwrap();
                assert_eq!(delivery.attempt(), 1);
                done.push(delivery.json().unwrap());
                delivery.ack().await.unwrap();
            }
            done
        })
    });
    publish(&topic, 0..300).await;
    let mut all = Vec::new();
    for member in members {
        all.extend(member.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..300).collect::<Vec<_>>());
    let state = group.get().await.unwrap();
    assert_eq!((state.leased, state.behind), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_extended_for_as_long_as_its_delivery_lives() {
    let (_daemon, group) = with_events(1).await;
    let mut consumer = one_at_a_time(&group);
    let delivery = consumer.next().await.unwrap();
    let mut other = one_at_a_time(&group);
    let waits = tokio::time::timeout(5 * LEASE, other.next()).await;
    assert!(waits.is_err() && !delivery.is_lost());
    delivery.ack().await.unwrap();
    assert_eq!(group.get().await.unwrap().behind, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_delivery_comes_again_after_the_back_off() {
    let (_daemon, group) = with_events(1).await;
    let mut consumer = group.consumer().open();
    let begun = Instant::now();
    drop(consumer.next().await.unwrap());
    let again = consumer.next().await.unwrap();
    assert_eq!((again.attempt(), begun.elapsed().as_secs()), (2, 1));
    again.nack_after(Duration::from_secs(5)).await.unwrap();
    let again = consumer.next().await.unwrap();
    assert_eq!((again.attempt(), begun.elapsed().as_secs()), (3, 6));
    again.nack().await.unwrap();
    let again = consumer.next().await.unwrap();
    assert_eq!((again.attempt(), begun.elapsed().as_secs()), (4, 10));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_dropped_gives_back_what_waits_and_answers_what_was_handed_out() {
    let (_daemon, group) = with_events(4).await;
    let mut consumer = group.consumer().prefetch(4).open();
    let delivery = consumer.next().await.unwrap();
    while group.get().await.unwrap().leased < 4 {}
    drop(consumer);
    let begun = Instant::now();
    let mut other = group.consumer().prefetch(4).open();
    for number in 1..4 {
        let delivery = other.next().await.unwrap();
        assert_eq!(delivery.json::<usize>().unwrap(), number);
        delivery.ack().await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    delivery.ack().await.unwrap();
    assert_eq!(group.get().await.unwrap().behind, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_is_made_again_and_deliveries_stay_valid() {
    let mut daemon = Daemon::new();
    let (topic, cut) = daemon.topic();
    let group = group(&topic).await;
    publish(&topic, 0..3).await;
    let mut consumer = group.consumer().prefetch(2).open();
    for number in 0..3 {
        let delivery = consumer.next().await.unwrap();
        assert_eq!(delivery.json::<usize>().unwrap(), number);
        cut.cut();
        sleep(2 * LEASE).await;
        assert!(!delivery.is_lost(), "{number}");
        daemon.restart();
        delivery.ack().await.unwrap();
    }
    let state = group.get().await.unwrap();
    assert_eq!((state.leased, state.behind), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_told() {
    let daemon = Daemon::new();
    let (topic, cut) = daemon.topic();
    let group = group(&topic).await;
    publish(&topic, 0..1).await;
    let mut consumer = one_at_a_time(&group);
    let delivery = consumer.next().await.unwrap();
    assert!(delivery.lost().now_or_never().is_none());
    cut.cut_for_good();
    delivery.lost().await;
    let (other, _) = daemon.topic();
    let mut other = one_at_a_time(&other.group("billing"));
    let taken = other.next().await.unwrap();
    assert_eq!(taken.attempt(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_event_is_a_dead_letter_and_can_be_replayed() {
    let (_daemon, group) = with_events(2).await;
    let mut consumer = group.consumer().open();
    for _ in 0..2 {
        consumer.next().await.unwrap().reject().await.unwrap();
    }
    let letters: Vec<_> = group.dead_letters().map(Result::unwrap).collect().await;
    let told: Vec<_> = letters
        .iter()
        .map(|it| (it.event.offset, it.attempts, it.reason))
        .collect();
    assert_eq!(
        told,
        [(0, 1, DeadReason::Rejected), (1, 1, DeadReason::Rejected)]
    );
    assert_eq!(group.replay([]).await.unwrap(), 0);
    assert_eq!(group.replay([1]).await.unwrap(), 1);
    assert_eq!(group.replay_all().await.unwrap(), 1);
    let mut again = Vec::new();
    for _ in 0..2 {
        let delivery = consumer.next().await.unwrap();
        again.push(delivery.json::<usize>().unwrap());
        delivery.ack().await.unwrap();
    }
    again.sort_unstable();
    assert_eq!(again, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_group_ends_its_consumers() {
    let (_daemon, group) = with_events(1).await;
    let mut consumer = one_at_a_time(&group);
    let delivery = consumer.next().await.unwrap();
    group.delete().await.unwrap();
    let refused = delivery.ack().await.unwrap_err();
    assert_eq!(refused.reason(), Some(ErrorReason::GroupNotFound));
    let ended = consumer.next().await.unwrap_err();
    assert_eq!(ended.reason(), Some(ErrorReason::GroupNotFound));
}

#[tokio::test(start_paused = true)]
async fn topics_and_groups_are_listed_and_set() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    group(&topic).await;
    let retention = trellis_client::events::Retention {
        max_events: Some(5),
        ..Default::default()
    };
    assert_eq!(topic.set(retention).await.unwrap().retention, retention);
    publish(&topic, 0..1).await;
    let state = topic.get().await.unwrap();
    assert_eq!((state.events, state.groups), (1, 1));
    let groups = topic.groups().await.unwrap();
    assert_eq!((groups.len(), groups[0].spec.lease), (1, Some(LEASE)));
}
