//! What is published stands, in order, once.

use crate::events::prelude::*;
use crate::spawn;

pub async fn events_of_one_task_stand_in_the_order_of_its_calls(bench: &Bench) {
    let mut publishing = Vec::new();
    let events: Vec<Event> = (0..30).map(|number| event(&format!("a{number}"))).collect();
    let (port, topic) = (bench.port(), bench.topic("orders"));
    for event in &events {
        publishing.push(port.publish(&topic, event.clone()));
    }
    let mut acknowledged = Vec::new();
    for (publishing, event) in publishing.into_iter().zip(&events) {
        if publishing.await.is_ok() {
            acknowledged.push(event.id().unwrap().to_owned());
        }
    }
    let held = bench.held("orders").await;
    let found: Vec<_> = held
        .into_iter()
        .filter(|it| acknowledged.contains(it))
        .collect();
    assert_eq!(found, acknowledged);
    assert!(acknowledged.len() > 10);
}

pub async fn an_answer_tells_the_place_and_where_to_go_on(bench: &Bench) {
    let first = bench.publish("orders", "a").await;
    let second = bench.publish("orders", "b").await;
    assert!(second.offset > first.offset);
    assert_eq!(first.durability, bench.port().durability());
    let mut reader = bench.reader("orders", Start::Earliest).await;
    let told = reader.events(room(1)).await.remove(0);
    assert_eq!((told.offset, told.cursor), (first.offset, first.cursor));
    let mut behind = bench.reader("orders", Start::Cursor(first.cursor)).await;
    assert_eq!(behind.take(1).await, ["b"]);
}

pub async fn an_event_is_told_as_it_was_published(bench: &Bench) {
    let whole = Event::new(NewEvent {
        id: "a/1".to_owned(),
        source: "https://example.com/shop".to_owned(),
        kind: "com.example.order.paid".to_owned(),
        subject: "orders/42".to_owned(),
        time: Some(trellis_core::Time(1_790_000_000_123_456)),
        content_type: "application/json".to_owned(),
        schema: "https://example.com/schema".to_owned(),
        ordering_key: "customer é".to_owned(),
        attributes: vec![("region".to_owned(), "eu".to_owned())],
        data: vec![0, 255, 7].into(),
    })
    .unwrap();
    bench.publish_event("orders", &whole).await.unwrap();
    for _ in 0..2 {
        let mut reader = bench.reader("orders", Start::Earliest).await;
        assert_eq!(reader.events(ALL).await[0].event, whole);
    }
}

pub async fn a_publish_whose_caller_has_gone_may_be_repeated(bench: &Bench) {
    let topic = bench.topic("orders");
    drop(bench.port().publish(&topic, event("a")));
    bench.publish("orders", "a").await;
    bench.publish("orders", "b").await;
    assert_eq!(bench.held("orders").await, ["a", "b"]);
}

pub async fn topics_and_namespaces_do_not_see_each_other(bench: &Bench) {
    let beside = bench.beside("other");
    bench.publish("orders", "a").await;
    bench.publish("bills", "b").await;
    beside.publish("orders", "c").await;
    assert_eq!(bench.held("orders").await, ["a"]);
    assert_eq!(bench.held("bills").await, ["b"]);
    assert_eq!(beside.held("orders").await, ["c"]);
}

pub async fn what_many_publish_is_told_to_all_in_one_order(bench: &Bench) {
    let following = bench.reader("orders", Start::Earliest).await;
    let publishers = ["a", "b", "c"].map(|letter| {
        let bench = bench.clone();
        spawn(async move { bench.publish_all("orders", letter, 20).await })
    });
    let follower = spawn(async move {
        let mut following = following;
        following.take(60).await
    });
    let mut published = Vec::new();
    for publisher in publishers {
        published.push(publisher.await.unwrap());
    }
    let told = follower.await.unwrap();
    for ids in published {
        let own: Vec<_> = told.iter().filter(|it| ids.contains(it)).collect();
        assert_eq!(own, ids.iter().collect::<Vec<_>>());
    }
    assert_eq!(bench.held("orders").await, told);
}
