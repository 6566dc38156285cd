//! Real daemons on one real Redis: the suite of the limits port over gRPC, the cache, locks, and who sees whom.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: a failure is a failed test"
)]

mod cache;
mod cache_suite;
mod draining;
mod fallback;
mod faults;
mod fillers;
mod locks;
mod members;
mod pipelines;

use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use trellis_client::Client;
use trellis_conformance::limits::{Settings, Subject};
use trellis_conformance::{Pace, grpc};
use trellis_core::Micros;
use trellis_tests::daemon::Daemon;
use trellis_tests::redis::Redis;

/// More than two round trips on a busy machine.
const TOLERANCE: Micros = Micros::from_millis(90);

/// A setting's variable and its text.
type Variable = (&'static str, String);

/// Variables that make a daemon share limits on a Redis, under the settings of a case.
fn variables(redis: &Redis, settings: Settings) -> Vec<Variable> {
    let machine = settings.machine;
    let millis = |span: Micros| format!("{}ms", span.0 / 1_000);
    vec![
        ("USE_DISTRIBUTED", "true".to_owned()),
        ("REDIS_PORT", redis.port.to_string()),
        // A busy machine is no dead store.
        ("TRELLIS_REDIS__STORE_TIMEOUT", "5s".to_owned()),
        ("TRELLIS_REDIS__DEATH_AFTER", "20s".to_owned()),
        (
            "TRELLIS_LIMITS__MAX_NAMESPACES",
            settings.max_namespaces.to_string(),
        ),
        ("TRELLIS_LIMITS__MAX_LIMITS", machine.max_limits.to_string()),
        (
            "TRELLIS_LIMITS__MAX_BUCKETS",
            machine.max_buckets.to_string(),
        ),
        (
            "TRELLIS_LIMITS__MAX_WAITERS",
            machine.max_waiters.to_string(),
        ),
        (
            "TRELLIS_LIMITS__MAX_RESERVATIONS",
            machine.max_reservations.to_string(),
        ),
        (
            "TRELLIS_LIMITS__MAX_REQUEST_IDS",
            machine.max_request_ids.to_string(),
        ),
        ("TRELLIS_LIMITS__HOLD_AFTER", millis(machine.hold_after)),
        (
            "TRELLIS_LIMITS__REQUEST_WINDOW",
            millis(machine.request_window),
        ),
        (
            "TRELLIS_LIMITS__SETTLE_WINDOW",
            millis(machine.settle_window),
        ),
        (
            "TRELLIS_LIMITS__DEFAULT_RESERVATION_TTL",
            millis(machine.default_reservation_ttl),
        ),
        ("TRELLIS_LIMITS__SWEEP_EVERY", millis(machine.sweep_every)),
    ]
}

/// Starts daemons, all at a time.
fn start(count: usize, variables: &[Variable]) -> Vec<Daemon> {
    start_with(count, variables, &[])
}

/// As [`start`], with further arguments.
fn start_with(count: usize, variables: &[Variable], arguments: &[&str]) -> Vec<Daemon> {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| Daemon::start_with(&variables, arguments)))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    })
}

async fn client(daemon: &Daemon) -> Client {
    let builder = Client::builder(format!("http://{}", daemon.grpc));
    builder
        .call_timeout(Duration::from_mins(1))
        .connect()
        .await
        .unwrap()
}

/// A client of each daemon, once each sees all of them.
async fn clients(daemons: &[Daemon]) -> Vec<Client> {
    let mut clients = Vec::new();
    for daemon in daemons {
        let client = client(daemon).await;
        members::until(&client, "all members", |status| {
            status.members.len() == daemons.len()
        })
        .await;
        clients.push(client);
    }
    clients
}

/// What the daemon's HTTP port answers to a GET, head and body.
async fn http(daemon: &Daemon, path: &str) -> String {
    let mut stream = TcpStream::connect(&daemon.http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn three(settings: Settings) -> Subject {
    let redis = Redis::start().unwrap();
    let daemons = start(3, &variables(&redis, settings));
    let mut clients = Vec::new();
    for daemon in &daemons {
        clients.push(client(daemon).await);
    }
    grpc::subject(
        clients,
        Pace::Wall {
            tolerance: TOLERANCE,
        },
    )
    .owning(Mutex::new((daemons, redis)))
}

trellis_conformance::limits_conformance!(
    crate::three,
    #[tokio::test]
    #[cfg_attr(no_redis, ignore = "no redis-server")]
);
