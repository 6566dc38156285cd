//! The client's subscription: everything once and in order, through broken streams, drains and restarts.

use crate::switch::Daemon;
use std::time::Duration;
use trellis_client::events::{Cursor, Event, Filter, GapReason, Heard, Start, Subscription, Topic};
use trellis_client::{ErrorReason, Result};
use trellis_conformance::spawn;

async fn publish(topic: &Topic, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let event = Event::json("/shop", "order.paid", &number).unwrap();
        topic.publish(event).await.unwrap();
    }
}

async fn open(topic: &Topic, start: Start) -> Subscription {
    topic.subscribe().start(start).open().await.unwrap()
}

/// The next event's number.
async fn number(subscription: &mut Subscription) -> usize {
    loop {
        match subscription.next().await.unwrap() {
            Heard::Event(event) => return event.json().unwrap(),
            Heard::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn numbers(subscription: &mut Subscription, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(number(subscription).await);
    }
    numbers
}

#[tokio::test(start_paused = true)]
async fn it_tells_what_stands_that_it_caught_up_and_what_comes() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    publish(&topic, 0..2).await;
    let mut subscription = open(&topic, Start::Earliest).await;
    assert_eq!(numbers(&mut subscription, 2).await, [0, 1]);
    let Heard::CaughtUp(position) = subscription.next().await.unwrap() else {
        panic!("not caught up");
    };
    assert_eq!(position.behind, 0);
    assert_eq!(subscription.cursor(), Some(&position.cursor));
    let latest = open(&topic, Start::Latest).await;
    publish(&topic, 2..3).await;
    assert_eq!(numbers(&mut subscription, 1).await, [2]);
    let mut latest = latest;
    assert_eq!(numbers(&mut latest, 1).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn far_more_than_its_credit_comes_through() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    publish(&topic, 0..500).await;
    let small = topic.subscribe().start(Start::Earliest).ahead(7, 100);
    let mut subscription = small.open().await.unwrap();
    assert_eq!(
        numbers(&mut subscription, 500).await,
        (0..500).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn cut_streams_and_restarts_lose_nothing_and_repeat_nothing() {
    let mut daemon = Daemon::new();
    let (reading, cut) = daemon.topic();
    let (writing, _) = daemon.topic();
    let reader = spawn(async move {
        let small = reading.subscribe().start(Start::Earliest).ahead(20, 4_096);
        let mut subscription = small.open().await.unwrap();
        numbers(&mut subscription, 600).await
    });
    for round in 0..30 {
        publish(&writing, round * 20..(round + 1) * 20).await;
        match round % 3 {
            0 => cut.cut(),
            1 => daemon.restart(),
            _ => {}
        }
    }
    assert_eq!(reader.await.unwrap(), (0..600).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_kept_cursor_goes_on_where_it_was() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    publish(&topic, 0..3).await;
    let mut subscription = open(&topic, Start::Earliest).await;
    assert_eq!(numbers(&mut subscription, 2).await, [0, 1]);
    let kept = subscription.cursor().unwrap().as_bytes().to_vec();
    drop(subscription);
    let mut again = open(&topic, Start::After(Cursor::from(kept))).await;
    assert_eq!(numbers(&mut again, 1).await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told() {
    let daemon = Daemon::new();
    let (topic, cut) = daemon.topic();
    publish(&topic, 0..5).await;
    let mut subscription = topic
        .subscribe()
        .start(Start::Earliest)
        .ahead(1, 1)
        .open()
        .await
        .unwrap();
    assert_eq!(number(&mut subscription).await, 0);
    daemon.fake.trim(4);
    cut.cut();
    let gap = loop {
        match subscription.next().await.unwrap() {
            Heard::Gap(gap) => break gap,
            Heard::Event(_) | Heard::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(gap.reason, GapReason::Retention);
    assert_eq!(number(&mut subscription).await, 4);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_wanted_is_told() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    for (kind, region) in [("a.x", "eu"), ("a.y", "us"), ("b.x", "eu"), ("a.z", "eu-1")] {
        let event = Event::json("/shop", kind, &kind)
            .unwrap()
            .attribute("region", region);
        topic.publish(event).await.unwrap();
    }
    let filter = Filter::new()
        .kind_prefix("a.")
        .attribute_prefix("region", "eu");
    let wanted = topic.subscribe().start(Start::Earliest).filter(filter);
    let mut subscription = wanted.open().await.unwrap();
    for kind in ["a.x", "a.z"] {
        let Heard::Event(event) = subscription.next().await.unwrap() else {
            panic!("no event");
        };
        assert_eq!(event.event.kind, kind);
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_repeat_helps_is_an_error_at_once() {
    let daemon = Daemon::new();
    let (topic, _) = daemon.topic();
    let refused: Result<_> = topic
        .subscribe()
        .start(Start::After(Cursor::from("odd")))
        .open()
        .await;
    let error = refused.unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
    assert_eq!(error.field_violations()[0].field, "open.start.cursor");
    let often = topic.subscribe().heartbeat(Duration::from_millis(1));
    assert_eq!(
        often.open().await.unwrap_err().reason(),
        Some(ErrorReason::InvalidField)
    );
}
