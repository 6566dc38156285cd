//! What a reader is told.

use crate::events::prelude::*;
use crate::spawn;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use trellis_core::events::{Attribute, Room};

pub async fn what_comes_is_told_to_those_who_wait(bench: &Bench) {
    let mut reader = bench.reader("orders", Start::Earliest).await;
    assert_eq!(reader.next(ALL).await, Heard::CaughtUp);
    let waiting = spawn(async move { reader.take(2).await });
    bench.publish("bills", "other").await;
    bench.publish("orders", "a").await;
    bench.publish("orders", "b").await;
    assert_eq!(waiting.await.unwrap(), ["a", "b"]);
}

pub async fn caught_up_is_told_once_and_again_after_falling_behind(bench: &Bench) {
    let mut reader = bench.reader("orders", Start::Earliest).await;
    assert_eq!(reader.next(ALL).await, Heard::CaughtUp);
    for id in ["a", "b", "c"] {
        bench.publish("orders", id).await;
        let events = reader.events(ALL).await;
        assert_eq!(names(events.iter().map(|it| &**it)), [id]);
    }
    let many = 3 * Settings::default().live_events;
    let ids = bench.publish_all("orders", "d", many).await;
    assert_eq!(reader.until_caught_up().await, ids);
}

pub async fn a_slow_reader_slows_nobody_and_misses_nothing(bench: &Bench) {
    let mut slow = bench.reader("orders", Start::Earliest).await;
    let mut quick = bench.reader("orders", Start::Earliest).await;
    assert_eq!(slow.next(ALL).await, Heard::CaughtUp);
    let many = 5 * Settings::default().live_events;
    let mut told = Vec::new();
    for number in 0..many {
        bench.publish("orders", &number.to_string()).await;
        told.extend(quick.take(1).await);
    }
    assert_eq!(slow.take(many).await, told);
    assert_eq!(told.len(), many);
}

pub async fn only_what_the_filter_wants_is_told(bench: &Bench) {
    let made = |id: &str, kind: &str, region: &str| {
        Event::new(NewEvent {
            id: id.to_owned(),
            source: "/suite".to_owned(),
            kind: kind.to_owned(),
            attributes: vec![("region".to_owned(), region.to_owned())],
            ..NewEvent::default()
        })
        .unwrap()
    };
    let filter = Filter::new(
        vec![Pattern::Prefix("order.".to_owned())],
        vec![],
        vec![],
        vec![(
            Attribute::new("region", "region").unwrap(),
            Pattern::Exact("eu".to_owned()),
        )],
    );
    let filter = filter.unwrap();
    let start = Start::Earliest;
    let subscribed = bench.subscribe("orders", start, filter.clone()).await;
    let mut following = subscribed.unwrap();
    for (id, kind, region) in [
        ("a", "order.paid", "eu"),
        ("b", "order.paid", "us"),
        ("c", "bill.paid", "eu"),
        ("d", "order.sent", "eu"),
        ("e", "bill.sent", "us"),
    ] {
        let event = made(id, kind, region);
        bench.publish_event("orders", &event).await.unwrap();
    }
    assert_eq!(following.take(2).await, ["a", "d"]);
    let late = bench.subscribe("orders", start, filter).await;
    assert_eq!(late.unwrap().until_caught_up().await, ["a", "d"]);
}

pub async fn the_position_moves_over_what_is_filtered_out(bench: &Bench) {
    let wants_none = Filter::new(
        vec![Pattern::Exact("none".to_owned())],
        vec![],
        vec![],
        vec![],
    );
    let subscribed = bench.subscribe("orders", Start::Earliest, wants_none.unwrap());
    let mut reader = subscribed.await.unwrap();
    let last = 4 * Settings::default().live_events;
    bench.publish_all("orders", "a", last).await;
    assert_eq!(reader.next(ALL).await, Heard::CaughtUp);
    let position = reader.position();
    assert_eq!(position.behind, 0);
    let mut behind = bench.reader("orders", Start::Cursor(position.cursor)).await;
    assert_eq!(behind.next(ALL).await, Heard::CaughtUp);
}

pub async fn no_more_is_told_than_there_is_room_for(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 30).await;
    let mut reader = bench.reader("orders", Start::Earliest).await;
    let mut told = Vec::new();
    while told.len() < ids.len() {
        let events = reader.events(room(4)).await;
        assert!(events.len() <= 4);
        told.extend(names(events.iter().map(|it| &**it)));
    }
    assert_eq!(told, ids);
}

pub async fn room_in_bytes_holds_and_one_event_is_told_however_large(bench: &Bench) {
    let large = |id: &str, bytes: usize| {
        Event::new(NewEvent {
            id: id.to_owned(),
            source: "/suite".to_owned(),
            kind: "suite.made".to_owned(),
            data: vec![7; bytes].into(),
            ..NewEvent::default()
        })
        .unwrap()
    };
    for (id, bytes) in [("a", 300), ("b", 5_000), ("c", 300), ("d", 300), ("e", 300)] {
        bench
            .publish_event("orders", &large(id, bytes))
            .await
            .unwrap();
    }
    for start in [Start::Earliest, Start::Earliest] {
        let mut reader = bench.reader("orders", start).await;
        let mut told = Vec::new();
        while told.len() < 5 {
            let room = Room {
                events: 100,
                bytes: 1_000,
            };
            let events = reader.events(room).await;
            let bytes: usize = events.iter().map(|it| it.event.bytes()).sum();
            assert!(bytes <= 1_000 || events.len() == 1, "{bytes}");
            told.extend(names(events.iter().map(|it| &**it)));
        }
        assert_eq!(told, ["a", "b", "c", "d", "e"]);
    }
}

pub async fn a_call_that_is_given_up_loses_nothing(bench: &Bench) {
    let mut reader = bench.reader("orders", Start::Earliest).await;
    let many = 3 * Settings::default().live_events;
    let ids = bench.publish_all("orders", "a", many).await;
    let mut told = Vec::new();
    for patience in (0..).map(|number| number % 5) {
        if told.len() == ids.len() {
            break;
        }
        let mut next = pin!(reader.try_next(room(3)));
        let mut polls = 0;
        let heard = poll_fn(|context| {
            polls += 1;
            match next.as_mut().poll(context) {
                Poll::Ready(heard) => Poll::Ready(Some(heard)),
                Poll::Pending if polls > patience => Poll::Ready(None),
                Poll::Pending => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        });
        match heard.await {
            Some(Ok(Heard::Events(events))) => {
                told.extend(names(events.iter().map(|it| &**it)));
            }
            Some(Ok(Heard::CaughtUp)) | None => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ids);
}
