//! Where a reader begins.

use crate::events::prelude::*;
use trellis_core::Time;
use trellis_core::events::{Cursor, GapReason};
use trellis_core::log::{History, Offset};

pub async fn from_the_earliest_everything_is_told(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 20).await;
    assert_eq!(bench.held("orders").await, ids);
}

pub async fn from_the_latest_only_what_comes_is_told(bench: &Bench) {
    bench.publish_all("orders", "a", 5).await;
    let mut reader = bench.reader("orders", Start::Latest).await;
    assert_eq!(reader.next(ALL).await, Heard::CaughtUp);
    bench.publish("orders", "b").await;
    assert_eq!(reader.take(1).await, ["b"]);
}

pub async fn from_a_cursor_what_stands_behind_it_is_told(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 12).await;
    let mut reader = bench.reader("orders", Start::Earliest).await;
    let mut cursors = Vec::new();
    while cursors.len() < ids.len() {
        let events = reader.events(ALL).await;
        cursors.extend(events.iter().map(|it| it.cursor));
    }
    for (index, cursor) in cursors.into_iter().enumerate() {
        let mut behind = bench.reader("orders", Start::Cursor(cursor)).await;
        assert_eq!(behind.until_caught_up().await, ids[index + 1..]);
    }
}

pub async fn from_a_time_on_everything_is_told_that_was_taken_in_since(bench: &Bench) {
    let mut times = Vec::new();
    for id in ["a", "b", "c"] {
        bench.publish("orders", id).await;
        times.push(bench.look("orders").await.newest.unwrap());
        bench.elapse(ms(50)).await;
    }
    let told = async |time| {
        let mut reader = bench.reader("orders", Start::Time(time)).await;
        reader.until_caught_up().await
    };
    assert_eq!(told(Time(0)).await, ["a", "b", "c"]);
    assert_eq!(told(times[1]).await, ["b", "c"]);
    assert_eq!(told(times[1] + Micros::from_millis(1)).await, ["c"]);
    assert!(told(times[2] + Micros::from_millis(1)).await.is_empty());
}

pub async fn a_time_that_lies_in_the_future_is_refused(bench: &Bench) {
    bench.publish("orders", "a").await;
    let newest = bench.look("orders").await.newest.unwrap();
    let start = Start::Time(newest + HOUR);
    let refused = bench.subscribe("orders", start, Filter::default()).await;
    assert_eq!(code(refused), ErrorCode::InvalidField);
}

pub async fn a_reader_goes_on_from_its_position(bench: &Bench) {
    bench.publish_all("orders", "a", 6).await;
    let mut reader = bench.reader("orders", Start::Earliest).await;
    let mut told = Vec::new();
    for _ in 0..6 {
        told.extend(reader.take(1).await);
        let start = Start::Cursor(reader.position().cursor);
        reader = bench.reader("orders", start).await;
    }
    assert_eq!(told, bench.held("orders").await);
    assert_eq!(reader.next(ALL).await, Heard::CaughtUp);
}

pub async fn a_cursor_of_another_history_is_told_as_a_gap_and_never_misread(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 6).await;
    let end = bench.look("orders").await.end;
    let history = History(end.history.0 ^ 1);
    let other = Cursor { history, ..end };
    let mut reader = bench.reader("orders", Start::Cursor(other)).await;
    assert_eq!(reader.next(ALL).await, Heard::Gap(GapReason::History));
    assert_eq!(reader.until_caught_up().await, ids);
}

pub async fn a_cursor_beyond_the_end_is_told_as_a_lost_tail(bench: &Bench) {
    bench.publish_all("orders", "a", 3).await;
    let end = bench.look("orders").await.end;
    let next = Offset(end.next.0 + 1_000);
    let mut reader = bench
        .reader("orders", Start::Cursor(Cursor { next, ..end }))
        .await;
    assert_eq!(reader.next(ALL).await, Heard::Gap(GapReason::LostTail));
    assert_eq!(reader.next(ALL).await, Heard::CaughtUp);
    bench.publish("orders", "b").await;
    assert_eq!(reader.take(1).await, ["b"]);
}

pub async fn a_cursor_behind_another_writers_record_is_told_as_a_lost_tail(bench: &Bench) {
    let ids = bench.publish_all("orders", "a", 3).await;
    let mut reader = bench.reader("orders", Start::Earliest).await;
    let seen = reader.events(room(1)).await[0].cursor;
    let epoch = seen.epoch + 1;
    let mut reader = bench
        .reader("orders", Start::Cursor(Cursor { epoch, ..seen }))
        .await;
    assert_eq!(reader.next(ALL).await, Heard::Gap(GapReason::LostTail));
    assert_eq!(reader.until_caught_up().await, ids);
}
