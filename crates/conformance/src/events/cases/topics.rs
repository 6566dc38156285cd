//! Topics: what they are at, and who they are.

use crate::events::prelude::*;

pub async fn a_topic_that_nothing_was_published_to_is_empty(bench: &Bench) {
    let state = bench.look("orders").await;
    assert_eq!((state.events, state.bytes, state.groups), (0, 0, 0));
    assert_eq!((state.oldest, state.newest), (None, None));
    assert_eq!(state.retention, Settings::default().retention);
    assert!(bench.page(10, None).await.0.is_empty());
}

pub async fn a_topic_tells_what_it_holds(bench: &Bench) {
    let first = bench.publish("orders", "a").await;
    bench.elapse(SECOND).await;
    let last = bench.publish("orders", "b").await;
    bench.member("orders", "billing").join(Start::Latest).await;
    let state = bench.look("orders").await;
    assert_eq!((state.events, state.groups), (2, 1));
    assert!(state.bytes > 0);
    let (oldest, since) = state.oldest.unwrap();
    assert_eq!(oldest.next, first.offset);
    assert!(state.newest.unwrap() > since);
    assert!(state.end.next > last.offset);
    let mut reader = bench.reader("orders", Start::Cursor(oldest)).await;
    assert_eq!(reader.until_caught_up().await, ["a", "b"]);
}

pub async fn pages_of_topics_are_complete_and_in_order(bench: &Bench) {
    let beside = bench.beside("other");
    beside.publish("elsewhere", "a").await;
    for name in ["d", "b", "a"] {
        bench.publish(name, "a").await;
    }
    let month = TopicRetention {
        max_age: Some(HOUR),
        ..TopicRetention::default()
    };
    bench.keep("c", month).await;
    bench.member("e", "billing").join(Start::Latest).await;
    assert_eq!(bench.page(10, None).await.0, ["a", "b", "c", "d", "e"]);
    let (page, more) = bench.page(3, None).await;
    assert_eq!((page.len(), more), (3, true));
    let (page, more) = bench.page(3, Some("c")).await;
    assert_eq!((page, more), (vec!["d".to_owned(), "e".to_owned()], false));
    let (page, more) = bench.page(5, None).await;
    assert_eq!((page.len(), more), (5, false));
}

pub async fn what_a_topic_keeps_can_be_set_and_unset(bench: &Bench) {
    let hour = TopicRetention {
        max_age: Some(HOUR),
        max_bytes: Some(2_000_000),
        max_events: Some(1_000),
    };
    assert_eq!(bench.keep("orders", hour).await.retention, hour);
    assert_eq!(bench.look("orders").await.retention, hour);
    let unset = bench.keep("orders", TopicRetention::default()).await;
    assert_eq!(unset.retention, Settings::default().retention);
    assert!(bench.page(10, None).await.0.is_empty());
}
