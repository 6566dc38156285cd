//! How jobs end.

use crate::jobs::prelude::*;
use crate::spawn;
use tokio::time::Instant;
use trellis_core::jobs::MEMORY;

pub async fn whoever_waits_is_told_how_it_ended(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let bench = bench.clone();
            spawn(async move { bench.wait(job, HOUR).await.unwrap() })
        })
        .collect();
    bench.elapse(ms(10)).await;
    let got = bench.one().await;
    bench.end(&got, succeeded("text")).await.unwrap();
    for waiting in waiting {
        let (view, result) = waiting.await.unwrap();
        assert_eq!(view.state, JobState::Succeeded);
        assert_eq!(result.unwrap(), "text");
    }
}

pub async fn a_wait_in_vain_tells_what_the_job_is_at(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    for wait in [Micros::ZERO, ms(300)] {
        let asked = Instant::now();
        let (view, result) = bench.wait(job, wait).await.unwrap();
        assert_eq!((view.state, result), (JobState::Ready, None));
        bench.assert_took(asked, Instant::now(), wait);
    }
}

pub async fn a_cancelled_job_is_over_whether_it_runs_or_not(bench: &Bench) {
    let jobs = bench.submit_all(&["a", "b"]).await;
    let got = bench.one().await;
    for job in &jobs {
        let view = bench.cancel(*job).await.unwrap();
        assert_eq!(view.state, JobState::Cancelled);
    }
    assert_eq!(code(bench.extend(&got, None).await), ErrorCode::LeaseLost);
    assert_eq!(
        code(bench.end(&got, succeeded("late")).await),
        ErrorCode::LeaseLost
    );
    assert!(bench.get(1).await.is_empty());
    let view = bench.cancel(jobs[0]).await.unwrap();
    assert_eq!(view.state, JobState::Cancelled, "once more does nothing");
}

pub async fn a_job_ends_once_whatever_comes_at_the_same_time(bench: &Bench) {
    for _ in 0..10 {
        let job = bench.submit(bench.job("a")).await;
        let got = bench.one().await;
        let (cancelled, ended) =
            tokio::join!(bench.cancel(job), bench.end(&got, succeeded("text")));
        let state = bench.state(job).await;
        assert_eq!(cancelled.unwrap().state, state);
        match ended {
            Ok(()) => assert_eq!(state, JobState::Succeeded),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::LeaseLost);
                assert_eq!(state, JobState::Cancelled);
            }
        }
    }
}

pub async fn a_result_is_kept_for_its_time(bench: &Bench) {
    bench
        .set(QueueSpec {
            result_retention: SECOND,
            ..QueueSpec::default()
        })
        .await;
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    bench.end(&got, succeeded("text")).await.unwrap();
    assert_eq!(bench.wait(job, HOUR).await.unwrap().1.unwrap(), "text");
    if bench.is_virtual() {
        // No job is forgotten sooner, so that its repeat is known.
        bench.elapse(Micros(MEMORY.0 - SECOND.0)).await;
        assert_eq!(bench.wait(job, HOUR).await.unwrap().1.unwrap(), "text");
        bench.elapse(Micros(2 * SECOND.0)).await;
        assert_eq!(code(bench.wait(job, HOUR).await), ErrorCode::JobNotFound);
    }
}
