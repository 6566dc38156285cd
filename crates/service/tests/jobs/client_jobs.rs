//! The client's jobs: submitted, waited for, looked at, taken back and made again.

use crate::daemon::Daemon;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use trellis_client::jobs::{
    Attempt, Conflict, Decision, Failure, JobError, JobState, Payload, Queue, QueueSpec,
};
use trellis_client::{ErrorKind, ErrorReason};
use trellis_conformance::spawn;

/// Does one job after the other, as this says.
fn work<F>(queue: &Queue, handler: impl Fn(Attempt<usize>) -> F + Send + Sync + 'static)
where
    F: Future<Output = Result<usize, Failure>> + Send + 'static,
{
    let worker = queue.worker();
    drop(spawn(async move { worker.run(handler).await }));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_done_and_its_submitter_is_told_the_result() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    work(&queue, |attempt| async move { Ok(attempt.payload() * 2) });
    let job = queue.submit(&21).await.unwrap();
    assert_eq!(job.decision, Decision::New);
    assert_eq!(job.result::<usize>().await.unwrap(), 42);
    // It is told again for as long as it is kept, to whoever knows its id.
    let same = daemon.client().0.jobs().job(job.id());
    assert_eq!(same.result::<usize>().await.unwrap(), 42);
    let wrong = job.result::<String>().await.unwrap_err();
    assert!(matches!(wrong, JobError::Type(_)), "{wrong}");
    let info = job.wait().await.unwrap();
    assert_eq!((info.state, info.attempts), (JobState::Succeeded, 1));
    assert!(info.ended.is_some() && info.lease.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_job_is_submitted_with_reaches_its_worker_and_whoever_looks() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let job = queue
        .submit(&7)
        .priority(9)
        .delay(Duration::from_mins(1))
        .timeout(Duration::from_secs(30))
        .max_attempts(3)
        .backoff(Duration::from_secs(2), Duration::from_secs(4))
        .jitter_percent(0)
        .unique("page-7", Conflict::Return)
        .fair_key("tenant")
        .weight(5)
        .concurrency_key("scanner")
        .label("team", "a")
        .trace_context("00-1")
        .await
        .unwrap();
    let info = job.get().await.unwrap();
    assert_eq!((info.state, info.priority), (JobState::Delayed, 9));
    let after = info.ready.unwrap().duration_since(info.submitted);
    assert_eq!(after.unwrap(), Duration::from_mins(1));
    let submitted = info.options.clone();
    work(&queue, move |attempt| {
        let same = attempt.options().unwrap() == submitted;
        let timeout = attempt.timeout() == Some(Duration::from_secs(30));
        async move { Ok(usize::from(same && timeout && attempt.deadline().is_none())) }
    });
    assert_eq!(job.result::<usize>().await.unwrap(), 1);
    assert_eq!(info.options.retry.max_attempts, Some(3));
    assert_eq!(info.options.labels["team"], "a");
}

#[tokio::test(start_paused = true)]
async fn the_same_submission_makes_one_job_and_a_unique_key_has_one() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let submit = queue.submit(&1);
    let first = submit.send().await.unwrap();
    let again = submit.clone().await.unwrap();
    assert_eq!(
        (again.id(), again.decision.clone()),
        (first.id(), Decision::Repeat)
    );

    let unique = |conflict| queue.submit(&2).unique("page", conflict);
    let old = unique(Conflict::Reject).await.unwrap();
    let rejected = unique(Conflict::Reject).await.unwrap();
    assert_eq!(rejected.decision, Decision::Rejected);
    let existing = unique(Conflict::Return).await.unwrap();
    assert_eq!(existing.decision, Decision::Existing);
    assert_eq!((rejected.id(), existing.id()), (old.id(), old.id()));
    let new = unique(Conflict::Replace).await.unwrap();
    let job_id = old.id().to_owned();
    assert_eq!(new.decision, Decision::Replaced { job_id });
    let replaced = old.result::<usize>().await.unwrap_err();
    assert!(matches!(replaced, JobError::Replaced), "{replaced}");
}

#[tokio::test(start_paused = true)]
async fn a_job_without_a_result_says_why() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let cancelled = queue.submit(&0).await.unwrap();
    assert_eq!(cancelled.cancel().await.unwrap().state, JobState::Cancelled);
    let error = cancelled.result::<usize>().await.unwrap_err();
    assert!(matches!(error, JobError::Cancelled), "{error}");

    let soon = cancelled.get().await.unwrap().submitted + Duration::from_secs(1);
    let expired = queue.submit(&0).deadline(soon).await.unwrap();
    let error = expired.result::<usize>().await.unwrap_err();
    assert!(matches!(error, JobError::Expired), "{error}");

    work(&queue, |attempt| async move {
        match attempt.payload() {
            1 => Err(Failure::permanent("not a page")),
            _ => Err(Failure::retry("the scanner is off")),
        }
    });
    let failed = queue.submit(&1).await.unwrap();
    let told = failed.result::<usize>().await.unwrap_err().to_string();
    assert_eq!(told, "the job has failed: not a page");
    let dead = queue.submit(&2).max_attempts(2).await.unwrap();
    let error = dead.result::<usize>().await.unwrap_err();
    let JobError::Dead { attempts: 2, error } = error else {
        panic!("{error}");
    };
    assert_eq!(error, "the scanner is off");
}

