//! What is kept, and what is told of the rest.

use crate::events::prelude::*;
use trellis_core::events::GapReason;

fn newest(events: u64) -> TopicRetention {
    TopicRetention {
        max_events: Some(events),
        ..TopicRetention::default()
    }
}

/// Lets the backend look for what need not be kept.
async fn swept(bench: &Bench) {
    let every = Settings::default().retention_every;
    bench.elapse(every).await;
    bench.elapse(every).await;
    bench.elapse(bench.tolerance()).await;
}

pub async fn the_newest_are_kept_and_the_oldest_dropped(bench: &Bench) {
    bench.keep("orders", newest(10)).await;
    let ids = bench.publish_all("orders", "a", 60).await;
    swept(bench).await;
    let held = bench.held("orders").await;
    assert!((10..20).contains(&held.len()), "{held:?}");
    assert!(ids.ends_with(&held));
    let state = bench.look("orders").await;
    assert_eq!(state.events, held.len() as u64);
    assert_eq!(state.retention, newest(10));
}

pub async fn what_is_too_old_is_dropped_without_anything_coming(bench: &Bench) {
    let young = TopicRetention {
        max_age: Some(SECOND),
        ..TopicRetention::default()
    };
    bench.keep("orders", young).await;
    bench.publish_all("orders", "a", 5).await;
    bench.publish_all("bills", "b", 5).await;
    assert_eq!(bench.held("orders").await.len(), 5);
    bench.elapse(SECOND).await;
    swept(bench).await;
    assert!(bench.held("orders").await.is_empty());
    let state = bench.look("orders").await;
    assert_eq!((state.events, state.bytes, state.oldest), (0, 0, None));
    assert_eq!(bench.held("bills").await.len(), 5);
    bench.publish("orders", "c").await;
    assert_eq!(bench.held("orders").await, ["c"]);
}

pub async fn a_cursor_behind_which_something_was_dropped_is_told_of_the_gap(bench: &Bench) {
    bench.keep("orders", newest(10)).await;
    let first = bench.publish("orders", "first").await;
    bench.publish_all("orders", "a", 60).await;
    swept(bench).await;
    let mut reader = bench.reader("orders", Start::Cursor(first.cursor)).await;
    assert_eq!(reader.next(ALL).await, Heard::Gap(GapReason::Retention));
    assert_eq!(reader.until_caught_up().await, bench.held("orders").await);
}

pub async fn a_reader_whom_the_start_overtakes_is_told_of_the_gap(bench: &Bench) {
    let mut reader = bench.reader("orders", Start::Earliest).await;
    bench.publish_all("orders", "a", 60).await;
    bench.keep("orders", newest(1)).await;
    bench.publish_all("orders", "b", 60).await;
    swept(bench).await;
    assert_eq!(reader.next(ALL).await, Heard::Gap(GapReason::Retention));
    assert_eq!(reader.until_caught_up().await, bench.held("orders").await);
}

pub async fn a_cursor_behind_which_nothing_was_dropped_goes_on(bench: &Bench) {
    bench.keep("orders", newest(10)).await;
    bench.publish_all("orders", "a", 60).await;
    let last = bench.publish("orders", "last").await;
    bench.keep("bills", newest(1)).await;
    bench.publish_all("bills", "b", 60).await;
    swept(bench).await;
    let mut reader = bench.reader("orders", Start::Cursor(last.cursor)).await;
    assert_eq!(reader.next(ALL).await, Heard::CaughtUp);
}

pub async fn a_group_goes_on_behind_what_was_dropped(bench: &Bench) {
    let member = bench.member("orders", "billing");
    member.join(Start::Earliest).await;
    bench.publish_all("orders", "a", 60).await;
    let had = member.get(1).await.remove(0);
    bench.keep("orders", newest(1)).await;
    bench.publish_all("orders", "b", 60).await;
    swept(bench).await;
    let held = bench.held("orders").await;
    assert_eq!(member.drain().await, held);
    // Nobody has it any more.
    member.ack(&had).await.unwrap();
    let state = member.look().await;
    assert_eq!((state.leased, state.retrying, state.dead), (0, 0, 0));
}
