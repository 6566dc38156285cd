//! Members of groups.

use crate::bench::{Bench, Duplex, earliest, field, number, of_item, reason, seconds};
use std::time::Duration;
use tokio::time::sleep;
use trellis_proto::v1;
use v1::event_service_consume_request::Request;
use v1::event_service_consume_response::Response;
use v1::event_settle_result::Result as Each;
use v1::event_settlement::Settlement;

type Stream = Duplex<v1::EventServiceConsumeRequest, v1::EventServiceConsumeResponse>;

impl Stream {
    async fn new(bench: &Bench) -> Self {
        let (requests, outgoing) = Self::outgoing();
        let answers = bench.stub.clone().consume(outgoing).await;
        let answers = answers.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn open(bench: &Bench, events: i64) -> Self {
        let stream = Self::new(bench).await;
        stream.ask(0, Request::Open(open(events))).await;
        stream
    }

    async fn ask(&self, id: u64, request: Request) {
        let request = Some(request);
        self.send(v1::EventServiceConsumeRequest { id, request })
            .await;
    }

    async fn settle(&self, id: u64, lease: &str, settlement: Settlement) {
        let settlement = v1::EventSettlement {
            lease_id: lease.into(),
            settlement: Some(settlement),
        };
        self.ask(id, Request::Settle(settlement)).await;
    }

    async fn grant(&self, events: i64) {
        let credit = v1::EventCredit { events, bytes: 0 };
        self.ask(99, Request::Credit(credit)).await;
    }

    async fn told(&mut self) -> (u64, Response) {
        let told = self.next().await;
        (told.id, told.response.unwrap())
    }

    async fn delivery(&mut self) -> v1::EventDelivery {
        match self.told().await {
            (0, Response::Delivery(delivery)) => delivery,
            other => panic!("{other:?}"),
        }
    }

    async fn settled(&mut self) -> (u64, v1::EventSettled) {
        match self.told().await {
            (id, Response::Settled(settled)) => (id, settled),
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&mut self) -> (u64, tonic::Status) {
        match self.told().await {
            (id, Response::Error(status)) => (id, of_item(&status)),
            other => panic!("{other:?}"),
        }
    }
}

fn open(events: i64) -> v1::ConsumerOpen {
    v1::ConsumerOpen {
        topic: "orders".into(),
        group: "billing".into(),
        start: earliest(),
        credit: Some(v1::EventCredit { events, bytes: 0 }),
        ..Default::default()
    }
}

fn ack() -> Settlement {
    Settlement::Ack(v1::EventAck {})
}

fn nack(delay: Option<prost_types::Duration>) -> Settlement {
    Settlement::Nack(v1::EventNack { delay })
}

fn numbered(delivery: &v1::EventDelivery) -> usize {
    number(delivery.event.as_ref().unwrap())
}

async fn group(bench: &Bench) -> v1::EventGroup {
    let get = v1::EventServiceGetGroupRequest {
        topic: "orders".into(),
        group: "billing".into(),
        ..Default::default()
    };
    let group = bench.stub.clone().get_group(get).await.unwrap();
    group.into_inner().group.unwrap()
}

fn receive(max_events: i32) -> v1::EventServiceReceiveRequest {
    v1::EventServiceReceiveRequest {
        topic: "orders".into(),
        group: "billing".into(),
        max_events,
        start: earliest(),
        ..Default::default()
    }
}

async fn receiving(
    bench: &Bench,
    receive: v1::EventServiceReceiveRequest,
) -> Vec<v1::EventDelivery> {
    let received = bench.stub.clone().receive(receive).await.unwrap();
    received.into_inner().deliveries
}

fn settle(settlements: Vec<v1::EventSettlement>) -> v1::EventServiceSettleRequest {
    v1::EventServiceSettleRequest {
        topic: "orders".into(),
        group: "billing".into(),
        settlements,
        ..Default::default()
    }
}

fn said(lease_id: &str, settlement: Option<Settlement>) -> v1::EventSettlement {
    v1::EventSettlement {
        lease_id: lease_id.into(),
        settlement,
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_gets_what_its_credit_allows_and_says_what_it_did() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..5).await;
    let mut stream = Stream::open(&bench, 3).await;
    let mut taken = Vec::new();
    for expected in 0..3 {
        let delivery = stream.delivery().await;
        assert_eq!((numbered(&delivery), delivery.attempt), (expected, 1));
        assert_eq!(delivery.lease_remaining, seconds(30));
        taken.push(delivery.lease_id);
    }
    stream.settle(11, &taken[0], ack()).await;
    assert_eq!(stream.settled().await.0, 11);
    stream.settle(12, &taken[0], ack()).await;
    assert_eq!(stream.settled().await.0, 12);
    stream
        .settle(13, &taken[1], Settlement::Reject(v1::EventReject {}))
        .await;
    assert_eq!(stream.settled().await.0, 13);
    stream.settle(14, &taken[1], nack(None)).await;
    let (id, lost) = stream.refused().await;
    assert_eq!((id, reason::<()>(Err(lost))), (14, "LEASE_LOST".into()));
    let extend = v1::EventExtend { lease: seconds(90) };
    stream
        .settle(15, &taken[2], Settlement::Extend(extend))
        .await;
    assert_eq!(stream.settled().await.1.lease_remaining, seconds(90));
    let group = group(&bench).await;
    assert_eq!((group.leased_count, group.dead_letter_count), (1, 1));
    stream.grant(2).await;
    assert_eq!(numbered(&stream.delivery().await), 3);
    assert_eq!(numbered(&stream.delivery().await), 4);
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_vain_comes_again_with_its_count() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..1).await;
    let mut stream = Stream::open(&bench, 10).await;
    let first = stream.delivery().await;
    stream.settle(1, &first.lease_id, nack(seconds(5))).await;
    stream.settled().await;
    let begun = tokio::time::Instant::now();
    let second = stream.delivery().await;
    assert_eq!((second.attempt, begun.elapsed().as_secs()), (2, 5));
    let third = stream.delivery().await;
    assert_eq!((third.attempt, begun.elapsed().as_secs()), (3, 35));
}

#[tokio::test(start_paused = true)]
async fn a_bad_message_answers_under_its_id_and_the_stream_goes_on() {
    let bench = Bench::new();
    let mut stream = Stream::open(&bench, 1).await;
    let bad = [
        ("request", Request::Open(open(1))),
        (
            "settle.lease_id",
            Request::Settle(said("1F-1", Some(ack()))),
        ),
        ("settle.lease_id", Request::Settle(said("", Some(ack())))),
        ("settle.settlement", Request::Settle(said("1f-1", None))),
        (
            "settle.nack.delay",
            Request::Settle(said("1f-1", Some(nack(seconds(3_601))))),
        ),
        (
            "credit.events",
            Request::Credit(v1::EventCredit {
                events: -1,
                bytes: 0,
            }),
        ),
        (
            "credit.bytes",
            Request::Credit(v1::EventCredit {
                events: 0,
                bytes: i64::MAX,
            }),
        ),
    ];
    for (id, (path, request)) in (1..).zip(bad) {
        stream.ask(id, request).await;
        let (answered, status) = stream.refused().await;
        assert_eq!((answered, field::<()>(Err(status)).as_str()), (id, path));
    }
    stream
        .send(v1::EventServiceConsumeRequest {
            id: 20,
            request: None,
        })
        .await;
    assert_eq!(stream.refused().await.0, 20);
    bench.publish_numbers("orders", 0..1).await;
    assert_eq!(numbered(&stream.delivery().await), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_begin_well_ends() {
    let bench = Bench::new();
    let refused = async |request: Request| {
        let mut stream = Stream::new(&bench).await;
        stream.ask(1, request).await;
        field::<()>(Err(stream.expect_error().await))
    };
    let bad = |change: fn(&mut v1::ConsumerOpen)| {
        let mut open = open(1);
        change(&mut open);
        Request::Open(open)
    };
    assert_eq!(
        refused(Request::Settle(said("1-1", Some(ack())))).await,
        "request"
    );
    assert_eq!(refused(bad(|it| it.group.clear())).await, "open.group");
    assert_eq!(refused(bad(|it| it.topic.clear())).await, "open.topic");
    assert_eq!(
        refused(bad(|it| it.namespace = "\t".into())).await,
        "open.namespace"
    );
    let negative = bad(|it| {
        it.credit = Some(v1::EventCredit {
            events: 0,
            bytes: i64::MIN,
        });
    });
    assert_eq!(refused(negative).await, "open.credit.bytes");
    let cursor = bad(|it| it.start = crate::bench::from("x"));
    assert_eq!(refused(cursor).await, "open.start.cursor");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_group_ends_its_streams() {
    let bench = Bench::new();
    let mut stream = Stream::open(&bench, 1).await;
    stream.grant(0).await;
    while bench
        .stub
        .clone()
        .delete_group(v1::EventServiceDeleteGroupRequest {
            topic: "orders".into(),
            group: "billing".into(),
            ..Default::default()
        })
        .await
        .is_err()
    {}
    let ended = stream.expect_error().await;
    assert_eq!(reason::<()>(Err(ended)), "GROUP_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_so_last_and_leaves_the_leases() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..1).await;
    let mut stream = Stream::open(&bench, 10).await;
    let delivery = stream.delivery().await;
    bench.drain.cancel();
    assert!(matches!(stream.told().await, (0, Response::Draining(_))));
    stream.expect_end().await;
    let mut stub = bench.stub.clone();
    let settled = stub.settle(settle(vec![said(&delivery.lease_id, Some(ack()))]));
    let results = settled.await.unwrap().into_inner().results;
    assert!(matches!(results[0].result, Some(Each::Settled(_))));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_ended_its_side_is_answered_first() {
    let bench = Bench::new();
    bench.publish_numbers("orders", 0..1).await;
    let mut stream = Stream::open(&bench, 10).await;
    let delivery = stream.delivery().await;
    stream.settle(1, &delivery.lease_id, ack()).await;
    stream.end();
    assert_eq!(stream.settled().await.0, 1);
    stream.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_read_holds_few_events_and_gets_none_that_is_over() {
    let bench = Bench::new();
    for number in 0..1_000 {
        let event = v1::Event {
            data: format!("{number:010000}").into(),
            ..crate::bench::event()
        };
        bench.publish("orders", event).await;
    }
    let mut open = open(1_000);
    open.credit = Some(v1::EventCredit {
        events: 1_000,
        bytes: 64 * 1024 * 1024,
    });
    let mut stream = Stream::new(&bench).await;
    stream.ask(0, Request::Open(open)).await;
    assert_eq!(numbered(&stream.delivery().await), 0);
    assert!(group(&bench).await.leased_count < 600);
    tokio::time::advance(Duration::from_secs(31)).await;
    // What was on its way comes; then all comes anew, for nothing was settled.
    let again = loop {
        let delivery = stream.delivery().await;
        if delivery.attempt == 2 {
            break delivery;
        }
    };
    assert_eq!((numbered(&again), again.lease_remaining), (0, seconds(30)));
}

#[tokio::test(start_paused = true)]
async fn unary_calls_do_the_same() {
    let bench = Bench::new();
    assert!(receiving(&bench, receive(0)).await.is_empty());
    bench.publish_numbers("orders", 0..4).await;
    let one = receiving(&bench, receive(0)).await;
    assert_eq!(one.len(), 1);
    let rest = receiving(&bench, receive(1_000)).await;
    assert_eq!(rest.iter().map(numbered).collect::<Vec<_>>(), [1, 2, 3]);
    let mut stub = bench.stub.clone();
    let extend = Settlement::Extend(v1::EventExtend::default());
    let settlements = vec![
        said(&one[0].lease_id, Some(ack())),
        said("nonsense", Some(ack())),
        said("0-0", Some(nack(None))),
        said(&rest[0].lease_id, Some(extend)),
    ];
    let results = stub.settle(settle(settlements)).await.unwrap();
    let results = results.into_inner().results.into_iter();
    let results: Vec<_> = results.map(|it| it.result.unwrap()).collect();
    let [
        Each::Settled(_),
        Each::Error(bad),
        Each::Error(lost),
        Each::Settled(extended),
    ] = &results[..]
    else {
        panic!("{results:?}");
    };
    assert_eq!(field::<()>(Err(of_item(bad))), "settlements[1].lease_id");
    assert_eq!(reason::<()>(Err(of_item(lost))), "LEASE_LOST");
    assert_eq!(extended.lease_remaining, seconds(30));
    for count in [0, 1_001] {
        let refused = stub
            .settle(settle(vec![said("0-0", Some(ack())); count]))
            .await;
        assert_eq!(field(refused), "settlements");
    }
    let mut elsewhere = settle(vec![said("0-0", Some(ack()))]);
    elsewhere.group = "nobody".into();
    assert_eq!(reason(stub.settle(elsewhere).await), "GROUP_NOT_FOUND");
}

#[tokio::test(start_paused = true)]
async fn a_receive_waits_no_longer_than_asked_and_refuses_what_is_out_of_bounds() {
    let bench = Bench::new();
    let mut waits = receive(1);
    waits.max_wait = seconds(10);
    let begun = tokio::time::Instant::now();
    assert!(receiving(&bench, waits.clone()).await.is_empty());
    assert_eq!(begun.elapsed().as_secs(), 10);
    let drain = async {
        sleep(Duration::from_secs(3)).await;
        bench.drain.cancel();
    };
    let mut stub = bench.stub.clone();
    let (refused, ()) = tokio::join!(stub.receive(waits), drain);
    assert_eq!(reason(refused), "DRAINING");
    let bad = async |change: fn(&mut v1::EventServiceReceiveRequest)| {
        let mut receive = receive(1);
        change(&mut receive);
        field(bench.stub.clone().receive(receive).await)
    };
    assert_eq!(bad(|it| it.max_events = 1_001).await, "max_events");
    assert_eq!(bad(|it| it.max_events = -1).await, "max_events");
    assert_eq!(bad(|it| it.max_bytes = -1).await, "max_bytes");
    assert_eq!(bad(|it| it.max_wait = seconds(61)).await, "max_wait");
    assert_eq!(bad(|it| it.group.clear()).await, "group");
    assert_eq!(bad(|it| it.topic.clear()).await, "topic");
    assert_eq!(
        bad(|it| it.start = crate::bench::from("x")).await,
        "start.cursor"
    );
}
