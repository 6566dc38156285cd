//! SIGTERM and SIGINT: every accepted call is answered, then the process ends.

use crate::requests::{acquire, charge, reason, waiting};
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::status_service_client::StatusServiceClient;
use trellis_proto::v1::{self, AcquireStreamRequest};
use trellis_tests::daemon::Daemon;

/// Waits until `condition` holds, by asking again; a daemon that never gets there fails the test.
async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let asked = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked)
        .await
        .expect("never got there");
}

async fn wait_for_waiters(daemon: &Daemon, wanted: i64) {
    let status = StatusServiceClient::new(daemon.connect().await);
    until(|| {
        let mut status = status.clone();
        async move {
            let answer = status
                .get_status(v1::GetStatusRequest {})
                .await
                .unwrap()
                .into_inner();
            answer.limits.unwrap().waiters == wanted
        }
    })
    .await;
}

/// Callers that charge as fast as they are answered; each counts its grants until its first error.
async fn load(
    daemon: &Daemon,
    callers: usize,
    first: mpsc::Sender<()>,
) -> JoinSet<(u64, tonic::Status)> {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let mut client = LimitServiceClient::new(daemon.connect().await);
        let first = first.clone();
        tasks.spawn(async move {
            let mut granted = 0;
            loop {
                match client.acquire(acquire(vec![charge("load", 1)])).await {
                    Ok(_) => granted += 1,
                    Err(status) => return (granted, status),
                }
                if granted == 1 {
                    let _ = first.send(()).await;
                }
            }
        });
    }
    tasks
}

async fn stopped_under_load_by(signal: &str) {
    let daemon = Daemon::start(&[]);
    let mut client = LimitServiceClient::new(daemon.connect().await);
    client
        .acquire(acquire(vec![charge("full", 100)]))
        .await
        .unwrap();
    // 32 unary calls and 32 streamed ones wait for a limit that is used up.
    let mut waiters = JoinSet::new();
    for _ in 0..32 {
        let mut client = client.clone();
        waiters.spawn(async move { client.acquire(waiting(vec![charge("full", 1)], 600)).await });
    }
    let (requests, inbound) = mpsc::channel(64);
    let open = Request::Open(v1::StreamOpen::default());
    requests
        .send(AcquireStreamRequest {
            id: 0,
            request: Some(open),
        })
        .await
        .unwrap();
    for id in 1..=32 {
        let request = Some(Request::Acquire(waiting(vec![charge("full", 1)], 600)));
        requests
            .send(AcquireStreamRequest { id, request })
            .await
            .unwrap();
    }
    let stream = client
        .acquire_stream(ReceiverStream::new(inbound))
        .await
        .unwrap();
    let mut stream = stream.into_inner();
    wait_for_waiters(&daemon, 64).await;
    let (first, mut started) = mpsc::channel(16);
    let tasks = load(&daemon, 8, first).await;
    for _ in 0..8 {
        started.recv().await.unwrap();
    }

    daemon.signal(signal);

    while let Some(answer) = waiters.join_next().await {
        let error = answer.unwrap().unwrap_err();
        assert_eq!(
            reason(&error),
            (Code::Unavailable, "DRAINING".into(), String::new())
        );
    }
    let mut ids = Vec::new();
    let mut last = None;
    while let Some(answer) = stream.message().await.unwrap() {
        match answer.response.unwrap() {
            Response::Error(error) => {
                assert_eq!(error.code, Code::Unavailable as i32);
                ids.push(answer.id);
            }
            other => last = Some(other),
        }
    }
    ids.sort_unstable();
    assert_eq!(
        ids,
        (1..=32).collect::<Vec<_>>(),
        "every request in hand is answered"
    );
    let Some(Response::Draining(draining)) = last else {
        panic!("the stream ended with {last:?}")
    };
    assert!(draining.reason.contains("shutting down"));
    for (granted, error) in tasks.join_all().await {
        assert!(granted > 0);
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    }
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn sigterm_under_load_answers_every_accepted_call() {
    stopped_under_load_by("TERM").await;
}

#[tokio::test]
async fn sigint_does_the_same() {
    stopped_under_load_by("INT").await;
}
