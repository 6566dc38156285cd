//! Jobs of equal cache keys.

use crate::jobs::prelude::*;

pub async fn of_jobs_of_one_cache_key_one_runs_and_all_have_its_result(bench: &Bench) {
    let mut jobs = Vec::new();
    for data in ["a", "b", "c"] {
        jobs.push(bench.submit(bench.cached(data, "page")).await);
    }
    bench.submit(bench.cached("d", "other")).await;
    let got = bench.one().await;
    assert_eq!(got.payload.data, "a");
    assert_eq!(bench.one().await.payload.data, "d");
    assert!(bench.get(10).await.is_empty());
    bench.end(&got, succeeded("text")).await.unwrap();
    for (job, attempts) in jobs.into_iter().zip([1, 0, 0]) {
        let (view, result) = bench.wait(job, HOUR).await.unwrap();
        assert_eq!((view.state, view.attempts), (JobState::Succeeded, attempts));
        assert_eq!(result.unwrap(), "text");
    }
}

pub async fn when_the_one_that_runs_fails_the_next_one_does(bench: &Bench) {
    let mut jobs = Vec::new();
    for data in ["a", "b", "c"] {
        jobs.push(bench.submit(bench.cached(data, "page")).await);
    }
    let got = bench.one().await;
    bench.cancel(got.job).await.unwrap();
    let got = bench.one().await;
    assert_eq!(got.payload.data, "b");
    bench.cancel(jobs[2]).await.unwrap();
    bench.end(&got, succeeded("text")).await.unwrap();
    for (job, state) in jobs.into_iter().zip([
        JobState::Cancelled,
        JobState::Succeeded,
        JobState::Cancelled,
    ]) {
        assert_eq!(bench.state(job).await, state);
    }
}

pub async fn a_result_in_the_cache_ends_a_job_at_once(bench: &Bench) {
    let first = bench.submit(bench.cached("a", "page")).await;
    let got = bench.one().await;
    assert_eq!(got.job, first);
    bench.end(&got, succeeded("text")).await.unwrap();
    // It goes into the cache beside the answer.
    bench.elapse(ms(20)).await;
    let again = bench.submit(bench.cached("b", "page")).await;
    let (view, result) = bench.wait(again, HOUR).await.unwrap();
    assert_eq!((view.state, view.attempts), (JobState::Succeeded, 0));
    assert_eq!(result.unwrap(), "text");
    assert!(bench.get(1).await.is_empty());
    bench.elapse(Micros(2 * SECOND.0)).await;
    let late = bench.submit(bench.cached("c", "page")).await;
    assert_eq!(bench.one().await.job, late);
}
