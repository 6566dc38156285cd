//! Streams that break, and workers that come back.

use crate::bench::{Bench, LEASE, REATTACH, id_of, micros, open};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use trellis_core::jobs::JobState;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;
use trellis_proto::v1::{self, JobCancelReason};

/// How long after the other one a worker gets a job that comes back.
async fn comes_back_within(bench: &Bench, since: Instant) -> Duration {
    let mut other = bench.worker(1).await;
    let got = other.job().await;
    assert_eq!(got.attempt, 2);
    since.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_broken_stream_runs_again_within_seconds() {
    let bench = Bench::start().await;
    bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    worker.job().await;
    let since = Instant::now();
    worker.die().await;
    let took = comes_back_within(&bench, since).await;
    assert!(
        (REATTACH..REATTACH + Duration::from_millis(50)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_its_side_gives_its_jobs_up_as_late() {
    let bench = Bench::start().await;
    let done = bench.life.put("done").await;
    bench.life.put("a").await;
    let mut worker = bench.worker(2).await;
    let first = worker.job().await;
    worker.job().await;
    let since = Instant::now();
    worker.succeed(2, &first);
    worker.close();
    worker.finished(2).await;
    assert!(worker.message().await.unwrap().is_none());
    assert_eq!(bench.state(done).await, JobState::Succeeded);
    let took = comes_back_within(&bench, since).await;
    assert!(
        (REATTACH..REATTACH + Duration::from_millis(50)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_names_its_leases_in_time_goes_on() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    worker.die().await;
    sleep(REATTACH / 2).await;
    let mut again = bench.opened(open(1, &[&got.lease_id])).await;
    sleep(3 * LEASE).await;
    // It takes room, too.
    bench.life.put("b").await;
    again.is_quiet().await;
    again.succeed(2, &got);
    again.finished(2).await;
    let view = bench.view(job).await;
    assert_eq!((view.state, view.attempts), (JobState::Succeeded, 1));
    assert_eq!(again.job().await.payload.unwrap().content, {
        let data = v1::job_payload::Content::Data("b".into());
        Some(data)
    });
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_named_too_late_is_cancelled() {
    let bench = Bench::start().await;
    bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    worker.die().await;
    let mut other = bench.worker(1).await;
    assert_eq!(id_of(&other.job().await), id_of(&got));
    let mut late = bench.opened(open(0, &[&got.lease_id])).await;
    let cancel = late.cancelled().await;
    assert_eq!(cancel.lease_id, got.lease_id);
    assert_eq!(cancel.reason(), JobCancelReason::Lost);
    // What the other one has is not touched by that.
    late.die().await;
    sleep(2 * REATTACH).await;
    other.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_stream_names_is_that_streams() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await;
    let mut first = bench.worker(1).await;
    let got = first.job().await;
    let mut second = bench.opened(open(1, &[&got.lease_id])).await;
    let cancel = first.cancelled().await;
    assert_eq!(
        (cancel.lease_id.as_str(), cancel.reason()),
        (&*got.lease_id, JobCancelReason::Lost)
    );
    first.die().await;
    sleep(2 * LEASE).await;
    second.succeed(2, &got);
    second.finished(2).await;
    assert_eq!(bench.view(job).await.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_extended_outlasts_the_break() {
    let bench = Bench::start().await;
    bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    let long = Duration::from_mins(1);
    let extend = v1::JobExtend {
        lease_id: got.lease_id.clone(),
        lease: Some(long.try_into().unwrap()),
    };
    worker.say(2, Request::Extend(extend));
    let (2, Response::Extended(extended)) = worker.next().await else {
        panic!("not extended");
    };
    assert_eq!(micros(extended.lease_remaining), long.into());
    let since = Instant::now();
    worker.die().await;
    let took = comes_back_within(&bench, since).await;
    assert!(
        took <= long && took + Duration::from_millis(50) >= long,
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_said_before_it_died_counts() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    worker.succeed(2, &got);
    worker.finished(2).await;
    worker.die().await;
    sleep(2 * REATTACH).await;
    assert_eq!(bench.state(job).await, JobState::Succeeded);
}
