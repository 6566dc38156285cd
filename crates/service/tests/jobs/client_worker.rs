//! The client's workers: places, leases, failures, checkpoints, and what becomes of a job whose stream breaks.

use crate::bench::{LEASE, REATTACH};
use crate::daemon::Daemon;
use futures::FutureExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use trellis_client::ErrorReason;
use trellis_client::jobs::{
    Attempt, CancelReason, Failure, Job, JobError, JobState, Queue, Worker,
};
use trellis_conformance::spawn;

/// Works as this says, until it is dropped.
pub fn run<F>(
    worker: Worker,
    handler: impl Fn(Attempt<usize>) -> F + Send + Sync + 'static,
) -> tokio::task::JoinHandle<trellis_client::Result<()>>
where
    F: Future<Output = Result<usize, Failure>> + Send + 'static,
{
    spawn(async move { worker.run(handler).await })
}

pub async fn put(queue: &Queue, number: usize) -> Job {
    queue.submit(&number).await.unwrap().job
}

/// Handlers that run, and the most that did at a time.
#[derive(Clone, Default)]
struct Gauge(Arc<(AtomicUsize, AtomicUsize)>);

impl Gauge {
    fn enter(&self) -> Inside {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        Inside(self.clone())
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

struct Inside(Gauge);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn all_places_are_used_and_no_more() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let gauge = Gauge::default();
    let inside = gauge.clone();
    run(queue.worker().concurrency(5), move |attempt| {
        let inside = inside.enter();
        async move {
            sleep(Duration::from_secs(1)).await;
            drop(inside);
            Ok(*attempt.payload())
        }
    });
    let since = Instant::now();
    let jobs = queue.submit_many((0..50).map(|it| queue.submit(&it))).await;
    for (number, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.unwrap().result::<usize>().await.unwrap(), number);
    }
    assert_eq!(gauge.most(), 5);
    let took = since.elapsed();
    assert!(
        (Duration::from_secs(10)..Duration::from_secs(11)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_vain_attempt_with_its_message() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    run(queue.worker(), |attempt| async move {
        assert!(attempt.number() > 1, "page {} is torn", attempt.payload());
        if attempt.number() == 2 {
            std::panic::panic_any(0_u8);
        }
        Ok(1)
    });
    let job = put(&queue, 7).await;
    while job.state().await.unwrap() != JobState::Delayed {
        sleep(Duration::from_millis(10)).await;
    }
    let error = job.get().await.unwrap().error;
    assert_eq!(error, "the handler panicked: page 7 is torn");
    assert_eq!(job.result::<usize>().await.unwrap(), 1);
    let info = job.get().await.unwrap();
    assert_eq!(
        (info.attempts, &*info.error),
        (3, "the handler panicked: no message")
    );
}

#[tokio::test(start_paused = true)]
async fn each_failure_has_what_it_says_become_of_the_job() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    run(queue.worker(), |attempt| async move {
        let wait = Duration::from_secs(20);
        match (attempt.payload(), attempt.checkpoint::<u8>()?) {
            (0, None) => {
                attempt.progress(&1).await?;
                Err(Failure::throttled(wait))
            }
            (1, None) => {
                attempt.progress(&1).await?;
                Err(Failure::retry_after("busy", wait))
            }
            (2, _) => Err("x".parse::<u8>().unwrap_err().into()),
            (_, _) => Ok(0),
        }
    });
    for (number, attempts) in [(0, 1), (1, 2)] {
        let since = Instant::now();
        let job = put(&queue, number).await;
        job.result::<usize>().await.unwrap();
        assert_eq!(job.get().await.unwrap().attempts, attempts, "{number}");
        assert_eq!(since.elapsed().as_secs(), 20, "{number}");
    }
    let job = queue.submit(&2).max_attempts(1).await.unwrap();
    let told = job.result::<usize>().await.unwrap_err().to_string();
    assert_eq!(
        told,
        "the job is dead after 1 attempts: invalid digit found in string"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_of_another_type_or_too_large_is_a_job_that_has_failed() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let worker = queue.worker();
    let large = |attempt: Attempt<usize>| async move { Ok("x".repeat(*attempt.payload())) };
    drop(spawn(async move { worker.run(large).await }));
    let text = queue.submit("seven").await.unwrap();
    let error = text.result::<String>().await.unwrap_err();
    let JobError::Failed { error } = error else {
        panic!("{error}");
    };
    assert!(
        error.starts_with("the payload is of another type: "),
        "{error}"
    );
    let huge = queue.submit(&(2 << 20)).await.unwrap();
    let error = huge.result::<String>().await.unwrap_err().to_string();
    assert!(error.contains("the attempt's end was refused: "), "{error}");
    let small = queue.submit(&3).await.unwrap();
    assert_eq!(small.result::<String>().await.unwrap(), "xxx");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_reaches_the_next_attempt() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    run(queue.worker(), |attempt| async move {
        let done = attempt.checkpoint::<usize>()?.unwrap_or(0);
        if done < *attempt.payload() {
            attempt.progress(&(done + 1)).await?;
            return Err(Failure::retry("one page at a time"));
        }
        Ok(done)
    });
    let job = put(&queue, 3).await;
    assert_eq!(job.result::<usize>().await.unwrap(), 3);
    assert_eq!(job.get().await.unwrap().attempts, 4);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_tells_its_handler_whose_place_is_free_once_it_has_stopped() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let (gauge, (told, mut reasons)) = (Gauge::default(), mpsc::channel(10));
    let inside = gauge.clone();
    let grace = Duration::from_secs(4);
    run(queue.worker().cancel_grace(grace), move |attempt| {
        let (inside, told) = (inside.enter(), told.clone());
        async move {
            if *attempt.payload() == 0 {
                told.send(attempt.cancelled().await).await?;
                // It does not stop by itself.
                sleep(Duration::from_hours(1)).await;
            }
            drop(inside);
            Ok(1)
        }
    });
    let (first, second) = (put(&queue, 0).await, put(&queue, 1).await);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(first.state().await.unwrap(), JobState::Running);
    let since = Instant::now();
    first.cancel().await.unwrap();
    assert_eq!(reasons.recv().await, Some(CancelReason::Cancelled));
    assert_eq!(second.result::<usize>().await.unwrap(), 1);
    let took = since.elapsed();
    assert!(
        took >= grace && took < grace + Duration::from_secs(1),
        "{took:?}"
    );
    assert_eq!(gauge.most(), 1);
    // Nobody has counted the second job as tried before.
    assert_eq!(second.get().await.unwrap().attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_told_and_cannot_keep_progress() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let (told, mut lost) = mpsc::channel(10);
    run(queue.worker(), move |attempt| {
        let told = told.clone();
        async move {
            if attempt.number() == 1 {
                let reason = attempt.cancelled().await;
                let refused = attempt.progress(&1).await.unwrap_err();
                told.send((reason, refused.reason())).await?;
            }
            Ok(1)
        }
    });
    let job = queue
        .submit(&0)
        .timeout(Duration::from_secs(5))
        .await
        .unwrap();
    let (reason, refused) = lost.recv().await.unwrap();
    assert_eq!(
        (reason, refused),
        (CancelReason::Lost, Some(ErrorReason::LeaseLost))
    );
    assert_eq!(job.result::<usize>().await.unwrap(), 1);
    assert_eq!(job.get().await.unwrap().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_goes_on_through_broken_streams_and_another_life() {
    let mut daemon = Daemon::start().await;
    let (worker_queue, cut) = daemon.queue();
    let (queue, _) = daemon.queue();
    let (go, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (goes, begins) = (go.clone(), begun.clone());
    run(worker_queue.worker(), move |attempt| {
        let (goes, begins) = (goes.clone(), begins.clone());
        async move {
            begins.notify_one();
            goes.notified().await;
            attempt.progress(attempt.payload()).await?;
            Ok(usize::try_from(attempt.number())?)
        }
    });
    let job = put(&queue, 0).await;
    timeout(LEASE, begun.notified()).await.unwrap();
    cut.cut();
    sleep(5 * LEASE).await;
    daemon = daemon.restart().await;
    sleep(5 * LEASE).await;
    // It ends while there is no stream, and is said on the next one.
    cut.cut();
    go.notify_one();
    let result = timeout(10 * LEASE, job.result::<usize>()).await;
    assert_eq!(result.unwrap().unwrap(), 1);
    assert_eq!(job.get().await.unwrap().attempts, 1);
    drop(daemon);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stays_cut_off_takes_its_jobs_for_lost() {
    let daemon = Daemon::start().await;
    let (worker_queue, cut) = daemon.queue();
    let (queue, _) = daemon.queue();
    let (told, mut reasons) = mpsc::channel(10);
    run(worker_queue.worker(), move |attempt| {
        let told = told.clone();
        async move {
            told.send(attempt.cancelled().await).await?;
            Ok(1)
        }
    });
    let job = put(&queue, 0).await;
    sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    cut.cut_for_good();
    let (other, begun) = (queue.worker(), Instant::now());
    let done = run(other, |_| async { Ok(2) });
    assert_eq!(job.result::<usize>().await.unwrap(), 2);
    let took = begun.elapsed();
    assert!(took < REATTACH + Duration::from_secs(1), "{took:?}");
    assert_eq!(reasons.recv().await, Some(CancelReason::Lost));
    let took = since.elapsed();
    assert!(
        took >= LEASE && took < LEASE + Duration::from_secs(1),
        "{took:?}"
    );
    done.abort();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_dropped_drops_its_handlers_and_their_jobs_run_again() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let worker = run(queue.worker(), move |attempt| {
        let inside = inside.enter();
        async move {
            attempt.cancelled().await;
            drop(inside);
            Ok(0)
        }
    });
    let job = put(&queue, 0).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(gauge.0.0.load(Ordering::SeqCst), 1);
    worker.abort();
    assert!(worker.await.is_err());
    sleep(Duration::from_millis(1)).await;
    assert_eq!(gauge.0.0.load(Ordering::SeqCst), 0);
    let since = Instant::now();
    run(queue.worker(), |attempt| async move {
        Ok(usize::try_from(attempt.number())?)
    });
    assert_eq!(job.result::<usize>().await.unwrap(), 2);
    assert!(since.elapsed() < REATTACH + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_no_stream_will_work_for_ends_with_why() {
    let daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    let error = run(client.queue("no such name!\n").worker(), |_| async {
        Ok(0)
    });
    let error = error.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::InvalidField));
    let (queue, cut) = daemon.queue();
    cut.cut_for_good();
    let waits = run(queue.worker(), |_| async { Ok(0) });
    assert!(timeout(Duration::from_hours(1), waits).await.is_err());
    assert!(queue.get().now_or_never().is_none());
}
