//! Waiting calls when callers leave and the store falters: nothing is granted to nobody, nobody is forgotten.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod support;

use futures::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use support::{Daemon, Proxy, Server, limits_config, soon, spawn};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use trellis_core::limits::{
    AcquireRequest, Acquired, ActualAmount, BucketState, Charge, ConcurrencySpec, FairShare,
    LimitSpec, Limits, Mode, Outcome, Priority, RateSpec, ReservationId, Settle, Usage,
};
use trellis_core::{ErrorCode, Key, Micros, Name, Namespace, RequestId, Result};
use trellis_redis::{Condition, RedisConfig, RedisLimits};

/// Longer than a test may take.
const LONG: Mode = Mode::Wait(Micros::from_secs(60));

/// Far less than [`LONG`], far more than what is awaited should take.
const PROMPT: Duration = Duration::from_secs(10);

/// The store timeout: a busy machine should not bring it about.
const PATIENT: Duration = Duration::from_secs(2);

/// A daemon and its limits.
#[derive(Clone)]
struct Limited {
    daemon: Arc<Daemon>,
    limits: Arc<RedisLimits>,
}

impl Limited {
    async fn at(port: u16, name: &str) -> Self {
        let config = RedisConfig {
            port,
            store_timeout: PATIENT,
            ..RedisConfig::default()
        };
        let daemon = Daemon::with(config, name);
        daemon.attached().await;
        let limits = daemon.limits(limits_config());
        Self {
            daemon: Arc::new(daemon),
            limits,
        }
    }

    async fn acquire(&self, mode: Mode, id: Option<&str>) -> Result<Acquired> {
        self.limits.clone().acquire(one_slot(mode, id)).await
    }

    /// Takes the only slot.
    async fn hold(&self) -> ReservationId {
        reservation(&self.acquire(Mode::Try, None).await.unwrap())
    }

    async fn settle(&self, reservation: &ReservationId) -> Result<()> {
        let settle = Settle {
            namespace: namespace(),
            reservation: reservation.clone(),
            usage: Usage::RefundAll,
        };
        self.limits.settle(settle).await.map(|_| ())
    }

    async fn bucket(&self, limit: &str) -> Result<BucketState> {
        let state = self.limits.peek(namespace(), name(limit), key()).await;
        state.map(|(state, _)| state)
    }

    /// Starts a call that waits, and returns when it stands in line after `before` others.
    async fn wait(&self, before: usize, id: Option<&'static str>) -> JoinHandle<Result<Acquired>> {
        let caller = self.clone();
        let call = spawn(async move { caller.acquire(LONG, id).await });
        self.until("slots", |bucket| bucket.waiters == before + 1)
            .await;
        call
    }