#[tokio::test(start_paused = true)]
async fn a_result_is_waited_for_through_broken_connections_and_another_life() {
    let daemon = Daemon::start().await;
    let (queue, cut) = daemon.queue();
    let job = queue.submit(&5).await.unwrap();
    let waiting = spawn(async move { job.result::<usize>().await.unwrap() });
    sleep(Duration::from_secs(1)).await;
    cut.cut();
    sleep(Duration::from_secs(100)).await;
    let daemon = daemon.restart().await;
    sleep(Duration::from_secs(1)).await;
    work(&daemon.queue().0, |attempt| async move {
        Ok(*attempt.payload())
    });
    assert_eq!(waiting.await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn many_jobs_go_in_as_few_calls_as_they_fit_into_and_each_is_told() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    // Neither 1,000 jobs nor the bytes of one message are enough.
    let large = "x".repeat(900_000);
    let good = (0..2_000).map(|number| queue.submit(&number).label("n", number.to_string()));
    let large = (0..6).map(|_| queue.submit(&large));
    let bad = [
        queue.submit(&0).priority(10),
        queue.submit(&0).timeout(Duration::MAX),
    ];
    let told = queue.submit_many(good.chain(bad).chain(large)).await;
    assert_eq!(told.len(), 2_008);
    let refused: Vec<_> = told
        .iter()
        .enumerate()
        .filter(|(_, it)| it.is_err())
        .collect();
    let [(2_000, Err(priority)), (2_001, Err(timeout))] = refused[..] else {
        panic!("{refused:?}");
    };
    assert_eq!(priority.reason(), Some(ErrorReason::InvalidField));
    assert_eq!(timeout.kind(), ErrorKind::InvalidRequest);
    let listed = queue.list().page_size(1_000).all().await.unwrap();
    assert_eq!(listed.len(), 2_006);
    for job in listed {
        if let Some(number) = job.options.labels.get("n") {
            let told = told[number.parse::<usize>().unwrap()].as_ref();
            assert_eq!(told.unwrap().id(), job.id);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_set_paused_looked_at_and_resumed() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    assert_eq!(queue.get().await.unwrap().pending(), 0);
    let spec = QueueSpec {
        concurrency: Some(3),
        result_retention: Some(Duration::from_hours(1)),
        ..QueueSpec::default()
    };
    assert_eq!(queue.set(spec).await.unwrap().spec.concurrency, Some(3));
    let paused = queue.pause().await.unwrap().spec;
    assert!(paused.paused && paused.concurrency == Some(3));
    work(&queue, |attempt| async move {
        match attempt.payload() {
            0 => Err(Failure::permanent("no")),
            number => Ok(*number),
        }
    });
    let mut jobs = queue.submit_many((0..3).map(|it| queue.submit(&it))).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(queue.get().await.unwrap().count(JobState::Ready), 3);
    assert!(!queue.resume().await.unwrap().spec.paused);
    let last = jobs.pop().unwrap().unwrap();
    assert_eq!(last.result::<usize>().await.unwrap(), 2);
    let state = queue.get().await.unwrap();
    assert_eq!(
        (
            state.pending(),
            state.count(JobState::Succeeded),
            state.count(JobState::Failed)
        ),
        (0, 2, 1)
    );
    let failed = queue.list().state(JobState::Failed).all().await.unwrap();
    assert_eq!((failed.len(), &*failed[0].error), (1, "no"));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_failed_is_made_again_once_by_each_handle() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let job = queue.submit(&1).await.unwrap();
    let early = job.retry().await.unwrap_err();
    assert_eq!(early.reason(), Some(ErrorReason::InvalidField));
    job.cancel().await.unwrap();
    let new = job.retry().await.unwrap();
    let same = job.job.clone().retry().await.unwrap();
    assert_eq!(
        (same.id(), same.decision.clone()),
        (new.id(), Decision::Repeat)
    );
    work(&queue, |attempt| async move { Ok(*attempt.payload()) });
    assert_eq!(new.result::<usize>().await.unwrap(), 1);
    assert_eq!(new.get().await.unwrap().retry_of.as_deref(), Some(job.id()));
}

#[tokio::test(start_paused = true)]
async fn bytes_and_references_go_as_they_are() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let worker = queue.worker();
    let echo = |attempt: Attempt<Payload>| async move {
        Ok(match attempt.payload() {
            Payload::Data(data) => data.clone(),
            Payload::Reference(reference) => reference.clone().into(),
        })
    };
    drop(spawn(async move { worker.run_raw(echo).await }));
    let data = Payload::Data(vec![0, 255].into());
    let job = queue.submit_payload(data).await.unwrap();
    assert_eq!(&job.result_bytes().await.unwrap()[..], [0, 255]);
    let reference = Payload::Reference("cache:page-7".to_owned());
    let job = queue.submit_payload(reference).await.unwrap();
    assert_eq!(job.result_bytes().await.unwrap(), "cache:page-7");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_job_that_is_unknown_ends_at_once() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let job = queue.submit(&1).await.unwrap();
    job.cancel().await.unwrap();
    let since = Instant::now();
    let (client, _) = daemon.client();
    let elsewhere = client.jobs().namespace("elsewhere").job(job.id());
    let error = elsewhere.result::<usize>().await.unwrap_err();
    let JobError::Call(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.reason(), Some(ErrorReason::JobNotFound));
    assert_eq!(since.elapsed(), Duration::ZERO);
}
