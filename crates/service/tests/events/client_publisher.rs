//! The client's publisher: in order, through broken streams, and honest about what it does not know.

use crate::switch::Daemon;
use futures::FutureExt as _;
use futures::future::join_all;
use trellis_client::events::{Durability, Event, Heard, Publisher, Start, Topic};
use trellis_client::{ErrorKind, ErrorReason};
use trellis_core::{Error, ErrorCode};

fn event(number: usize) -> Event {
    Event::json("/shop", "order.paid", &number).unwrap()
}

fn named(number: usize) -> Event {
    event(number).id(number.to_string())
}

/// The numbers that stand, in order.
async fn stand(topic: &Topic) -> Vec<usize> {
    let subscription = topic.subscribe().start(Start::Earliest).open().await;
    let mut subscription = subscription.unwrap();
    let mut numbers = Vec::new();
    while let Heard::Event(event) = subscription.next().await.unwrap() {
        numbers.push(event.json().unwrap());
    }
    numbers
}

/// Publishes these at once; the answers, in order.
async fn publish(
    publisher: &Publisher,
    events: Vec<Event>,
) -> Vec<trellis_client::Result<trellis_client::events::Published>> {
    let mut answers = Vec::new();
    for event in events {
        answers.push(publisher.publish(event).await.unwrap());
    }
    join_all(answers).await
}

#[tokio::test(start_paused = true)]
async fn one_and_many_are_published_with_what_they_survive() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let first = topic.publish(named(0)).await.unwrap();
    assert_eq!(
        (first.offset, first.duplicate, first.durability),
        (0, false, Durability::Volatile)
    );
    assert!(topic.publish(named(0)).await.unwrap().duplicate);
    let batch = topic
        .publish_batch([event(1), Event::default(), event(2)])
        .await
        .unwrap();
    let bad = batch[1].as_ref().unwrap_err();
    assert_eq!(bad.field_violations()[0].field, "events[1].source");
    assert_eq!(batch[2].as_ref().unwrap().offset, 2);
    assert_eq!(stand(&topic).await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn events_stand_in_the_order_of_the_calls() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let publisher = topic.publisher();
    let answers = publish(&publisher, (0..3_000).map(event).collect()).await;
    for (number, answer) in (0_u64..).zip(answers) {
        assert_eq!(answer.unwrap().offset, number);
    }
    assert_eq!(stand(&topic).await, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_are_unanswered() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    daemon.fake.hold(true);
    let publisher = topic.publisher().max_in_flight(2);
    let answers = [
        publisher.publish(event(0)).await.unwrap(),
        publisher.publish(event(1)).await.unwrap(),
    ];
    let mut third = Box::pin(publisher.publish(event(2)));
    assert!((&mut third).now_or_never().is_none());
    daemon.fake.hold(false);
    join_all(answers)
        .await
        .into_iter()
        .for_each(|it| drop(it.unwrap()));
    third.await.unwrap().await.unwrap();
    daemon.fake.hold(true);
    let late = [
        publisher.publish(event(3)).await.unwrap(),
        publisher.publish(event(4)).await.unwrap(),
    ];
    let full = publisher.publish(event(5)).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Deadline);
    for answer in join_all(late).await {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Deadline);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_leaves_unknown_what_has_no_id_and_the_rest_is_sent_again() {
    let daemon = Daemon::new();
    let (topic, cut) = daemon.topic();
    let publisher = topic.publisher();
    publish(&publisher, vec![event(0)]).await.remove(0).unwrap();
    daemon.fake.hold(true);
    let mut answers = Vec::new();
    for event in [event(1), named(2), event(3), named(4)] {
        answers.push(publisher.publish(event).await.unwrap());
    }
    while topic.get().await.unwrap().events < 5 {}
    cut.cut();
    daemon.fake.hold(false);
    let answers = join_all(answers).await;
    for unknown in [0, 2] {
        let error = answers[unknown].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    }
    for again in [1, 3] {
        assert!(answers[again].as_ref().unwrap().duplicate);
    }
    assert_eq!(stand(&topic).await, [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_accepted_is_sent_again() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let publisher = topic.publisher();
    let draining = Error::new(ErrorCode::Draining, "soon gone");
    let unknown = Error::new(ErrorCode::OutcomeUnknown, "perhaps");
    daemon.fake.refuse([unknown.clone()]);
    let answers = publish(&publisher, vec![named(0)]).await;
    assert!(answers[0].is_ok());
    daemon.fake.refuse([unknown]);
    let answers = publish(&publisher, vec![event(1)]).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::OutcomeUnknown));
    let full = Error::new(ErrorCode::TooManyBytes, "full");
    daemon.fake.refuse([full]);
    let answers = publish(&publisher, vec![event(2)]).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::TooManyBytes));
    let mut daemon = daemon;
    daemon.fake.refuse([draining]);
    let refused = publisher.publish(event(3)).await.unwrap();
    topic.get().await.unwrap();
    daemon.restart();
    refused.await.unwrap();
    assert_eq!(stand(&topic).await, [0, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing_that_has_an_id() {
    let mut daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let publisher = topic.publisher();
    let mut answers = Vec::new();
    for number in 0..1_000 {
        answers.push(publisher.publish(named(number)).await.unwrap());
        if number % 100 == 50 {
            daemon.restart();
        }
    }
    for answer in join_all(answers).await {
        answer.unwrap();
    }
    assert_eq!(stand(&topic).await.len(), 1_000);
    let mut numbers = stand(&topic).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_is_refused_alone() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let publisher = topic.publisher();
    let large = event(0).data(vec![0; 5 * 1024 * 1024]);
    let refused = publisher.publish(large).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    let over = event(0).data(vec![0; 1024 * 1024 + 1]);
    let answers = publish(&publisher, vec![over, event(1)]).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(error.field_violations()[0].field, "event.data");
    assert!(answers[1].is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_dropped_sends_what_it_took() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let publisher = topic.publisher();
    let answer = publisher.publish(event(0)).await.unwrap();
    drop(publisher);
    answer.await.unwrap();
    assert_eq!(stand(&topic).await, [0]);
}