    /// Waits for a state of the bucket.
    async fn until(&self, limit: &str, reached: impl Fn(&BucketState) -> bool) {
        soon("a state of the bucket", async {
            while !self
                .bucket(limit)
                .await
                .is_ok_and(|bucket| reached(&bucket))
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn namespace() -> Namespace {
    Namespace::new("waiting", "namespace").unwrap()
}

/// An acquire of one of one slots.
fn one_slot(mode: Mode, id: Option<&str>) -> AcquireRequest {
    let spec = LimitSpec::Concurrency(ConcurrencySpec::new(1).unwrap());
    request(charge("slots", 1, spec), mode, id)
}

/// An acquire of units of which one comes back in a second, and 60 are there at first.
fn units(amount: i64, mode: Mode) -> AcquireRequest {
    let rate = RateSpec::new(60, Micros::from_secs(60), 60).unwrap();
    request(charge("units", amount, LimitSpec::Rate(rate)), mode, None)
}

fn charge(limit: &str, amount: i64, spec: LimitSpec) -> Charge {
    let mut charge = Charge::new(name(limit), key(), amount).unwrap();
    charge.spec = Some(spec);
    charge
}

fn name(name: &str) -> Name {
    Name::new(name, "name").unwrap()
}

fn key() -> Key {
    Key::new("", "key").unwrap()
}

fn request(charge: Charge, mode: Mode, id: Option<&str>) -> AcquireRequest {
    AcquireRequest {
        namespace: namespace(),
        charges: vec![charge],
        mode,
        reservation_ttl: Some(Micros::from_secs(600)),
        request_id: id.map(|id| RequestId::new(id, "request_id").unwrap()),
        priority: Priority::default(),
        fair: FairShare::UNNAMED,
        dry_run: false,
    }
}

fn reservation(acquired: &Acquired) -> ReservationId {
    match &acquired.outcome {
        Outcome::Granted(Some(granted)) => granted.id.clone(),
        other => panic!("{other:?}"),
    }
}

async fn granted(call: JoinHandle<Result<Acquired>>) -> ReservationId {
    let end = timeout(PROMPT, call).await.expect("it is not told in time");
    reservation(&end.unwrap().unwrap())
}

/// Makes a call whose caller does not stay for the answer: by its first poll it is handed over.
fn abandon<F: Future<Output: std::fmt::Debug>>(call: F) {
    let answer = call.now_or_never();
    assert!(answer.is_none(), "answered: {answer:?}");
}

/// Gives every task its turn, many times over.
async fn turns() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_takes_no_grant_of_others_with_it() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::at(server.port, "a").await;
    let held = a.hold().await;
    let waiting = a.wait(0, None).await;
    abandon(a.settle(&held));
    granted(waiting).await;
}

#[tokio::test]
async fn a_grant_on_its_way_to_a_caller_that_leaves_is_given_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::at(server.port, "a").await;
    let b = Limited::at(server.port, "b").await;
    // The store knows the script from then on, and carries calls out in their order.
    b.settle(&b.hold().await).await.unwrap();
    for mode in [LONG, Mode::Try] {
        abandon(a.acquire(mode, Some("r")));
        // By its answer the call before it was carried out.
        a.bucket("slots").await.unwrap();
        let call = timeout(PROMPT, b.acquire(LONG, None)).await;
        let taken = call.expect("it is not given back").unwrap();
        b.settle(&reservation(&taken)).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_leaves_before_it_is_told_to_wait_leaves_the_line() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::at(server.port, "a").await;
    let b = Limited::at(server.port, "b").await;
    b.hold().await;
    abandon(a.acquire(LONG, None));
    a.bucket("slots").await.unwrap();
    b.until("slots", |bucket| bucket.waiters == 0).await;
}

#[tokio::test]
async fn a_grant_that_a_repeat_was_told_is_not_given_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let a = Limited::at(proxy.port, "a").await;
    let b = Limited::at(server.port, "b").await;
    // The store knows the script from then on, and carries it out without asking for its text.
    b.settle(&b.hold().await).await.unwrap();
    proxy.hold_answers();
    abandon(a.acquire(LONG, Some("r")));
    b.until("slots", |bucket| bucket.remaining == 0).await;
    let told = reservation(&b.acquire(LONG, Some("r")).await.unwrap());
    proxy.deliver();
    // What the first daemon does about its caller's leaving is done long before these are.
    for _ in 0..200 {
        assert_eq!(a.bucket("slots").await.unwrap().remaining, 0);
    }
    b.settle(&told).await.unwrap();
}

#[tokio::test]
async fn a_call_that_leaves_while_the_store_is_away_leaves_the_line_when_it_is_back() {
    let Some(server) = Server::start() else {
        return;
    };
    let a = Limited::at(server.port, "a").await;
    let session = a.daemon.attached().await;
    let held = a.hold().await;
    let waiting = a.wait(0, None).await;
    server.signal("-STOP");
    a.daemon.is(Condition::Hung).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    turns().await;
    server.signal("-CONT");
    a.daemon.session_after(session).await;
    let settled = soon("a settle", async {
        loop {
            match a.settle(&held).await {
                Ok(()) => return,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    settled.await;
    let taken = timeout(PROMPT, a.acquire(LONG, None)).await;
    reservation(&taken.expect("the slot went to nobody").unwrap());
}

#[tokio::test]
async fn an_end_whose_telling_was_lost_is_found_out_at_once() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let a = Limited::at(proxy.port, "a").await;
    // The store knows the script from then on, and carries it out without asking for its text.
    a.settle(&a.hold().await).await.unwrap();
    for id in [Some("r"), None] {
        let session = a.daemon.attached().await;
        let held = a.hold().await;
        let waiting = a.wait(0, id).await;
        proxy.hold_answers();
        assert_eq!(
            a.settle(&held).await.unwrap_err().code,
            ErrorCode::OutcomeUnknown
        );
        // Those answers never come; new connections are not held.
        a.daemon.session_after(session).await;
        if id.is_some() {
            let reservation = granted(waiting).await;
            a.settle(&reservation).await.unwrap();
        } else {
            let end = timeout(PROMPT, waiting).await.expect("it waits in vain");
            assert_eq!(end.unwrap().unwrap_err().code, ErrorCode::OutcomeUnknown);
        }
    }
}

#[tokio::test]
async fn a_time_to_look_whose_telling_was_lost_is_found_out() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server).await;
    let a = Limited::at(proxy.port, "a").await;
    // The store knows the script from then on.
    a.settle(&a.hold().await).await.unwrap();
    let taken = a.limits.clone().acquire(units(60, Mode::Try)).await;
    let taken = reservation(&taken.unwrap());
    // Would be served after 50 s, and is after 6 s once 44 units are given back.
    let waiting = spawn(a.limits.clone().acquire(units(50, LONG)));
    let session = a.daemon.attached().await;
    a.until("units", |bucket| bucket.waiters == 1).await;
    proxy.hold_answers();
    let settle = Settle {
        namespace: namespace(),
        reservation: taken,
        usage: Usage::Actual(vec![ActualAmount {
            limit: name("units"),
            key: key(),
            amount: 16,
        }]),
    };
    assert_eq!(
        a.limits.settle(settle).await.unwrap_err().code,
        ErrorCode::OutcomeUnknown
    );
    a.daemon.session_after(session).await;
    granted(waiting).await;
}

#[tokio::test]
async fn a_call_goes_on_waiting_when_a_store_that_remembers_is_restarted() {
    let remembers = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut server) = Server::start_with(&remembers) else {
        return;
    };
    let a = Limited::at(server.port, "a").await;
    let session = a.daemon.attached().await;
    let held = a.hold().await;
    let first = a.wait(0, None).await;
    let second = a.wait(1, None).await;
    server.kill();
    a.daemon.is(Condition::Down).await;
    server.restart(&[]);
    a.daemon.session_after(session).await;
    a.until("slots", |bucket| bucket.waiters == 2).await;
    a.settle(&held).await.unwrap();
    let held = granted(first).await;
    a.settle(&held).await.unwrap();
    granted(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_in_order_of_arrival_again_when_the_store_has_forgotten_them() {
    const CALLS: usize = 40;
    let Some(mut server) = Server::start() else {
        return;
    };
    let a = Limited::at(server.port, "a").await;
    let session = a.daemon.attached().await;
    let first = a.hold().await;
    let (sender, mut order) = tokio::sync::mpsc::channel(CALLS);
    for number in 0..CALLS {
        let (caller, sender) = (a.clone(), sender.clone());
        spawn(async move {
            let end = caller.acquire(LONG, None).await.unwrap();
            sender.send((number, reservation(&end))).await.unwrap();
        });
        a.until("slots", |bucket| bucket.waiters == number + 1)
            .await;
    }
    server.kill();
    a.daemon.is(Condition::Down).await;
    // Nobody gives up while the store is away.
    turns().await;
    assert!(order.try_recv().is_err());
    server.restart(&[]);
    a.daemon.session_after(session).await;
    // The slot is held still: the store was told.
    a.settle(&first).await.unwrap();
    for number in 0..CALLS {
        let (next, held) = soon("the next", order.recv()).await.unwrap();
        assert_eq!(next, number);
        a.settle(&held).await.unwrap();
    }
}
