//! A server that hangs, dies, refuses or is flooded: what calls answer, and what the health says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code outside of test functions; the figures are what a reader wants"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;
use support::{Daemon, Server, quick, soon, spawn};
use tokio::time::Instant;
use trellis_redis::{Call, CallError, Condition, RedisConfig, RefusalKind, Script, Secret, Start};

static WEIGH: std::sync::LazyLock<Script> =
    std::sync::LazyLock::new(|| Script::guarded("return #ARGV[4]"));

/// What callers saw.
#[derive(Debug, Default)]
struct Seen {
    done: usize,
    unknown: usize,
    away: usize,
    slowest: Duration,
    slowest_away: Duration,
}

/// Calls one after the other until it is told to stop.
async fn caller(daemon: Arc<Daemon>, payload: usize) -> Seen {
    let mut seen = Seen::default();
    let payload = "x".repeat(payload);
    // Refusals come in microseconds: the load is paced while there is nobody to serve it.
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    while !daemon.heart.is_cancelled() {
        let began = Instant::now();
        let answer = daemon
            .store
            .call(Call::new(&WEIGH).text(payload.as_str()))
            .await;
        let took = began.elapsed();
        seen.slowest = seen.slowest.max(took);
        match answer {
            Ok(_) => seen.done += 1,
            Err(CallError::Unknown(_)) => seen.unknown += 1,
            Err(CallError::Away(_)) => {
                seen.away += 1;
                seen.slowest_away = seen.slowest_away.max(took);
                pace.tick().await;
            }
            Err(error @ CallError::Refused(_)) => panic!("{error:?}"),
        }
    }
    seen
}

