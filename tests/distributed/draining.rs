//! A daemon that is told to end while it holds sessions and calls wait at it: sessions go on at another daemon, calls are
//! told, and nobody else waits for what has ended with it.

use crate::locks::daemons_with;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic_types::StatusExt as _;
use trellis_proto::v1::lock_service_client::LockServiceClient;
use trellis_proto::v1::lock_service_session_request::Request;
use trellis_proto::v1::lock_service_session_response::Response;
use trellis_proto::v1::{self, LockServiceSessionRequest, LockServiceSessionResponse};
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

const PATIENCE: Duration = Duration::from_secs(30);

/// Far longer than anything below may take.
const TTL_SECONDS: i64 = 600;

struct Session {
    requests: mpsc::Sender<LockServiceSessionRequest>,
    answers: Streaming<LockServiceSessionResponse>,
}

impl Session {
    /// Opens a session, or attaches to one by its secret.
    async fn open(daemon: &Daemon, secret: &str) -> (Self, v1::LockSessionOpened) {
        let (requests, queue) = mpsc::channel(16);
        let mut stub = LockServiceClient::new(daemon.connect().await);
        let open = Request::Open(v1::LockSessionOpen {
            ttl: Some(seconds(TTL_SECONDS)),
            session_secret: secret.to_owned(),
            ..Default::default()
        });
        requests.send(message(0, open)).await.unwrap();
        let answers = stub.session(ReceiverStream::new(queue)).await.unwrap();
        let mut session = Self {
            requests,
            answers: answers.into_inner(),
        };
        let Some(Response::Opened(opened)) = session.next().await else {
            panic!("no session");
        };
        (session, opened)
    }

    async fn next(&mut self) -> Option<Response> {
        let next = timeout(PATIENCE, self.answers.message()).await.unwrap();
        next.unwrap().and_then(|answer| answer.response)
    }

    async fn take(&mut self, lock: &str) -> v1::LockGrant {
        let acquire = Request::Acquire(v1::LockSessionAcquire {
            locks: vec![target(lock)],
            ..Default::default()
        });
        self.requests.send(message(1, acquire)).await.unwrap();
        match self.next().await {
            Some(Response::Granted(granted)) => granted.grant.unwrap(),
            other => panic!("not granted: {other:?}"),
        }
    }
}

fn message(id: u64, request: Request) -> LockServiceSessionRequest {
    let request = Some(request);
    LockServiceSessionRequest { id, request }
}

fn target(name: &str) -> v1::LockTarget {
    let name = name.to_owned();
    v1::LockTarget { name, mode: 0 }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

/// The reason that an error names.
fn reason(status: &tonic::Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

fn acquire(lock: &str) -> v1::LockServiceAcquireRequest {
    v1::LockServiceAcquireRequest {
        locks: vec![target(lock)],
        ttl: Some(seconds(TTL_SECONDS)),
        max_wait: Some(seconds(TTL_SECONDS)),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_daemon_that_ends_hands_its_sessions_over_and_nobody_waits_for_a_lease() {
    let redis = Redis::start().unwrap();
    let mut daemons = daemons_with(&redis, 2).await;
    let (ends, stays) = (daemons.remove(0), daemons.remove(0));
    let (mut session, opened) = Session::open(&ends, "").await;
    let held = session.take("held").await;
    let mut at_stays = LockServiceClient::new(stays.connect().await);
    let mut at_ends = LockServiceClient::new(ends.connect().await);
    let busy = at_stays.acquire(acquire("busy")).await.unwrap();
    let busy = busy.into_inner().grant.unwrap();
    // One call waits at the daemon that ends, and behind it one at the other.
    let told = async { at_ends.acquire(acquire("busy")).await.unwrap_err() };
    let mut behind = at_stays.clone();
    let (mut looks, mut looks_too) = (at_stays.clone(), at_stays.clone());
    let until_waiting = async |looks: &mut LockServiceClient<_>, count| {
        let look = v1::LockServiceInspectRequest {
            name: "busy".to_owned(),
            ..Default::default()
        };
        loop {
            let state = looks.inspect(look.clone()).await.unwrap().into_inner();
            if state.lock.unwrap().waiter_count == count {
                return;
            }
        }
    };
    let (told, next, ended) = tokio::join!(
        told,
        async {
            until_waiting(&mut looks_too, 1).await;
            behind.acquire(acquire("busy")).await.unwrap().into_inner()
        },
        async {
            until_waiting(&mut looks, 2).await;
            let ended = Instant::now();
            ends.signal("TERM");
            // The stream tells that it ends before it does.
            assert!(matches!(session.next().await, Some(Response::Draining(_))));
            assert!(session.next().await.is_none());
            until_waiting(&mut looks, 1).await;
            let release = v1::LockServiceReleaseRequest {
                lease_id: busy.lease_id.clone(),
                ..Default::default()
            };
            at_stays.release(release).await.unwrap();
            ended
        }
    );
    assert_eq!(reason(&told), "DRAINING");
    assert!(next.grant.unwrap().locks[0].token > busy.locks[0].token);
    // Its holder goes on at the other daemon, with what it held.
    let (mut again, state) = Session::open(&stays, &opened.session_secret).await;
    let kept = state.held[0].grant.clone().unwrap();
    assert_eq!((state.held.len(), &kept.lease_id), (1, &held.lease_id));
    let close = Request::Close(v1::LockSessionClose {});
    again.requests.send(message(2, close)).await.unwrap();
    assert!(matches!(again.next().await, Some(Response::Closed(_))));
    let mut stub = LockServiceClient::new(stays.connect().await);
    let after = stub.acquire(acquire("held")).await.unwrap().into_inner();
    assert!(after.grant.unwrap().locks[0].token > kept.locks[0].token);
    let (status, log) = ends.wait();
    assert!(status.success(), "{log}");
    assert!(ended.elapsed() < PATIENCE, "{:?}", ended.elapsed());
}
