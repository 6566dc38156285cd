//! Topics: what they keep, and their list.

use crate::bench::{Bench, event, field, seconds};
use trellis_proto::v1;

fn set(topic: &str, retention: v1::EventRetention) -> v1::EventServiceSetTopicRequest {
    v1::EventServiceSetTopicRequest {
        topic: topic.into(),
        retention: Some(retention),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_says_what_it_keeps_and_holds() {
    let bench = Bench::new();
    let mut stub = bench.stub.clone();
    let get = v1::EventServiceGetTopicRequest {
        topic: "orders".into(),
        ..Default::default()
    };
    let empty = stub.get_topic(get.clone()).await.unwrap().into_inner();
    let empty = empty.topic.unwrap();
    assert_eq!(
        (empty.namespace.as_str(), empty.name.as_str()),
        ("default", "orders")
    );
    assert!(empty.oldest_cursor.is_empty() && empty.oldest_time.is_none());
    assert!(!empty.end_cursor.is_empty());
    let retention = v1::EventRetention {
        max_age: seconds(60),
        max_bytes: 1024 * 1024,
        max_events: 5,
    };
    let set = stub.set_topic(set("orders", retention)).await.unwrap();
    assert_eq!(set.into_inner().topic.unwrap().retention, Some(retention));
    bench.publish("orders", event()).await;
    let one = stub.get_topic(get).await.unwrap().into_inner();
    assert!(one.scope.is_some());
    let one = one.topic.unwrap();
    assert_eq!((one.event_count, one.byte_count), (1, 15));
    assert_eq!(one.oldest_cursor, empty.end_cursor);
    assert_eq!(one.newest_time, one.oldest_time);
}

#[tokio::test(start_paused = true)]
async fn topics_are_listed_by_name_and_a_token_belongs_to_its_list() {
    let bench = Bench::new();
    let mut stub = bench.stub.clone();
    for topic in ["c", "a", "b"] {
        bench.publish(topic, event()).await;
    }
    let list = |page_token: &str| v1::EventServiceListTopicsRequest {
        page_size: 2,
        page_token: page_token.into(),
        ..Default::default()
    };
    let names = |page: &v1::EventServiceListTopicsResponse| {
        let names = page.topics.iter().map(|topic| topic.name.clone());
        names.collect::<Vec<_>>()
    };
    let first = stub.list_topics(list("")).await.unwrap().into_inner();
    assert_eq!(names(&first), ["a", "b"]);
    let rest = stub
        .list_topics(list(&first.next_page_token))
        .await
        .unwrap();
    let rest = rest.into_inner();
    assert_eq!(
        (names(&rest), rest.next_page_token.as_str()),
        (vec!["c".into()], "")
    );
    for foreign in [
        "topics/other/b",
        "groups/default/a/b",
        "b",
        "topics/default/",
    ] {
        assert_eq!(field(stub.list_topics(list(foreign)).await), "page_token");
    }
    let mut large = list("");
    large.page_size = 1_001;
    assert_eq!(field(stub.list_topics(large).await), "page_size");
}

#[tokio::test(start_paused = true)]
async fn what_is_out_of_bounds_is_refused_by_its_path() {
    let bench = Bench::new();
    let mut stub = bench.stub.clone();
    let small = v1::EventRetention {
        max_bytes: 5,
        ..Default::default()
    };
    let refused = stub.set_topic(set("orders", small)).await;
    assert_eq!(field(refused), "retention.max_bytes");
    let nameless = stub.set_topic(set("", v1::EventRetention::default())).await;
    assert_eq!(field(nameless), "topic");
    let get = v1::EventServiceGetTopicRequest {
        namespace: "a\nb".into(),
        topic: "orders".into(),
    };
    assert_eq!(field(stub.get_topic(get).await), "namespace");
}
