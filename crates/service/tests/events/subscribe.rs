//! Subscribing and reading.

use crate::bench::{Bench, Duplex, earliest, event, field, from, number, numbered, seconds};
use std::time::Duration;
use tokio::time::sleep;
use trellis_conformance::grpc;
use trellis_proto::v1;
use trellis_proto::v1::event_service_client::EventServiceClient;
use v1::event_service_subscribe_request::Request;
use v1::event_service_subscribe_response::Response;

type Stream = Duplex<v1::EventServiceSubscribeRequest, v1::EventServiceSubscribeResponse>;

impl Stream {
    async fn new(bench: &Bench) -> Self {
        let (requests, outgoing) = Self::outgoing();
        let answers = bench.stub.clone().subscribe(outgoing).await;
        let answers = answers.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn open(bench: &Bench, open: v1::SubscriptionOpen) -> Self {
        let stream = Self::new(bench).await;
        stream.ask(Request::Open(open)).await;
        stream
    }

    async fn ask(&self, request: Request) {
        let request = Some(request);
        self.send(v1::EventServiceSubscribeRequest { request })
            .await;
    }

    async fn grant(&self, events: i64, bytes: i64) {
        self.ask(Request::Credit(v1::EventCredit { events, bytes }))
            .await;
    }

    async fn told(&mut self) -> Response {
        self.next().await.response.unwrap()
    }

    /// The numbers of the next page.
    async fn numbers(&mut self) -> Vec<usize> {
        match self.told().await {
            Response::Events(page) => page.events.iter().map(number).collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn caught_up(&mut self) -> v1::EventPosition {
        match self.told().await {
            Response::CaughtUp(position) => position,
            other => panic!("{other:?}"),
        }
    }
}

fn open(start: Option<v1::EventStart>) -> v1::SubscriptionOpen {
    v1::SubscriptionOpen {
        topic: "orders".into(),
        start,
        ..Default::default()
    }
}

fn credit(events: i64, bytes: i64) -> Option<v1::EventCredit> {
    Some(v1::EventCredit { events, bytes })
}

#[tokio::test(start_paused = true)]
async fn all_that_stands_is_told_and_then_all_that_comes() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..3).await;
    let mut stream = Stream::open(&bench, open(earliest())).await;
    assert_eq!(stream.numbers().await, [0, 1, 2]);
    assert_eq!(stream.caught_up().await.behind, 0);
    bench.publish_numbers("orders", 3..4).await;
    assert_eq!(stream.numbers().await, [3]);
    let mut latest = Stream::open(&bench, open(None)).await;
    let position = latest.caught_up().await;
    bench.publish_numbers("orders", 4..5).await;
    assert_eq!(latest.numbers().await, [4]);
    let mut again = Stream::open(&bench, open(from(position.cursor))).await;
    assert_eq!(again.numbers().await, [4]);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_sent_than_was_granted() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..9).await;
    let mut two = open(earliest());
    two.credit = credit(2, 0);
    let mut stream = Stream::open(&bench, two).await;
    assert_eq!(stream.numbers().await, [0, 1]);
    stream.grant(3, 0).await;
    assert_eq!(stream.numbers().await, [2, 3, 4]);
    // Each event has 16 bytes: the first takes 6 more than there are, which the next grant pays.
    let size = 16;
    let mut few = open(earliest());
    few.credit = credit(100, size - 6);
    let mut bytes = Stream::open(&bench, few).await;
    assert_eq!(bytes.numbers().await, [0]);
    bytes.grant(0, 6).await;
    bytes.grant(0, 2 * size).await;
    assert_eq!(bytes.numbers().await, [1, 2]);
    bytes.end();
    bytes.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_ended_its_side_gets_what_its_credit_allows() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..2).await;
    let mut three = open(earliest());
    three.credit = credit(3, 0);
    let mut stream = Stream::open(&bench, three).await;
    stream.end();
    assert_eq!(stream.numbers().await, [0, 1]);
    stream.caught_up().await;
    bench.publish_numbers("orders", 2..9).await;
    assert_eq!(stream.numbers().await, [2]);
    stream.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn the_position_is_told_while_nothing_is_sent() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..3).await;
    let mut none = open(earliest());
    none.filter = Some(v1::EventFilter {
        types: vec![v1::EventPattern {
            pattern: Some(v1::event_pattern::Pattern::Prefix("refund.".into())),
        }],
        ..Default::default()
    });
    none.heartbeat = seconds(2);
    let mut stream = Stream::open(&bench, none).await;
    let position = stream.caught_up().await;
    assert_eq!(position.behind, 0);
    let before = tokio::time::Instant::now();
    bench.publish_numbers("orders", 3..4).await;
    let Response::Heartbeat(heartbeat) = stream.told().await else {
        panic!("no heartbeat");
    };
    assert_eq!(before.elapsed().as_secs(), 2);
    assert_ne!(heartbeat.cursor, position.cursor);
    assert!(heartbeat.scope.is_some());
}

