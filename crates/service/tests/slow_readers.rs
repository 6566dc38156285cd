//! Streams of locks that nobody reads: they hold up themselves and nobody else.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::time::Duration;
use support::serve;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_client::{Client, Locks};
use trellis_conformance::grpc::PipeServer;
use trellis_conformance::spawn;
use trellis_proto::v1::lock_service_client::LockServiceClient;
use trellis_proto::v1::lock_service_session_request::Request;
use trellis_proto::v1::{self, LockServiceSessionRequest, LockServiceSessionResponse};

const TTL: Duration = Duration::from_secs(3);

fn locks(server: &PipeServer) -> Locks {
    Client::from_channel(server.channel().0).locks()
}

fn span(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap()
}

fn target(name: String) -> v1::LockTarget {
    v1::LockTarget { name, mode: 0 }
}

/// A session of which nobody reads an answer.
struct Unread {
    requests: mpsc::Sender<LockServiceSessionRequest>,
    _answers: Streaming<LockServiceSessionResponse>,
}

impl Unread {
    async fn open(server: &PipeServer) -> Self {
        let (requests, queue) = mpsc::channel(1_024);
        let mut stub = LockServiceClient::new(server.channel().0);
        let open = Request::Open(v1::LockSessionOpen {
            ttl: Some(span(TTL)),
            ..Default::default()
        });
        requests.send(message(0, open)).await.unwrap();
        let answers = stub.session(ReceiverStream::new(queue)).await.unwrap();
        Self {
            requests,
            _answers: answers.into_inner(),
        }
    }

    async fn acquire(&self, id: u64, locks: Vec<String>, wait: Duration) {
        let acquire = Request::Acquire(v1::LockSessionAcquire {
            locks: locks.into_iter().map(target).collect(),
            max_wait: Some(span(wait)),
            ..Default::default()
        });
        self.requests.send(message(id, acquire)).await.unwrap();
    }
}

fn message(id: u64, request: Request) -> LockServiceSessionRequest {
    let request = Some(request);
    LockServiceSessionRequest { id, request }
}

/// As many bytes of states.
const CYCLES: usize = 1_500;

/// So many bytes of answers that no buffer between the two ends takes them.
const GRANTS: u64 = 600;

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_reads_holds_up_nobody_else() {
    let server = serve();
    let (first, second) = (locks(&server), locks(&server));
    let guard = first.lock("job").acquire().await.unwrap();
    let guard = guard.granted().unwrap();
    let slow = Unread::open(&server).await;
    slow.acquire(1, vec!["job".into()], Duration::from_mins(1))
        .await;
    while first.inspect("job").await.unwrap().waiters == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    for id in 2..GRANTS {
        let many = (0..32)
            .map(|number| format!("{id}-{number:0>200}"))
            .collect();
        slow.acquire(id, many, Duration::ZERO).await;
    }
    let began = Instant::now();
    for _ in 0..100 {
        let guard = second.lock("another").acquire().await.unwrap();
        guard.granted().unwrap().release().await.unwrap();
    }
    // Its own turn comes as well, and is over at its deadline, since no renewal of it is read either.
    let waits = second.lock("job").max_wait(Duration::from_mins(1));
    let waits = spawn(async move { waits.acquire().await.unwrap().granted().unwrap().token() });
    let token = guard.token();
    guard.release().await.unwrap();
    assert!(waits.await.unwrap() > token);
    assert!(began.elapsed() <= TTL + Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nobody_reads_holds_up_nobody_and_ends_with_the_last_state() {
    let server = serve();
    let locks = locks(&server);
    let mut stub = LockServiceClient::new(server.channel().0);
    let watch = v1::LockServiceWatchRequest {
        name: "job".into(),
        ..Default::default()
    };
    let mut states = stub.watch(watch).await.unwrap().into_inner();
    let began = Instant::now();
    for number in 0..CYCLES {
        let value = vec![u8::try_from(number % 100).unwrap(); 4_096];
        let guard = locks.lock("job").value(value).acquire().await.unwrap();
        guard.granted().unwrap().release().await.unwrap();
    }
    let last = locks.lock("job").value("last").acquire().await.unwrap();
    let _last = last.granted().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    let mut count = 0_usize;
    loop {
        let state = states.message().await.unwrap().unwrap().lock.unwrap();
        count += 1;
        if state.holders.first().is_some_and(|it| it.value == "last") {
            break;
        }
    }
    assert!(count < 2 * CYCLES, "{count} states: none was passed over");
}
