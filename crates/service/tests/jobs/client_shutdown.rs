//! The end of the client's workers.

use crate::client_worker::{put, run};
use crate::daemon::Daemon;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use trellis_client::ErrorKind;
use trellis_client::jobs::{CancelReason, Failure, JobState, Queue, Worker};

const DRAIN_TIME: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(4);

fn worker(queue: &Queue) -> (Worker, CancellationToken) {
    let shutdown = CancellationToken::new();
    let worker = queue
        .worker()
        .drain_time(DRAIN_TIME)
        .cancel_grace(GRACE)
        .shutdown(shutdown.clone().cancelled_owned());
    (worker, shutdown)
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_no_more_jobs_and_waits_for_those_that_run() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let (worker, shutdown) = worker(&queue);
    let worker = run(worker.concurrency(2), |attempt| async move {
        sleep(Duration::from_secs(10)).await;
        Ok(*attempt.payload())
    });
    let first = put(&queue, 1).await;
    sleep(Duration::from_secs(5)).await;
    shutdown.cancel();
    sleep(Duration::from_millis(1)).await;
    let second = put(&queue, 2).await;
    let since = Instant::now();
    worker.await.unwrap().unwrap();
    assert_eq!(since.elapsed().as_secs(), 4);
    assert_eq!(first.state().await.unwrap(), JobState::Succeeded);
    assert_eq!(second.state().await.unwrap(), JobState::Ready);
}

#[tokio::test(start_paused = true)]
async fn one_without_jobs_ends_at_once_also_when_the_daemon_is_away() {
    let daemon = Daemon::start().await;
    let (queue, cut) = daemon.queue();
    for away in [false, true] {
        if away {
            cut.cut_for_good();
        }
        let (worker, shutdown) = worker(&queue);
        let worker = run(worker, |_| async { Ok(0) });
        sleep(Duration::from_secs(1)).await;
        let since = Instant::now();
        shutdown.cancel();
        worker.await.unwrap().unwrap();
        assert_eq!(since.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_told_and_its_job_goes_to_another_worker() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let (worker, shutdown) = worker(&queue);
    let (told, mut reasons) = mpsc::channel(10);
    let worker = run(worker.concurrency(2), move |attempt| {
        let told = told.clone();
        async move {
            let reason = attempt.cancelled().await;
            attempt.progress(&9).await?;
            told.send(reason).await?;
            if *attempt.payload() == 1 {
                // It does not stop by itself.
                sleep(Duration::from_hours(1)).await;
            }
            Err(Failure::give_back())
        }
    });
    let jobs = [put(&queue, 0).await, put(&queue, 1).await];
    sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    shutdown.cancel();
    for _ in 0..2 {
        assert_eq!(reasons.recv().await, Some(CancelReason::Shutdown));
        assert_eq!(since.elapsed().as_secs(), DRAIN_TIME.as_secs());
    }
    worker.await.unwrap().unwrap();
    assert_eq!(since.elapsed().as_secs(), (DRAIN_TIME + GRACE).as_secs());
    let since = Instant::now();
    run(queue.worker(), |attempt| async move {
        Ok(attempt.checkpoint::<usize>()?.unwrap_or_default())
    });
    for job in jobs {
        assert_eq!(job.result::<usize>().await.unwrap(), 9);
        // What was stopped does not count.
        assert_eq!(job.get().await.unwrap().attempts, 1);
    }
    assert!(since.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_the_daemon_does_not_acknowledge_in_time_is_told() {
    let daemon = Daemon::start().await;
    let (queue, cut) = daemon.queue();
    let (worker, shutdown) = worker(&queue);
    let worker = run(worker, |attempt| async move {
        sleep(Duration::from_secs(2)).await;
        Ok(*attempt.payload())
    });
    put(&queue, 0).await;
    sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    cut.cut_for_good();
    shutdown.cancel();
    let error = worker.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    let bound = DRAIN_TIME + GRACE + Duration::from_secs(5);
    assert_eq!(since.elapsed().as_secs(), bound.as_secs());
}
