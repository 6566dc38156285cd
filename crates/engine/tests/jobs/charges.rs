//! What becomes of charges in a crash, and of those of attempts that last.

use super::late::LateLimits;
use super::support::{Life, charged_limits, clock, lasting_log, namespace, queue, roomy};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};
use trellis_conformance::spawn;
use trellis_core::jobs::{JobSpec, JobState, Jobs};
use trellis_core::limits::{
    AcquireRequest, Charge, FairShare, Limits, Mode, Outcome, Priority, Settle, Usage,
};
use trellis_core::{ErrorCode, Key, Micros, Name};
use trellis_engine::JobPorts;

const SECOND: Micros = Micros::from_secs(1);

fn charged(limit: &str, amount: i64) -> JobSpec {
    let mut spec = JobSpec::new(queue("ocr"), "page");
    let limit = Name::new(limit, "limit").unwrap();
    let charge = Charge::new(limit, Key::new("", "key").unwrap(), amount);
    spec.options.charges = vec![charge.unwrap()];
    spec
}

fn with(limits: Arc<dyn Limits>) -> JobPorts {
    JobPorts {
        limits: Some(limits),
        cache: None,
    }
}

async fn left(limits: &dyn Limits, limit: &str) -> i64 {
    let (limit, key) = (
        Name::new(limit, "limit").unwrap(),
        Key::new("", "key").unwrap(),
    );
    let peeked = limits.peek(namespace(), limit, key).await;
    peeked.unwrap().0.remaining
}

fn late(inner: Arc<dyn Limits>) -> Arc<LateLimits> {
    let late = silent(inner);
    late.silent.store(false, Ordering::SeqCst);
    late
}

fn silent(inner: Arc<dyn Limits>) -> Arc<LateLimits> {
    Arc::new(LateLimits {
        inner,
        silent: AtomicBool::new(true),
    })
}