#[tokio::test(start_paused = true)]
async fn gaps_are_told_with_their_reason() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..5).await;
    let mut first = open(earliest());
    first.credit = credit(1, 0);
    let mut stream = Stream::open(&bench, first).await;
    assert_eq!(stream.numbers().await, [0]);
    bench.fake.trim(3);
    stream.grant(10, 0).await;
    let Response::Gap(gap) = stream.told().await else {
        panic!("no gap");
    };
    assert_eq!(gap.reason(), v1::EventGapReason::Retention);
    assert_eq!(stream.numbers().await, [3, 4]);
    let mut again = Stream::open(&bench, open(from(gap.cursor))).await;
    assert_eq!(again.numbers().await, [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_a_subscription_with_the_place_to_go_on() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..3).await;
    let mut two = open(earliest());
    two.credit = credit(2, 0);
    let mut stream = Stream::open(&bench, two).await;
    assert_eq!(stream.numbers().await, [0, 1]);
    bench.drain.cancel();
    let Response::Draining(draining) = stream.told().await else {
        panic!("not told");
    };
    stream.expect_end().await;
    let bounds = trellis_service::EventBounds::default();
    let (services, _) = crate::bench::services(&bench.fake, bounds);
    let next = Bench {
        stub: EventServiceClient::new(grpc::channel(services)),
        ..bench
    };
    let mut stream = Stream::open(&next, open(from(draining.resume))).await;
    assert_eq!(stream.numbers().await, [2]);
    next.fake.close();
    let last = loop {
        if let Response::Draining(draining) = stream.told().await {
            break draining;
        }
    };
    assert!(!last.resume.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_harms_nobody() {
    let bench = Bench::new();
    let large = v1::Event {
        data: vec![0; 100_000].into(),
        ..event()
    };
    let mut all = open(earliest());
    all.credit = credit(1_000, 64 * 1024 * 1024);
    let mut slow = Stream::open(&bench, all).await;
    slow.caught_up().await;
    for _ in 0..100 {
        bench.publish("orders", large.clone()).await;
    }
    let mut quick = Stream::open(&bench, open(None)).await;
    quick.caught_up().await;
    bench.publish_numbers("orders", 100..101).await;
    assert_eq!(quick.numbers().await, [100]);
    let mut seen = 0;
    while seen < 101 {
        if let Response::Events(page) = slow.told().await {
            seen += page.events.len();
        }
    }
}

async fn refused(bench: &Bench, first: Request, then: Option<Request>) -> String {
    let mut stream = Stream::new(bench).await;
    stream.ask(first).await;
    if let Some(then) = then {
        stream.ask(then).await;
    }
    field::<()>(Err(stream.expect_error().await))
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_is_refused_by_its_path() {
    let bench = Bench::new();
    let bad = async |change: fn(&mut v1::SubscriptionOpen)| {
        let mut open = open(None);
        change(&mut open);
        refused(&bench, Request::Open(open), None).await
    };
    assert_eq!(bad(|it| it.namespace = "\n".into()).await, "open.namespace");
    assert_eq!(bad(|it| it.topic.clear()).await, "open.topic");
    assert_eq!(
        bad(|it| it.start = from("cursor")).await,
        "open.start.cursor"
    );
    assert_eq!(
        bad(|it| it.credit = credit(-1, 0)).await,
        "open.credit.events"
    );
    assert_eq!(
        bad(|it| it.credit = credit(0, i64::MAX)).await,
        "open.credit.bytes"
    );
    assert_eq!(bad(|it| it.heartbeat = seconds(0)).await, "open.heartbeat");
    assert_eq!(
        bad(|it| it.heartbeat = seconds(301)).await,
        "open.heartbeat"
    );
    let edge = bad(|it| {
        let start = Some(v1::event_start::Start::Edge(9));
        it.start = Some(v1::EventStart { start });
    });
    assert_eq!(edge.await, "open.start.edge");
    let time = bad(|it| {
        let time = prost_types::Timestamp {
            seconds: -1,
            nanos: 0,
        };
        let start = Some(v1::event_start::Start::Time(time));
        it.start = Some(v1::EventStart { start });
    });
    assert_eq!(time.await, "open.start.time");
}

#[tokio::test(start_paused = true)]
async fn whatever_is_wrong_in_a_filter_is_refused_by_its_path() {
    let bench = Bench::new();
    let bad = async |change: fn(&mut v1::SubscriptionOpen)| {
        let mut open = open(None);
        change(&mut open);
        refused(&bench, Request::Open(open), None).await
    };
    let none = bad(|it| {
        let types = vec![v1::EventPattern::default()];
        it.filter = Some(v1::EventFilter {
            types,
            ..Default::default()
        });
    });
    assert_eq!(none.await, "open.filter.types[0]");
    let many = bad(|it| {
        let pattern = Some(v1::event_pattern::Pattern::Exact("x".into()));
        let sources = vec![v1::EventPattern { pattern }; 65];
        it.filter = Some(v1::EventFilter {
            sources,
            ..Default::default()
        });
    });
    assert_eq!(many.await, "open.filter.sources");
    let long = bad(|it| {
        let pattern = Some(v1::event_pattern::Pattern::Prefix("x".repeat(1_025)));
        let subjects = vec![v1::EventPattern { pattern }];
        it.filter = Some(v1::EventFilter {
            subjects,
            ..Default::default()
        });
    });
    assert_eq!(long.await, "open.filter.subjects[0].prefix");
    let attribute = bad(|it| {
        let attributes = vec![v1::EventAttributePattern::default()];
        it.filter = Some(v1::EventFilter {
            attributes,
            ..Default::default()
        });
    });
    assert_eq!(attribute.await, "open.filter.attributes[0].name");
}

#[tokio::test(start_paused = true)]
async fn a_message_out_of_turn_or_out_of_bounds_is_refused() {
    let bench = Bench::new();
    let opened = || Request::Open(open(None));
    let granted = |events| Request::Credit(v1::EventCredit { events, bytes: 0 });
    assert_eq!(refused(&bench, granted(1), None).await, "request");
    assert_eq!(refused(&bench, opened(), Some(opened())).await, "request");
    assert_eq!(
        refused(&bench, opened(), Some(granted(-1))).await,
        "credit.events"
    );
    assert_eq!(
        refused(&bench, opened(), Some(granted(100_000))).await,
        "credit.events"
    );
}

fn read(start: Option<v1::EventStart>) -> v1::EventServiceReadRequest {
    v1::EventServiceReadRequest {
        topic: "orders".into(),
        start,
        ..Default::default()
    }
}

async fn reading(bench: &Bench, read: v1::EventServiceReadRequest) -> v1::EventServiceReadResponse {
    bench.stub.clone().read(read).await.unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_where_the_one_before_ended() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..5).await;
    let mut two = read(earliest());
    two.max_events = 2;
    let (mut numbers, mut caught_up) = (Vec::new(), false);
    while !caught_up {
        let page = reading(&bench, two.clone()).await;
        numbers.extend(page.events.iter().map(number));
        two.start = from(page.cursor);
        caught_up = page.caught_up;
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let empty = reading(&bench, two).await;
    assert!(empty.events.is_empty() && empty.caught_up && empty.gap.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_the_first_event_and_no_longer_than_asked() {
    let bench = Bench::new();
    let mut waits = read(None);
    waits.max_wait = seconds(10);
    let begun = tokio::time::Instant::now();
    let none = reading(&bench, waits.clone()).await;
    assert!(none.events.is_empty() && none.caught_up);
    assert_eq!(begun.elapsed().as_secs(), 10);
    let publishing = async {
        sleep(Duration::from_secs(3)).await;
        bench.publish("orders", numbered(7)).await;
    };
    let (page, ()) = tokio::join!(reading(&bench, waits.clone()), publishing);
    assert_eq!(page.events.iter().map(number).collect::<Vec<_>>(), [7]);
    let mut short = tonic::Request::new(waits);
    short.set_timeout(Duration::from_secs(1));
    let none = bench.stub.clone().read(short).await.unwrap().into_inner();
    assert!(none.events.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_never_too_large_for_a_stock_client() {
    let bench = Bench::new();
    for _ in 0..6 {
        let large = v1::Event {
            data: vec![0; 1024 * 1024].into(),
            ..event()
        };
        bench.publish("orders", large).await;
    }
    let (mut seen, mut next) = (0, read(earliest()));
    next.max_events = 1_000;
    while seen < 6 {
        let page = reading(&bench, next.clone()).await;
        assert!(prost::Message::encoded_len(&page) < trellis_proto::MAX_MESSAGE_BYTES);
        assert!(!page.events.is_empty());
        seen += page.events.len();
        next.start = from(page.cursor);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_tells_a_gap_and_refuses_what_is_out_of_bounds() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..5).await;
    let first = bench.publish("orders", numbered(5)).await;
    bench.fake.trim(8);
    bench.publish_numbers("orders", 6..9).await;
    let page = reading(&bench, read(from(first.cursor))).await;
    assert_eq!(page.gap.unwrap().reason(), v1::EventGapReason::Retention);
    assert_eq!(page.events.iter().map(number).collect::<Vec<_>>(), [8]);

    let bad = async |change: fn(&mut v1::EventServiceReadRequest)| {
        let mut read = read(None);
        change(&mut read);
        field(bench.stub.clone().read(read).await)
    };
    assert_eq!(bad(|it| it.max_events = -1).await, "max_events");
    assert_eq!(bad(|it| it.max_events = 1_001).await, "max_events");
    assert_eq!(bad(|it| it.max_wait = seconds(61)).await, "max_wait");
    assert_eq!(bad(|it| it.max_wait = seconds(-1)).await, "max_wait");
    assert_eq!(bad(|it| it.topic.clear()).await, "topic");
    assert_eq!(bad(|it| it.start = from("")).await, "start.cursor");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_waits_ends_when_the_daemon_drains() {
    let bench = Bench::new();
    let mut waits = read(None);
    waits.max_wait = seconds(10);
    let drain = async {
        sleep(Duration::from_secs(3)).await;
        bench.drain.cancel();
    };
    let mut stub = bench.stub.clone();
    let (refused, ()) = tokio::join!(stub.read(waits), drain);
    assert_eq!(crate::bench::reason(refused), "DRAINING");
}
