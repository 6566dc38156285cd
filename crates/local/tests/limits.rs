//! What the memory backend promises beyond the port, and what only threads can show.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use support::memory_limits;
use tokio::task::JoinHandle;
use trellis_conformance::limits::{Bench, Settings, Subject, cases};
use trellis_conformance::{Pace, spawn};
use trellis_core::limits::{
    AcquireRequest, Acquired, Charge, DeleteLimit, FairShare, LimitSpec, Limits, LimitsStatus,
    Mode, Outcome, Priority, ReservationId, ResetLimit, Settle, Usage, WindowSpec,
};
use trellis_core::{ErrorCode, Key, Micros, Name, Namespace, RequestId, Result};
use trellis_local::MemoryLimits;

const HOUR: Micros = Micros::from_secs(3600);

fn namespace() -> Namespace {
    Namespace::new("test", "namespace").unwrap()
}

fn name() -> Name {
    Name::new("tokens", "name").unwrap()
}

/// Takes from a window of 10 an hour.
fn take(amount: i64, mode: Mode) -> AcquireRequest {
    let key = Key::new("", "key").unwrap();
    let mut charge = Charge::new(name(), key, amount).unwrap();
    charge.spec = Some(LimitSpec::Window(WindowSpec::new(10, HOUR).unwrap()));
    AcquireRequest {
        namespace: namespace(),
        charges: vec![charge],
        mode,
        reservation_ttl: None,
        request_id: None,
        priority: Priority::Interactive,
        fair: FairShare::UNNAMED,
        dry_run: false,
    }
}

/// Starts a call that waits, and lets it get in line.
async fn start(
    limits: &Arc<MemoryLimits>,
    request: AcquireRequest,
) -> JoinHandle<Result<Acquired>> {
    let limits = limits.clone();
    let call = spawn(async move { limits.clone().acquire(request).await });
    tokio::task::yield_now().await;
    call
}

/// Fills the bucket, which grants what waits.
async fn reset(limits: &MemoryLimits) {
    let reset = ResetLimit {
        namespace: namespace(),
        name: name(),
        key: None,
        request_id: None,
    };
    limits.reset_limit(reset).await.unwrap();
}

async fn remaining(limits: &MemoryLimits) -> i64 {
    let key = Key::new("", "key").unwrap();
    let (bucket, _) = limits.peek(namespace(), name(), key).await.unwrap();
    bucket.remaining
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_its_caller_did_not_receive_is_taken_back_at_once() {
    let limits = memory_limits(Settings::default());
    limits.clone().acquire(take(10, Mode::Try)).await.unwrap();
    let waiting = start(&limits, take(6, Mode::Wait(HOUR))).await;
    assert_eq!(limits.status().waiters, 1);
    reset(&limits).await;
    assert_eq!(remaining(&limits).await, 4, "granted, not yet received");
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert_eq!(remaining(&limits).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_shared_grant_stands_when_one_caller_received_it_and_else_is_taken_back() {
    for received in [0, 1] {
        let limits = memory_limits(Settings::default());
        limits.clone().acquire(take(10, Mode::Try)).await.unwrap();
        let mut request = take(6, Mode::Wait(HOUR));
        request.request_id = Some(RequestId::new("r", "request_id").unwrap());
        let mut callers = Vec::new();
        for _ in 0..3 {
            callers.push(start(&limits, request.clone()).await);
        }
        assert_eq!(limits.status().waiters, 1);
        reset(&limits).await;
        let gone = callers.split_off(received);
        for caller in &gone {
            caller.abort();
        }
        for caller in gone {
            assert!(caller.await.unwrap_err().is_cancelled());
        }
        for caller in callers {
            let acquired = caller.await.unwrap().unwrap();
            assert_eq!(acquired.outcome, Outcome::Granted(None));
        }
        let left = if received == 0 { 10 } else { 4 };
        assert_eq!(remaining(&limits).await, left, "{received} received it");
    }
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_what_is_kept_and_what_was_decided() {
    let limits = memory_limits(Settings::default());
    assert_eq!(limits.status(), LimitsStatus::default());
    let mut reserving = take(10, Mode::Try);
    reserving.reservation_ttl = Some(Micros::from_millis(100));
    reserving.request_id = Some(RequestId::new("r", "request_id").unwrap());
    limits.clone().acquire(reserving).await.unwrap();
    limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
    limits.clone().acquire(take(11, Mode::Try)).await.unwrap();
    let in_vain = take(1, Mode::Wait(Micros::from_millis(10)));
    limits.clone().acquire(in_vain).await.unwrap();
    let _waiting = start(&limits, take(1, Mode::Wait(HOUR))).await;
    let decided = LimitsStatus {
        granted: 1,
        denied: 1,
        never: 1,
        timed_out: 1,
        ..LimitsStatus::default()
    };
    let kept = LimitsStatus {
        namespaces: 1,
        limits: 1,
        buckets: 1,
        waiters: 1,
        reservations: 1,
        request_ids: 1,
        ..decided
    };
    assert_eq!(limits.status(), kept);

    // A namespace that holds nothing any more is dropped, what it has decided is not.
    let delete = DeleteLimit {
        namespace: namespace(),
        name: name(),
        request_id: None,
    };
    assert!(limits.delete_limit(delete).await.unwrap().0);
    Pace::Virtual.elapse(Micros::from_secs(5)).await;
    assert_eq!(limits.status(), decided);
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_on_namespaces_what_leaves_nothing_behind_is_still_answered() {
    let settings = Settings {
        max_namespaces: 1,
        ..Settings::default()
    };
    let limits = memory_limits(settings);
    limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
    let other = || Namespace::new("other", "namespace").unwrap();

    let delete = |request_id| DeleteLimit {
        namespace: other(),
        name: name(),
        request_id,
    };
    assert!(!limits.delete_limit(delete(None)).await.unwrap().0);
    let settle = Settle {
        namespace: other(),
        reservation: ReservationId::new("gone").unwrap(),
        usage: Usage::RefundAll,
    };
    let error = limits.settle(settle).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ReservationNotFound);
    let reset = ResetLimit {
        namespace: other(),
        name: name(),
        key: None,
        request_id: None,
    };
    let error = limits.reset_limit(reset).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitNotFound);
    let never = AcquireRequest {
        namespace: other(),
        ..take(11, Mode::Try)
    };
    assert_eq!(
        limits.clone().acquire(never).await.unwrap().outcome,
        Outcome::Never
    );
    assert_eq!(limits.status().never, 1, "decided, so it counts");

    // A remembered id, a charge and a place in line are left behind.
    let id = RequestId::new("r", "request_id").unwrap();
    let error = limits.delete_limit(delete(Some(id))).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooManyNamespaces);
    let elsewhere = AcquireRequest {
        namespace: other(),
        ..take(1, Mode::Wait(HOUR))
    };
    let error = limits.clone().acquire(elsewhere).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooManyNamespaces);
    assert_eq!(limits.status().namespaces, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sums_are_exact_on_many_threads() {
    let bench = || {
        let tolerance = Micros::from_secs(1);
        let limits = memory_limits(Settings::default());
        Bench::new(Subject::new(vec![limits], Pace::Wall { tolerance }))
    };
    for _ in 0..20 {
        cases::concurrent_tries_of_many_sizes_never_exceed_the_limit(&bench()).await;
        cases::concurrent_holders_never_exceed_the_slots(&bench()).await;
        cases::concurrent_settles_of_one_reservation_settle_it_once(&bench()).await;
        cases::concurrent_repeats_of_one_call_are_charged_once(&bench()).await;
    }
}