#[tokio::test(start_paused = true)]
async fn a_charge_for_which_no_lease_was_logged_stays_spent_and_the_job_runs_by_another() {
    let clock = clock();
    let (log, limits) = (
        lasting_log(&clock),
        charged_limits(&clock, &namespace()).await,
    );
    let quiet = with(silent(limits.clone()));
    let life = Life::begin_with(log.clone(), &clock, roomy(), quiet).await;
    let job = life.submit(charged("pages", 10)).await.unwrap();
    let begun = Instant::now();
    assert!(
        life.get("ocr", 1, Micros::from_millis(100))
            .await
            .is_empty()
    );
    assert!(left(&*limits, "pages").await < 2, "it was charged");
    life.crash().await;

    let life = Life::begin_with(log, &clock, roomy(), with(limits)).await;
    let got = life.one().await;
    assert_eq!((got.job, got.attempt), (job, 1));
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "what was spent came back by time alone"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_settled_when_the_daemon_died_is_settled_by_the_next_life() {
    let clock = clock();
    let (log, limits) = (
        lasting_log(&clock),
        charged_limits(&clock, &namespace()).await,
    );
    let late = late(limits.clone());
    let life = Life::begin_with(log.clone(), &clock, roomy(), with(late.clone())).await;
    life.submit(charged("slots", 1)).await.unwrap();
    let next = life.submit(charged("slots", 1)).await.unwrap();
    let got = life.one().await;
    late.silent.store(true, Ordering::SeqCst);
    life.succeed(&got, "text").await.unwrap();
    assert!(
        life.get("ocr", 1, Micros::from_millis(100))
            .await
            .is_empty()
    );
    assert_eq!(left(&*limits, "slots").await, 0);
    life.crash().await;

    let life = Life::begin_with(log, &clock, roomy(), with(limits.clone())).await;
    let begun = Instant::now();
    assert_eq!(life.one().await.job, next);
    assert!(begun.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_slot_of_an_attempt_that_lasts_is_held_also_in_the_next_life() {
    let clock = clock();
    let (log, limits) = (
        lasting_log(&clock),
        charged_limits(&clock, &namespace()).await,
    );
    let ports = || with(limits.clone());
    let mut life = Life::begin_with(log.clone(), &clock, roomy(), ports()).await;
    let job = life.submit(charged("slots", 1)).await.unwrap();
    let got = life.one().await;
    for turn in 0..60 {
        advance(Duration::from_secs(5)).await;
        life.extend(&got).await.unwrap();
        assert!(life.get("ocr", 1, SECOND).await.is_empty());
        assert_eq!(left(&*limits, "slots").await, 0, "after {turn} turns");
        if turn == 30 {
            life.crash().await;
            life = Life::begin_with(log.clone(), &clock, roomy(), ports()).await;
        }
    }
    assert_eq!(life.state(job).await, JobState::Running);
    life.succeed(&got, "text").await.unwrap();
    assert!(life.get("ocr", 1, SECOND).await.is_empty());
    assert_eq!(left(&*limits, "slots").await, 1);
}

#[tokio::test(start_paused = true)]
async fn jobs_charge_nothing_where_there_are_no_limits_and_wait_for_those_that_come_later() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let refused = life.submit(charged("pages", 1)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidField);
    life.end().await;
    let limits = charged_limits(&clock, &namespace()).await;
    let life = Life::begin_with(log.clone(), &clock, roomy(), with(limits)).await;
    let undeclared = life.submit(charged("gpu", 1)).await.unwrap();
    assert!(life.get("ocr", 1, SECOND).await.is_empty());
    assert_eq!(life.state(undeclared).await, JobState::Ready);
    let view = life.engine.cancel(&namespace(), undeclared).await.unwrap();
    assert_eq!(view.state, JobState::Cancelled);
}

/// Takes the slot again and again, always waiting for it when somebody else has it.
async fn crowd(limits: Arc<dyn Limits>) {
    loop {
        let request = AcquireRequest {
            namespace: namespace(),
            charges: charged("slots", 1).options.charges,
            mode: Mode::Wait(Micros::from_secs(60)),
            reservation_ttl: None,
            request_id: None,
            priority: Priority::Batch,
            fair: FairShare::UNNAMED,
            dry_run: false,
        };
        let acquired = limits.clone().acquire(request).await.unwrap();
        let granted = match acquired.outcome {
            Outcome::Granted(granted) => granted,
            _ => None,
        };
        let granted = granted.unwrap();
        sleep(HELD).await;
        let settle = Settle {
            namespace: namespace(),
            reservation: granted.id,
            usage: Usage::Actual(Vec::new()),
        };
        limits.settle(settle).await.unwrap();
    }
}

/// How long one of the crowd has the slot.
const HELD: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn a_job_has_its_turn_at_a_limit_for_which_others_always_wait() {
    let clock = clock();
    let limits = charged_limits(&clock, &namespace()).await;
    let life = Life::begin_with(lasting_log(&clock), &clock, roomy(), with(limits.clone())).await;
    let crowd = [0; 5].map(|_| spawn(crowd(limits.clone())));
    sleep(Duration::from_secs(1)).await;
    for _ in 0..3 {
        let job = life.submit(charged("slots", 1)).await.unwrap();
        let begun = Instant::now();
        let got = life.one().await;
        assert_eq!((got.job, got.attempt), (job, 1));
        let waited = begun.elapsed();
        assert!(waited >= HELD && waited <= 8 * HELD, "{waited:?}");
        life.succeed(&got, "text").await.unwrap();
    }
    for one in crowd {
        one.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_leaves_the_line_and_the_next_one_stands_there() {
    let clock = clock();
    let limits = charged_limits(&clock, &namespace()).await;
    let life = Life::begin_with(lasting_log(&clock), &clock, roomy(), with(limits.clone())).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(life.submit(charged("slots", 1)).await.unwrap());
    }
    let first = life.one().await;
    assert_eq!(first.job, jobs[0]);
    assert!(life.get("ocr", 1, SECOND).await.is_empty());
    life.engine.cancel(&namespace(), jobs[1]).await.unwrap();
    let begun = Instant::now();
    life.succeed(&first, "text").await.unwrap();
    let second = life.one().await;
    assert_eq!(second.job, jobs[2]);
    assert!(begun.elapsed() < Duration::from_millis(50));
    life.succeed(&second, "text").await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(left(&*limits, "slots").await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_waits_a_second_for_a_worker_and_is_given_back() {
    let clock = clock();
    let limits = charged_limits(&clock, &namespace()).await;
    let life = Life::begin_with(lasting_log(&clock), &clock, roomy(), with(limits.clone())).await;
    life.submit(charged("slots", 1)).await.unwrap();
    let last = life.submit(charged("slots", 1)).await.unwrap();
    let first = life.one().await;
    assert!(life.get("ocr", 1, Micros::from_millis(10)).await.is_empty());
    life.succeed(&first, "text").await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(
        left(&*limits, "slots").await,
        0,
        "it is kept for the next job"
    );
    sleep(Duration::from_millis(600)).await;
    assert_eq!(left(&*limits, "slots").await, 1, "nobody came");
    assert_eq!(life.one().await.job, last);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_one_of_its_limits_holds_the_other_for_nobody() {
    let clock = clock();
    let limits = charged_limits(&clock, &namespace()).await;
    let life = Life::begin_with(lasting_log(&clock), &clock, roomy(), with(limits.clone())).await;
    life.submit(charged("slots", 1)).await.unwrap();
    let first = life.one().await;
    let mut both = charged("slots", 1);
    both.options
        .charges
        .extend(charged("pages", 1).options.charges);
    let both = life.submit(both).await.unwrap();
    assert!(life.get("ocr", 1, SECOND).await.is_empty());
    for _ in 0..5 {
        let other = life.submit(charged("pages", 1)).await.unwrap();
        let begun = Instant::now();
        let got = life.one().await;
        assert_eq!(got.job, other);
        assert!(begun.elapsed() < Duration::from_millis(50));
        life.succeed(&got, "text").await.unwrap();
        sleep(Duration::from_millis(200)).await;
    }
    life.succeed(&first, "text").await.unwrap();
    assert_eq!(life.one().await.job, both);
}

#[tokio::test(start_paused = true)]
async fn an_end_gives_back_what_was_taken_and_no_worker_came_for() {
    let clock = clock();
    let limits = charged_limits(&clock, &namespace()).await;
    let ports = with(late(limits.clone()));
    let life = Life::begin_with(lasting_log(&clock), &clock, roomy(), ports).await;
    for _ in 0..2 {
        life.submit(charged("slots", 1)).await.unwrap();
    }
    let first = life.one().await;
    assert!(life.get("ocr", 1, SECOND).await.is_empty());
    life.succeed(&first, "text").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        left(&*limits, "slots").await,
        0,
        "it is kept for the next job"
    );
    life.end().await;
    assert_eq!(left(&*limits, "slots").await, 1);
}
