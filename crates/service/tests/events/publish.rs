//! Publishing: one, many, and a stream.

use crate::bench::{Bench, Duplex, event, field, numbered, of_item, publish, reason};
use prost_types::Timestamp;
use trellis_core::{Error, ErrorCode};
use trellis_proto::v1;
use trellis_service::EventBounds;
use v1::event_service_publish_stream_request::Request;
use v1::event_service_publish_stream_response::Response;
use v1::publish_result::Result as Each;

type Stream = Duplex<v1::EventServicePublishStreamRequest, v1::EventServicePublishStreamResponse>;

impl Stream {
    async fn new(bench: &Bench) -> Self {
        let (requests, outgoing) = Self::outgoing();
        let answers = bench.stub.clone().publish_stream(outgoing).await;
        let answers = answers.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn open(bench: &Bench) -> Self {
        let stream = Self::new(bench).await;
        stream
            .ask(0, Request::Open(v1::StreamOpen::default()))
            .await;
        stream
    }

    async fn ask(&self, id: u64, request: Request) {
        let request = Some(request);
        self.send(v1::EventServicePublishStreamRequest { id, request })
            .await;
    }

    async fn answer(&mut self) -> (u64, Response) {
        let answer = self.next().await;
        (answer.id, answer.response.unwrap())
    }

    /// The place of the next event that is answered.
    async fn published(&mut self) -> (u64, i64) {
        match self.answer().await {
            (id, Response::Published(answer)) => (id, answer.published.unwrap().offset),
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&mut self) -> (u64, tonic::Status) {
        match self.answer().await {
            (id, Response::Error(status)) => (id, of_item(&status)),
            other => panic!("{other:?}"),
        }
    }
}

async fn published_field(bench: &Bench, change: impl FnOnce(&mut v1::Event)) -> String {
    let mut event = event();
    change(&mut event);
    field(bench.stub.clone().publish(publish("orders", event)).await)
}

#[tokio::test(start_paused = true)]
async fn what_was_published_is_read_as_it_was() {
    let bench = Bench::new();
    let full = v1::Event {
        id: "1".into(),
        subject: "orders/42".into(),
        time: Some(Timestamp {
            seconds: 7,
            nanos: 8_000,
        }),
        content_type: "application/json".into(),
        schema: "https://example.com/schema".into(),
        ordering_key: "42".into(),
        attributes: [("region".to_owned(), "eu".to_owned())].into(),
        data: "{}".into(),
        ..event()
    };
    let published = bench.publish("orders", full.clone()).await;
    assert_eq!((published.offset, published.duplicate), (0, false));
    assert_eq!(published.durability(), v1::Durability::Volatile);
    let again = bench.publish("orders", full.clone()).await;
    assert_eq!((again.offset, again.duplicate), (0, true));
    bench.publish("orders", event()).await;
    let read = v1::EventServiceReadRequest {
        topic: "orders".into(),
        start: crate::bench::earliest(),
        ..Default::default()
    };
    let read = bench.stub.clone().read(read).await.unwrap().into_inner();
    assert_eq!(read.events.len(), 2);
    assert_eq!(read.events[0].event, Some(full));
    assert_eq!(read.events[0].cursor, published.cursor);
    assert_eq!(read.events[1].event, Some(event()));
}

#[tokio::test(start_paused = true)]
async fn a_bad_field_is_refused_by_its_path() {
    let bench = Bench::new();
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let long = || "x".repeat(1_025);
    assert_eq!(
        published_field(&bench, |it| it.source.clear()).await,
        "event.source"
    );
    assert_eq!(
        published_field(&bench, |it| it.r#type.clear()).await,
        "event.type"
    );
    assert_eq!(
        published_field(&bench, |it| it.id = long()).await,
        "event.id"
    );
    assert_eq!(
        published_field(&bench, |it| it.subject = "\n".into()).await,
        "event.subject"
    );
    assert_eq!(
        published_field(&bench, |it| it.content_type = long()).await,
        "event.content_type"
    );
    assert_eq!(
        published_field(&bench, |it| it.schema = long()).await,
        "event.schema"
    );
    assert_eq!(
        published_field(&bench, |it| it.ordering_key = "x".repeat(257)).await,
        "event.ordering_key"
    );
    assert_eq!(
        published_field(&bench, |it| it.time = time(-1)).await,
        "event.time"
    );
    let large = vec![0; 1024 * 1024 + 1];
    assert_eq!(
        published_field(&bench, |it| it.data = large.into()).await,
        "event.data"
    );
    let odd = [("Region".to_owned(), String::new())];
    assert_eq!(
        published_field(&bench, |it| it.attributes = odd.into()).await,
        "event.attributes"
    );

    let mut stub = bench.stub.clone();
    for topic in ["", "a\tb", "trellis.limits", &"x".repeat(257)] {
        assert_eq!(field(stub.publish(publish(topic, event())).await), "topic");
    }
    let mut elsewhere = publish("orders", event());
    elsewhere.namespace = "\u{0}".into();
    assert_eq!(field(stub.publish(elsewhere).await), "namespace");
    let mut nothing = publish("orders", event());
    nothing.event = None;
    assert_eq!(field(stub.publish(nothing).await), "event.source");
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_each_event_by_itself_and_in_order() {
    let bench = Bench::new();
    let batch = |events| v1::EventServicePublishBatchRequest {
        topic: "orders".into(),
        events,
        ..Default::default()
    };
    let full = Error::new(ErrorCode::TooManyBytes, "full");
    bench.fake.refuse([full]);
    let bad = v1::Event::default();
    let mut stub = bench.stub.clone();
    let answer = stub
        .publish_batch(batch(vec![event(), bad, numbered(1), numbered(2)]))
        .await;
    let results = answer.unwrap().into_inner().results;
    let results: Vec<_> = results.into_iter().map(|it| it.result.unwrap()).collect();
    let [
        Each::Error(full),
        Each::Error(bad),
        Each::Published(first),
        Each::Published(second),
    ] = &results[..]
    else {
        panic!("{results:?}");
    };
    assert_eq!(reason::<()>(Err(of_item(full))), "TOO_MANY_BYTES");
    assert_eq!(field::<()>(Err(of_item(bad))), "events[1].source");
    assert_eq!((first.offset, second.offset), (0, 1));
    for count in [0, 1_001] {
        let refused = stub.publish_batch(batch(vec![event(); count])).await;
        assert_eq!(field(refused), "events");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_publishes_in_order_and_answers_under_the_ids() {
    let bench = Bench::new();
    let mut stream = Stream::open(&bench).await;
    for id in 1..=500 {
        let event = numbered(usize::try_from(id).unwrap());
        stream
            .ask(id, Request::Publish(publish("orders", event)))
            .await;
    }
    for id in 1..=500 {
        let (answered, offset) = stream.published().await;
        assert_eq!((answered, offset), (id, i64::try_from(id).unwrap() - 1));
    }
    stream.end();
    stream.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_item_answers_under_its_id_and_the_stream_goes_on() {
    let bench = Bench::new();
    let mut stream = Stream::open(&bench).await;
    stream
        .ask(1, Request::Open(v1::StreamOpen::default()))
        .await;
    let unknown = Error::new(ErrorCode::OutcomeUnknown, "perhaps");
    let (id, status) = stream.refused().await;
    assert_eq!((id, field::<()>(Err(status))), (1, "request".into()));
    stream
        .send(v1::EventServicePublishStreamRequest {
            id: 2,
            request: None,
        })
        .await;
    assert_eq!(field::<()>(Err(stream.refused().await.1)), "request");
    stream
        .ask(3, Request::Publish(publish("orders", v1::Event::default())))
        .await;
    assert_eq!(field::<()>(Err(stream.refused().await.1)), "event.source");
    stream
        .ask(4, Request::Publish(publish("trellis.x", event())))
        .await;
    assert_eq!(field::<()>(Err(stream.refused().await.1)), "topic");
    bench.fake.refuse([unknown]);
    stream
        .ask(5, Request::Publish(publish("orders", event())))
        .await;
    assert_eq!(
        reason::<()>(Err(stream.refused().await.1)),
        "OUTCOME_UNKNOWN"
    );
    stream
        .ask(6, Request::Publish(publish("orders", event())))
        .await;
    assert_eq!(stream.published().await, (6, 0));
}

#[tokio::test(start_paused = true)]
async fn an_id_in_hand_is_not_taken_twice() {
    let bench = Bench::new();
    bench.fake.hold(true);
    let mut stream = Stream::open(&bench).await;
    for _ in 0..2 {
        stream
            .ask(7, Request::Publish(publish("orders", event())))
            .await;
    }
    let (id, status) = stream.refused().await;
    assert_eq!((id, field::<()>(Err(status))), (7, "id".into()));
    bench.fake.hold(false);
    assert_eq!(stream.published().await, (7, 0));
    stream
        .ask(7, Request::Publish(publish("orders", event())))
        .await;
    assert_eq!(stream.published().await, (7, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_begin_with_open_ends() {
    let bench = Bench::new();
    let mut stream = Stream::new(&bench).await;
    stream
        .ask(1, Request::Publish(publish("orders", event())))
        .await;
    assert_eq!(field::<()>(Err(stream.expect_error().await)), "request");
    let mut odd = Stream::new(&bench).await;
    let namespace = "a\nb".into();
    odd.ask(1, Request::Open(v1::StreamOpen { namespace }))
        .await;
    assert_eq!(field::<()>(Err(odd.expect_error().await)), "namespace");
}

#[tokio::test(start_paused = true)]
async fn the_streams_namespace_counts_where_an_event_names_none() {
    let bench = Bench::new();
    let mut stream = Stream::new(&bench).await;
    let namespace = "shop".into();
    stream
        .ask(0, Request::Open(v1::StreamOpen { namespace }))
        .await;
    for namespace in ["", "other", "", "default"] {
        let mut publish = publish("orders", event());
        publish.namespace = namespace.into();
        stream.ask(1, Request::Publish(publish)).await;
        stream.published().await;
    }
    let mut counts = Vec::new();
    for namespace in ["shop", "other", "default"] {
        let get = v1::EventServiceGetTopicRequest {
            namespace: namespace.into(),
            topic: "orders".into(),
        };
        let state = bench.stub.clone().get_topic(get).await.unwrap();
        counts.push(state.into_inner().topic.unwrap().event_count);
    }
    assert_eq!(counts, [2, 1, 1]);
}

/// How many events a stream takes in hand under bounds, when none is answered.
async fn taken(bounds: EventBounds, event: &v1::Event) -> i64 {
    let bench = Bench::bounded(bounds);
    bench.fake.hold(true);
    let stream = Stream::open(&bench).await;
    for id in 1..=20 {
        stream
            .ask(id, Request::Publish(publish("orders", event.clone())))
            .await;
    }
    // The stream has been read as far as it is when a call on the same connection is answered.
    let get = v1::EventServiceGetTopicRequest {
        topic: "orders".into(),
        ..Default::default()
    };
    let mut count = 0;
    for _ in 0..20 {
        let state = bench.stub.clone().get_topic(get.clone()).await.unwrap();
        count = state.into_inner().topic.unwrap().event_count;
    }
    count
}

#[tokio::test(start_paused = true)]
async fn a_full_stream_is_not_read_further() {
    let few = EventBounds {
        max_stream_in_flight: 5,
        ..EventBounds::default()
    };
    assert_eq!(taken(few, &event()).await, 5);
    let small = EventBounds {
        max_stream_bytes: 3_000,
        ..EventBounds::default()
    };
    let kilobyte = v1::Event {
        data: vec![0; 1_024].into(),
        ..event()
    };
    assert_eq!(taken(small, &kilobyte).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_what_was_accepted_and_says_so_last() {
    let bench = Bench::new();
    bench.fake.hold(true);
    let mut stream = Stream::open(&bench).await;
    for id in [1, 2] {
        stream
            .ask(id, Request::Publish(publish("orders", event())))
            .await;
    }
    let get = v1::EventServiceGetTopicRequest {
        topic: "orders".into(),
        ..Default::default()
    };
    while bench
        .stub
        .clone()
        .get_topic(get.clone())
        .await
        .unwrap()
        .into_inner()
        .topic
        .unwrap()
        .event_count
        < 2
    {}
    bench.drain.cancel();
    bench.fake.hold(false);
    let mut answered = [stream.published().await.0, stream.published().await.0];
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
    assert!(matches!(stream.answer().await, (0, Response::Draining(_))));
    stream.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn streams_have_a_bound() {
    let bench = Bench::bounded(EventBounds {
        max_streams: 2,
        ..EventBounds::default()
    });
    let mut first = Stream::open(&bench).await;
    let _second = Stream::open(&bench).await;
    first
        .ask(1, Request::Publish(publish("orders", event())))
        .await;
    first.published().await;
    let mut stub = bench.stub.clone();
    let (_requests, outgoing) = Stream::outgoing();
    let refused = stub.publish_stream(outgoing).await;
    assert_eq!(reason(refused.map(drop)), "TOO_MANY_STREAMS");
}