async fn a_hung_server(callers: usize, payload: usize) {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Arc::new(Daemon::on(&server, "a").await);
    let old = daemon.attached().await;
    daemon.store.call(Call::new(&WEIGH).text("")).await.unwrap();
    let load: Vec<_> = (0..callers)
        .map(|_| spawn(caller(daemon.clone(), payload)))
        .collect();
    soon("load", async {
        while daemon.store.in_flight() < callers / 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.signal("-STOP");
    let stopped = Instant::now();
    daemon.is(Condition::Hung).await;
    let noticed = stopped.elapsed();
    assert!(matches!(
        daemon.count().await,
        Err(CallError::Away(_) | CallError::Unknown(_))
    ));
    tokio::time::sleep_until(stopped + Duration::from_secs(3)).await;
    server.signal("-CONT");
    let resumed = Instant::now();
    let new = daemon.session_after(old).await;
    daemon.is(Condition::Up).await;
    let recovered = resumed.elapsed();
    daemon.count().await.unwrap();
    assert!(old.continues_in(&new));
    daemon.heart.cancel();
    let mut slowest = Duration::ZERO;
    let mut slowest_away = Duration::ZERO;
    let (mut done, mut unknown, mut away) = (0, 0, 0);
    for task in load {
        let seen = task.await.unwrap();
        (done, unknown, away) = (done + seen.done, unknown + seen.unknown, away + seen.away);
        slowest = slowest.max(seen.slowest);
        slowest_away = slowest_away.max(seen.slowest_away);
    }
    println!(
        "hung, {callers} callers of {payload} B: noticed {noticed:?}, recovered {recovered:?}, done {done}, \
         unknown {unknown}, away {away}, slowest {slowest:?}, slowest away {slowest_away:?}"
    );
    // The store timeout is 500 ms, the probe's interval 250 ms; the rest is for a busy machine.
    assert!(noticed < Duration::from_millis(1_500), "{noticed:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(unknown > 0 && away > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_hung_server_is_noticed_under_load_and_recovers_without_a_restart() {
    a_hung_server(200, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_hung_server_with_a_full_socket_holds_up_no_call() {
    a_hung_server(200, 100_000).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_killed_server_is_noticed_at_once_and_rejoined() {
    let Some(mut server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let old = daemon.attached().await;
    let killed = Instant::now();
    server.kill();
    daemon.is(Condition::Down).await;
    let noticed = killed.elapsed();
    let mut sessions = daemon.store.sessions();
    soon("no session", sessions.wait_for(Option::is_none))
        .await
        .unwrap();
    let asked = Instant::now();
    assert!(matches!(daemon.count().await, Err(CallError::Away(_))));
    let answered = asked.elapsed();
    server.restart(&[]);
    let restarted = Instant::now();
    assert!(daemon.session_after(old).await.generation > old.generation);
    println!(
        "killed: noticed {noticed:?}, away in {answered:?}, rejoined {:?}",
        restarted.elapsed()
    );
    daemon.count().await.unwrap();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_server_that_is_away_at_the_start_is_joined_when_it_comes() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.kill();
    let config = RedisConfig {
        connect_timeout: Duration::from_millis(300),
        ..quick(&server)
    };
    let daemon = Daemon::with(config, "a");
    let Start::Degraded(health) = daemon.store.started().await.unwrap() else {
        panic!("nothing to attach to");
    };
    assert_eq!(health.condition, Condition::Down);
    server.restart(&[]);
    daemon.is(Condition::Up).await;
    daemon.count().await.unwrap();
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_server_that_may_evict_our_keys_is_refused_by_the_settings_name() {
    let Some(server) = Server::start() else {
        return;
    };
    server.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let daemon = Daemon::with(quick(&server), "a");
    let error = daemon.store.started().await.unwrap_err();
    assert_eq!(error.0.condition, Condition::EvictionPolicy);
    assert!(
        error.to_string().contains("maxmemory-policy = allkeys-lru"),
        "{error}"
    );
    assert_eq!(server.run(&["EXISTS", &daemon.store.keys().guard()]), "0");
    server.run(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    daemon.is(Condition::Up).await;
    server.run(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]);
    daemon.is(Condition::EvictionPolicy).await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_wrong_password_is_a_typed_error_without_the_secret() {
    let Some(server) = Server::start_with(&["--save", "", "--requirepass", "richtig"]) else {
        return;
    };
    for password in [Some("geheim"), None] {
        let config = RedisConfig {
            password: password.map(Secret::new),
            ..quick(&server)
        };
        let daemon = Daemon::with(config, "a");
        let error = daemon.store.started().await.unwrap_err();
        assert_eq!(error.0.condition, Condition::Credentials, "{error}");
        assert!(!format!("{error} {error:?}").contains("geheim"));
    }
    let config = RedisConfig {
        password: Some(Secret::new("richtig")),
        ..quick(&server)
    };
    Daemon::with(config, "a").attached().await;
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_server_that_becomes_a_replica_is_left_and_its_return_is_a_new_generation() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let old = daemon.attached().await;
    server.run(&["REPLICAOF", "127.0.0.1", "1"]);
    daemon.is(Condition::ReadOnly).await;
    let mut sessions = daemon.store.sessions();
    soon("no session", sessions.wait_for(Option::is_none))
        .await
        .unwrap();
    server.run(&["REPLICAOF", "NO", "ONE"]);
    assert!(daemon.session_after(old).await.generation > old.generation);
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_refusal_of_writes_is_told_by_its_cause_and_ends_with_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let cases = [
        (
            "maxmemory",
            "1",
            "0",
            Condition::OutOfMemory,
            RefusalKind::OutOfMemory,
        ),
        (
            "min-replicas-to-write",
            "1",
            "0",
            Condition::NoReplicas,
            RefusalKind::NoReplicas,
        ),
    ];
    for (setting, bad, good, condition, refusal) in cases {
        server.run(&["CONFIG", "SET", setting, bad]);
        daemon.is(condition).await;
        assert_eq!(daemon.count().await.unwrap_err().refusal(), Some(refusal));
        server.run(&["CONFIG", "SET", setting, good]);
        daemon.is(Condition::Up).await;
        daemon.count().await.unwrap();
    }
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_server_that_loads_its_data_is_waited_for() {
    let Some(mut server) = Server::start() else {
        return;
    };
    server.run(&[
        "EVAL",
        "for i = 1, 2000 do redis.call('SET', i, string.rep('x', 100)) end",
        "0",
    ]);
    server.run(&["SAVE"]);
    server.kill();
    server.restart(&[
        "--key-load-delay",
        "500",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    let daemon = Daemon::with(quick(&server), "a");
    daemon.is(Condition::Loading).await;
    assert!(matches!(daemon.count().await, Err(CallError::Away(_))));
    daemon.is(Condition::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn ten_thousand_calls_at_once_stay_within_the_bound() {
    let Some(server) = Server::start() else {
        return;
    };
    let config = RedisConfig {
        max_in_flight: 100,
        ..RedisConfig::default()
    };
    let daemon = Arc::new(Daemon::with(
        RedisConfig {
            port: server.port,
            ..config
        },
        "a",
    ));
    daemon.attached().await;
    let began = Instant::now();
    let calls: Vec<_> = (0..10_000)
        .map(|_| {
            let daemon = daemon.clone();
            spawn(async move { (daemon.count().await, daemon.store.in_flight()) })
        })
        .collect();
    let (mut done, mut refused, mut most) = (0_u64, 0_u64, 0);
    for call in calls {
        let (answer, in_flight) = call.await.unwrap();
        most = most.max(in_flight);
        match answer {
            Ok(_) => done += 1,
            Err(error) if error.refusal() == Some(RefusalKind::TooManyInFlight) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    println!(
        "10 000 calls: {done} done, {refused} refused, {most} in flight, in {:?}",
        began.elapsed()
    );
    assert!(most <= 100 && done > 0);
    let counted = daemon.count().await.unwrap().number().unwrap();
    assert_eq!(counted, done + 1, "a refused call was not carried out");
}

#[tokio::test]
#[cfg_attr(no_redis, ignore = "no redis-server")]
async fn a_call_whose_future_is_dropped_is_carried_out_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let daemon = Daemon::on(&server, "a").await;
    let mut call = Box::pin(daemon.count());
    assert!(futures::poll!(call.as_mut()).is_pending());
    drop(call);
    // Calls keep their order on the connection.
    assert_eq!(daemon.count().await.unwrap().number(), Some(2));
}
