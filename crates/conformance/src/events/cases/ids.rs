//! An event with an id that is published again is the same event.

use crate::events::prelude::*;
use crate::spawn;

fn of(source: &str, id: &str) -> Event {
    Event::new(NewEvent {
        id: id.to_owned(),
        source: source.to_owned(),
        kind: "suite.made".to_owned(),
        ..NewEvent::default()
    })
    .unwrap()
}

pub async fn a_repeat_is_answered_with_the_first_place_and_stands_once(bench: &Bench) {
    let first = bench.publish("orders", "a").await;
    bench.publish("orders", "b").await;
    let again = bench.publish("orders", "a").await;
    assert!(again.duplicate);
    assert_eq!((again.offset, again.cursor), (first.offset, first.cursor));
    assert_eq!(bench.held("orders").await, ["a", "b"]);
    assert_eq!(bench.look("orders").await.events, 2);
}

pub async fn repeats_at_the_same_time_stand_once(bench: &Bench) {
    let callers = (0..8).map(|_| {
        let bench = bench.clone();
        spawn(async move { bench.publish("orders", "a").await })
    });
    let mut places = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        places.push(caller.await.unwrap().offset);
    }
    bench.publish("orders", "b").await;
    places.dedup();
    assert_eq!(places.len(), 1);
    assert_eq!(bench.held("orders").await, ["a", "b"]);
}

pub async fn repeats_under_way_stand_once(bench: &Bench) {
    let (port, topic) = (bench.port(), bench.topic("orders"));
    let under_way: Vec<_> = (0..8).map(|_| port.publish(&topic, event("a"))).collect();
    for publishing in under_way {
        // One whose end is not known is repeated below.
        drop(publishing.await);
    }
    bench.publish("orders", "a").await;
    bench.publish("orders", "b").await;
    assert_eq!(bench.held("orders").await, ["a", "b"]);
}

pub async fn the_same_id_of_another_source_or_topic_is_another_event(bench: &Bench) {
    for source in ["/one", "/two"] {
        let published = bench.publish_event("orders", &of(source, "a")).await;
        published.unwrap();
    }
    bench
        .publish_event("bills", &of("/one", "a"))
        .await
        .unwrap();
    assert_eq!(bench.held("orders").await, ["a", "a"]);
    assert_eq!(bench.held("bills").await, ["a"]);
}

pub async fn an_id_is_forgotten_after_its_window(bench: &Bench) {
    let window = Settings::default().id_window;
    let first = bench.publish("orders", "a").await;
    bench.elapse_almost(window).await;
    assert_eq!(bench.publish("orders", "a").await.offset, first.offset);
    bench.elapse_until_late().await;
    let second = bench.publish("orders", "a").await;
    assert!(second.offset > first.offset);
    assert_eq!(bench.held("orders").await, ["a", "a"]);
}

pub async fn an_id_above_the_bound_is_refused_and_none_is_forgotten_early(bench: &Bench) {
    let Settings {
        max_ids, id_window, ..
    } = Settings::default();
    for number in 0..max_ids {
        bench.publish("orders", &number.to_string()).await;
    }
    let refused = bench.publish_event("orders", &event("more")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyRequestIds);
    assert!(refused.retry_after.unwrap() <= id_window);
    assert!(bench.publish("orders", "0").await.duplicate);
    bench.elapse(id_window).await;
    bench.elapse_until_late().await;
    bench.publish("orders", "more").await;
    assert_eq!(bench.held("orders").await.len(), max_ids + 1);
}

pub async fn events_without_an_id_are_never_taken_for_repeats(bench: &Bench) {
    let (port, topic) = (bench.port(), bench.topic("orders"));
    let mut places = Vec::new();
    for _ in 0..20 {
        if let Ok(published) = port.publish(&topic, of("/suite", "")).await {
            assert!(!published.duplicate);
            places.push(published.offset);
        }
    }
    let mut reader = bench.reader("orders", Start::Earliest).await;
    let mut told = Vec::new();
    while let Heard::Events(events) = reader.next(ALL).await {
        assert!(events.iter().all(|it| it.event.id().is_none()));
        told.extend(events.iter().map(|it| it.offset));
    }
    assert!(told.is_sorted() && places.len() > 10);
    told.retain(|place| places.contains(place));
    assert_eq!(told, places);
}
