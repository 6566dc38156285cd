//! SIGTERM and SIGINT: every accepted call is answered, then the process ends.

use crate::requests::{Requests, acquire, charge, reason, waiting};
use crate::until::until;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::status_service_client::StatusServiceClient;
use trellis_proto::v1::{self, AcquireStreamResponse};
use trellis_tests::daemon::Daemon;

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

/// Callers that charge as fast as they are answered; each counts its answers until its first error.
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
            let mut answered = 0;
            loop {
                match client.acquire(acquire(vec![charge("load", 1)])).await {
                    Ok(_) => answered += 1,
                    Err(status) => return (answered, status),
                }
                if answered == 1 {
                    let _ = first.send(()).await;
                }
            }
        });
    }
    tasks
}

/// Calls that wait for a limit that is used up, one by one.
fn wait_one_by_one(client: &LimitServiceClient<Channel>) -> JoinSet<Result<(), tonic::Status>> {
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let mut client = client.clone();
        let request = waiting(vec![charge("full", 1)], 600);
        calls.spawn(async move { client.acquire(request).await.map(drop) });
    }
    calls
}

/// As many that wait over one stream, which stays open as long as the sender lives.
async fn wait_on_a_stream(
    client: &mut LimitServiceClient<Channel>,
) -> (Requests, Streaming<AcquireStreamResponse>) {
    let (requests, inbound) = Requests::open(64).await;
    for id in 1..=32 {
        let request = waiting(vec![charge("full", 1)], 600);
        requests.send(id, Request::Acquire(request)).await;
    }
    let stream = client.acquire_stream(inbound).await.unwrap();
    (requests, stream.into_inner())
}

/// Every request in hand is answered, then the stream says why it ends.
async fn is_drained(mut stream: Streaming<AcquireStreamResponse>) {
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
    assert_eq!(ids, (1..=32).collect::<Vec<_>>());
    let Some(Response::Draining(draining)) = last else {
        panic!("the stream ended with {last:?}")
    };
    assert!(draining.reason.contains("shutting down"));
}

async fn stopped_under_load_by(signal: &str, threads: &str) {
    let daemon = Daemon::start_with(&[("TRELLIS_WORKERS", threads)], &[]);
    let mut client = LimitServiceClient::new(daemon.connect().await);
    client
        .acquire(acquire(vec![charge("full", 100)]))
        .await
        .unwrap();
    let mut waiters = wait_one_by_one(&client);
    let (_requests, stream) = wait_on_a_stream(&mut client).await;
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
    is_drained(stream).await;
    let mut received = 0;
    for (answered, error) in tasks.join_all().await {
        assert!(answered > 0);
        // What the daemon did not accept fails in the client: refused, or never sent.
        let never_accepted = [Code::Unavailable, Code::Cancelled];
        assert!(never_accepted.contains(&error.code()), "{error:?}");
        received += answered;
    }
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    // Every decision has been received: the load's, and the one that filled the bucket.
    let decided = |name: &str| -> u64 {
        let (_, rest) = log
            .split_once(name)
            .unwrap_or_else(|| panic!("no {name} in {log}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert_eq!(decided(" granted=") + decided(" denied="), received + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_answers_every_accepted_call() {
    stopped_under_load_by("TERM", "2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_does_the_same_on_one_thread() {
    stopped_under_load_by("TERM", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_does_the_same() {
    stopped_under_load_by("INT", "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_health_watch_does_not_hold_the_shutdown_up() {
    let daemon = Daemon::start(&["--log-format", "text"]);
    let mut health = HealthClient::new(daemon.connect().await);
    let watched = HealthCheckRequest {
        service: "trellis.v1.LimitService".into(),
    };
    let mut watch = health.watch(watched).await.unwrap().into_inner();
    let seen = watch.message().await.unwrap().unwrap();
    assert_eq!(seen.status(), ServingStatus::Serving);
    daemon.signal("TERM");
    let mut last = seen.status();
    let end = loop {
        match watch.message().await {
            Ok(Some(seen)) => last = seen.status(),
            Ok(None) => panic!("the watch ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(last, ServingStatus::NotServing, "the watcher is told first");
    assert_eq!(
        reason(&end),
        (Code::Unavailable, "DRAINING".into(), String::new())
    );
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
