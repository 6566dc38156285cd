//! The end of a daemon, as workers and callers see it.

use crate::bench::{Bench, DRAIN, Worker, micros};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::Code;
use trellis_core::jobs::JobState;
use trellis_proto::v1;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::job_service_work_response::Response;

/// The worker is told that no more jobs come.
async fn is_told(worker: &mut Worker) {
    let (0, Response::Drain(drain)) = worker.next().await else {
        panic!("no drain");
    };
    assert!(drain.reason.contains("shutting down"));
    assert_eq!(micros(drain.remaining), DRAIN.into());
}

/// The last message, and the end.
async fn is_ended(worker: &mut Worker) {
    let (0, Response::Draining(draining)) = worker.next().await else {
        panic!("the last message is `draining`");
    };
    assert!(draining.reason.contains("shutting down"));
    assert!(worker.message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_finish_what_it_has_and_gets_nothing_more() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await;
    let mut worker = bench.worker(5).await;
    let got = worker.job().await;
    bench.drain.cancel();
    is_told(&mut worker).await;
    let waiting = bench.life.put("b").await;
    sleep(DRAIN / 2).await;
    worker.is_quiet().await;
    worker.succeed(2, &got);
    worker.finished(2).await;
    is_ended(&mut worker).await;
    assert_eq!(bench.state(job).await, JobState::Succeeded);
    assert_eq!(bench.state(waiting).await, JobState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_not_done_in_time_keeps_its_lease() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    worker.job().await;
    let since = Instant::now();
    bench.drain.cancel();
    is_told(&mut worker).await;
    is_ended(&mut worker).await;
    assert_eq!(since.elapsed(), DRAIN);
    // For longer than after a break: it names the lease at the next daemon.
    sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.state(job).await, JobState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_jobs_is_sent_away_at_once() {
    let bench = Bench::start().await;
    let mut worker = bench.worker(1).await;
    bench.drain.cancel();
    let since = Instant::now();
    is_told(&mut worker).await;
    is_ended(&mut worker).await;
    assert_eq!(since.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_are_told_and_take_nothing() {
    let bench = Bench::start().await;
    let later = bench
        .put_with(|job| job.run_at = Some(trellis_core::Time(u64::MAX / 2)))
        .await;
    let (channel, _cut) = bench.server.channel();
    let hour = Some(prost_types::Duration {
        seconds: 3_600,
        nanos: 0,
    });
    let reserve = v1::JobServiceReserveRequest {
        queue: "ocr".to_owned(),
        worker: "worker".to_owned(),
        max_wait: hour,
        ..Default::default()
    };
    let wait = v1::JobServiceWaitRequest {
        job_id: later.to_string(),
        max_wait: hour,
        ..Default::default()
    };
    let (mut one, mut other) = (
        JobServiceClient::new(channel.clone()),
        JobServiceClient::new(channel),
    );
    let drain = async {
        sleep(Duration::from_millis(10)).await;
        bench.drain.cancel();
    };
    let (reserved, waited, ()) = tokio::join!(one.reserve(reserve), other.wait(wait), drain);
    assert_eq!(reserved.unwrap_err().code(), Code::Unavailable);
    assert_eq!(waited.unwrap_err().code(), Code::Unavailable);
    let job = bench.life.put("a").await;
    assert_eq!(bench.state(job).await, JobState::Ready);
}
