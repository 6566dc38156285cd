//! Attempts in vain.

use crate::jobs::prelude::*;
use tokio::time::Instant;
use trellis_core::RequestId;

/// Waits of one second, then two, and so many attempts.
fn policy(max_attempts: u32) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        min_backoff: SECOND,
        max_backoff: HOUR,
        jitter_percent: 0,
    }
}

pub async fn an_attempt_in_vain_waits_and_the_job_is_dead_in_the_end(bench: &Bench) {
    let job = bench.job_with("a", |job| job.options.retry = policy(3));
    let job = bench.submit(job).await;
    for (attempt, wait) in [(1, ms(1_000)), (2, ms(2_000))] {
        let got = bench.one().await;
        assert_eq!(got.attempt, attempt);
        bench.end(&got, failed()).await.unwrap();
        let asked = Instant::now();
        assert_eq!(bench.state(job).await, JobState::Delayed);
        let next = bench.one().await;
        bench.assert_took(asked, Instant::now(), wait);
        bench.end(&next, AttemptEnd::Released).await.unwrap();
    }
    let got = bench.one().await;
    assert_eq!(got.attempt, 3);
    bench.end(&got, failed()).await.unwrap();
    let (view, result) = bench.wait(job, HOUR).await.unwrap();
    assert_eq!((view.state, view.attempts), (JobState::Dead, 3));
    assert_eq!((view.error.as_deref(), result), (Some("no"), None));
}

pub async fn a_job_fails_for_good_if_its_worker_says_so(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    let hopeless = AttemptEnd::Failed {
        error: "not an image".into(),
        retryable: false,
        retry_after: None,
    };
    bench.end(&got, hopeless).await.unwrap();
    let view = bench.wait(job, HOUR).await.unwrap().0;
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(view.error.as_deref(), Some("not an image"));
}

pub async fn what_is_throttled_or_released_does_not_count(bench: &Bench) {
    let job = bench.job_with("a", |job| job.options.retry = policy(1));
    let job = bench.submit(job).await;
    let got = bench.one().await;
    let asked = Instant::now();
    bench
        .end(&got, AttemptEnd::Throttled(SECOND))
        .await
        .unwrap();
    let got = bench.one().await;
    bench.assert_took(asked, Instant::now(), SECOND);
    assert_eq!(got.attempt, 1);
    bench.end(&got, AttemptEnd::Released).await.unwrap();
    let got = bench.one().await;
    assert_eq!(got.attempt, 1);
    bench.end(&got, failed()).await.unwrap();
    assert_eq!(bench.state(job).await, JobState::Dead);
}

pub async fn an_attempt_that_takes_too_long_is_over(bench: &Bench) {
    let job = bench.job_with("a", |job| {
        job.options.timeout = Some(SECOND);
        job.options.retry = policy(2);
    });
    let job = bench.submit(job).await;
    let got = bench.one().await;
    let asked = Instant::now();
    let again = bench.one().await;
    bench.assert_took(asked, Instant::now(), ms(2_000));
    assert_eq!(again.attempt, 2);
    assert_eq!(
        code(bench.end(&got, succeeded("late")).await),
        ErrorCode::LeaseLost
    );
    let view = bench.look(job).await;
    assert_eq!(view.error.as_deref(), Some("the attempt took too long"));
}

pub async fn a_job_ends_at_its_deadline_also_while_it_runs(bench: &Bench) {
    let first = bench.submit(bench.job("a")).await;
    let deadline = bench.look(first).await.submitted + SECOND;
    let due = || bench.job_with("b", |job| job.options.deadline = Some(deadline));
    let (running, waiting) = (bench.submit(due()).await, bench.submit(due()).await);
    let got = bench.get(2).await;
    let asked = Instant::now();
    for job in [running, waiting] {
        let view = bench.wait(job, HOUR).await.unwrap().0;
        assert_eq!(view.state, JobState::Expired);
        bench.assert_took(asked, Instant::now(), SECOND);
    }
    assert_eq!(
        code(bench.end(&got[1], succeeded("late")).await),
        ErrorCode::LeaseLost
    );
    assert!(bench.get(1).await.is_empty());
}

pub async fn a_dead_job_is_retried_as_a_new_one(bench: &Bench) {
    let dead = bench.job_with("a", |job| job.options.retry = policy(1));
    let dead = bench.submit(dead).await;
    let retry = async || bench.backend().retry(&bench.namespace, dead, None).await;
    assert_eq!(namely(retry().await), "job_id");
    let got = bench.one().await;
    bench.end(&got, failed()).await.unwrap();
    let again = retry().await.unwrap().job;
    assert_ne!(again, dead);
    assert_eq!(bench.look(again).await.options.retry_of, Some(dead));
    let got = bench.one().await;
    assert_eq!((got.job, got.attempt), (again, 1));
    assert_eq!(got.payload.data, "a");
    bench.end(&got, succeeded("text")).await.unwrap();
    let refused = bench.backend().retry(&bench.namespace, again, None).await;
    assert_eq!(namely(refused), "job_id");
}

pub async fn a_retry_that_is_named_makes_one_job(bench: &Bench) {
    let dead = bench.job_with("a", |job| job.options.retry = policy(1));
    let dead = bench.submit(dead).await;
    let got = bench.one().await;
    bench.end(&got, failed()).await.unwrap();
    let request = || {
        let id = RequestId::new("again", "request_id").unwrap();
        Some(Request { id, digest: 1 })
    };
    let port = bench.backend();
    let retry = async || {
        let told = port.retry(&bench.namespace, dead, request());
        told.await.unwrap()
    };
    let first = retry().await;
    assert_eq!(first.decision, Decision::New);
    let second = retry().await;
    assert_eq!((second.job, second.decision), (first.job, Decision::Repeat));
}
