//! The grammar of the Fetch stream, and its bounds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Streaming};
use tonic_types::StatusExt as _;
use trellis_conformance::cache::Settings;
use trellis_conformance::grpc;
use trellis_proto::v1;
use trellis_proto::v1::cache_service_client::CacheServiceClient;
use v1::fetch_request::Request as Asked;
use v1::fetch_response::Response as Answered;
use v1::key_answer::Answer;

struct Stream {
    requests: mpsc::Sender<v1::FetchRequest>,
    answers: Streaming<v1::FetchResponse>,
}

impl Stream {
    async fn new(stub: &CacheServiceClient<tonic::transport::Channel>) -> Self {
        let (requests, receiver) = mpsc::channel(8);
        let stream = Request::new(ReceiverStream::new(receiver));
        let answers = stub.clone().fetch(stream).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn open(stub: &CacheServiceClient<tonic::transport::Channel>) -> Self {
        let stream = Self::new(stub).await;
        stream.ask(0, Asked::Open(v1::StreamOpen::default())).await;
        stream
    }

    async fn ask(&self, id: u64, request: Asked) {
        let request = Some(request);
        let sent = self.requests.send(v1::FetchRequest { id, request });
        sent.await.unwrap();
    }

    async fn fetch(&self, id: u64, keys: &[&str]) {
        let keys = keys.iter().map(ToString::to_string).collect();
        let fetch = v1::FetchKeys {
            keys,
            ..v1::FetchKeys::default()
        };
        self.ask(id, Asked::Fetch(fetch)).await;
    }

    async fn answer(&mut self) -> (u64, Answered) {
        let answer = self.answers.message().await.unwrap().unwrap();
        (answer.id, answer.response.unwrap())
    }

    async fn key(&mut self, id: u64) -> (Vec<u32>, Answer) {
        match self.answer().await {
            (answered, Answered::Key(key)) if answered == id => (key.indexes, key.answer.unwrap()),
            other => panic!("not an answer to a key of {id}: {other:?}"),
        }
    }

    async fn lease(&mut self, id: u64) -> i64 {
        match self.key(id).await.1 {
            Answer::Lease(lease) => lease.lease,
            other => panic!("no lease but {other:?}"),
        }
    }

    async fn refused_field(&mut self, id: u64) -> String {
        match self.answer().await {
            (answered, Answered::Error(status)) if answered == id => field_of(&status),
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn field_of(status: &tonic_types::Status) -> String {
    use prost::Message as _;
    let code = Code::from_i32(status.code);
    let details = status.encode_to_vec().into();
    let status = tonic::Status::with_details(code, "", details);
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations[0]
        .field
        .clone()
}

fn daemon() -> (
    CacheServiceClient<tonic::transport::Channel>,
    CancellationToken,
) {
    let (services, drain) = support::caching(Settings::default());
    (CacheServiceClient::new(grpc::channel(services)), drain)
}

#[tokio::test(start_paused = true)]
async fn the_first_message_must_be_open_and_only_the_first() {
    let (stub, _) = daemon();
    let mut stream = Stream::new(&stub).await;
    stream.fetch(1, &["k"]).await;
    let status = stream.answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let mut stream = Stream::open(&stub).await;
    stream.ask(7, Asked::Open(v1::StreamOpen::default())).await;
    assert_eq!(stream.refused_field(7).await, "request");
    stream.fetch(8, &["k"]).await;
    stream.lease(8).await;
}

#[tokio::test(start_paused = true)]
async fn equal_keys_have_one_answer_with_all_their_places() {
    let (stub, _) = daemon();
    let mut stream = Stream::open(&stub).await;
    stream.fetch(1, &["a", "b", "a", "a"]).await;
    let mut places = vec![stream.key(1).await.0, stream.key(1).await.0];
    places.sort();
    assert_eq!(places, [vec![0, 2, 3], vec![1]]);
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused_by_field_and_do_not_end_the_stream() {
    let (stub, _) = daemon();
    let mut stream = Stream::open(&stub).await;
    let many: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    stream.fetch(1, &many).await;
    assert_eq!(stream.refused_field(1).await, "fetch.keys");
    stream.fetch(2, &["a", ""]).await;
    assert_eq!(stream.refused_field(2).await, "fetch.keys[1]");
    stream.fetch(3, &["held"]).await;
    let lease = stream.lease(3).await;
    stream.fetch(3, &["again"]).await;
    assert_eq!(stream.refused_field(3).await, "id");
    let fill = v1::FillRequest {
        lease,
        value: vec![0; 1024 * 1024 + 1].into(),
        ..v1::FillRequest::default()
    };
    stream.ask(4, Asked::Fill(fill)).await;
    assert_eq!(stream.refused_field(4).await, "value");
    let fill = v1::FillRequest {
        lease,
        ..v1::FillRequest::default()
    };
    stream.ask(5, Asked::Fill(fill)).await;
    let (5, Answered::Fill(filled)) = stream.answer().await else {
        panic!("the lease was left as it was");
    };
    assert_eq!(filled.lease_end, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_fetch_leaves_its_lines_and_gives_its_leases_up() {
    let (stub, _) = daemon();
    let (mut holder, mut other) = (Stream::open(&stub).await, Stream::open(&stub).await);
    holder.fetch(1, &["k"]).await;
    holder.lease(1).await;
    other.fetch(1, &["k", "own"]).await;
    let answers = [other.key(1).await.1, other.key(1).await.1];
    assert!(matches!(answers, [Answer::Computing(_), Answer::Lease(_)]));
    other.ask(1, Asked::Cancel(v1::CancelFetch {})).await;
    assert!(matches!(other.key(1).await.1, Answer::Error(_)));
    holder.fetch(2, &["own"]).await;
    holder.lease(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_gives_its_leases_up_unless_they_are_detached() {
    let (stub, _) = daemon();
    let mut holder = Stream::open(&stub).await;
    holder.fetch(1, &["attached"]).await;
    holder.lease(1).await;
    let fetch = v1::FetchKeys {
        keys: vec!["detached".into()],
        detached: true,
        ..v1::FetchKeys::default()
    };
    holder.ask(2, Asked::Fetch(fetch)).await;
    let lease = holder.lease(2).await;
    let mut waiter = Stream::open(&stub).await;
    waiter.fetch(1, &["attached"]).await;
    waiter.key(1).await;
    drop(holder);
    waiter.lease(1).await;
    let fill = v1::FillRequest {
        lease,
        value: "v".into(),
        ..v1::FillRequest::default()
    };
    let filled = stub.clone().fill(fill).await.unwrap().into_inner();
    assert_eq!(filled.lease_end, 0);
}

#[tokio::test(start_paused = true)]
async fn a_draining_daemon_ends_waits_and_says_so_last() {
    let (stub, drain) = daemon();
    let (mut holder, mut waiter) = (Stream::open(&stub).await, Stream::open(&stub).await);
    holder.fetch(1, &["k"]).await;
    holder.lease(1).await;
    waiter.fetch(1, &["k"]).await;
    waiter.key(1).await;
    drain.cancel();
    assert!(matches!(waiter.key(1).await.1, Answer::Error(_)));
    let (0, Answered::Draining(_)) = waiter.answer().await else {
        panic!("the last message says why");
    };
    assert!(waiter.answers.message().await.unwrap().is_none());
    let (0, Answered::Draining(_)) = holder.answer().await else {
        panic!("the last message says why");
    };
}
