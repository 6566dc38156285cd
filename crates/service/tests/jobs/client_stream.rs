//! What the client's workers tell while they work, and who follows it: through broken streams, and lives of the daemon.

use crate::client_worker::{put, run};
use crate::daemon::Daemon;
use futures::{FutureExt as _, StreamExt as _};
use std::time::Duration;
use tokio::time::sleep;
use trellis_client::jobs::{Failure, Job, JobError, JobEvent, JobProgress, JobState, Queue};
use trellis_client::{ErrorKind, ErrorReason};
use trellis_conformance::spawn;

const SECOND: Duration = Duration::from_secs(1);

/// Appends as many pieces as the payload says, one each second, and tells how far it is.
fn telling_worker(queue: &Queue) {
    run(queue.worker(), |attempt| async move {
        let pieces = u64::try_from(*attempt.payload())?;
        for piece in 0..pieces {
            sleep(SECOND).await;
            attempt.append(piece.to_string()).await?;
            attempt.report(piece + 1, pieces, "reads").await?;
        }
        Ok(*attempt.payload())
    });
}

async fn all_of(job: Job) -> Vec<JobEvent> {
    let told = job.stream().into_stream();
    told.map(Result::unwrap).collect().await
}

fn chunks(all: &[JobEvent]) -> Vec<String> {
    let chunks = all.iter().filter_map(|event| match event {
        JobEvent::Chunk(chunk) => Some(String::from_utf8_lossy(chunk).into_owned()),
        _ => None,
    });
    chunks.collect()
}

fn chunk(text: &'static str) -> JobEvent {
    JobEvent::Chunk(text.into())
}

#[tokio::test(start_paused = true)]
async fn a_job_is_followed_through_broken_streams_and_another_life_without_loss_or_repeat() {
    let daemon = Daemon::start().await;
    let (worker_queue, worker_cut) = daemon.queue();
    let (reader, reader_cut) = daemon.client();
    telling_worker(&worker_queue);
    let job = put(&daemon.queue().0, 20).await;
    let all = spawn(all_of(reader.jobs().job(job.id())));
    for cut in [&reader_cut, &worker_cut] {
        sleep(SECOND * 7 / 2).await;
        cut.cut();
    }
    sleep(SECOND * 7 / 2).await;
    let _daemon = daemon.restart().await;
    sleep(SECOND * 7 / 2).await;
    worker_cut.cut();
    reader_cut.cut();
    let all = all.await.unwrap();
    let pieces: Vec<_> = (0..20).map(|piece| piece.to_string()).collect();
    assert_eq!(chunks(&all), pieces);
    let told = all.iter().filter_map(|event| match event {
        JobEvent::Progress(progress) => Some(progress),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert!(told.is_sorted_by(|one, next| one.done < next.done));
    let last = JobProgress {
        done: 20,
        total: Some(20),
        message: "reads".to_owned(),
        checkpoint: None,
    };
    assert_eq!(told.last(), Some(&&last));
    let Some(JobEvent::Ended { job, result }) = all.last() else {
        panic!("{all:?}");
    };
    assert_eq!((job.state, job.attempts), (JobState::Succeeded, 1));
    assert_eq!(result, "20");
    assert!(!all.contains(&JobEvent::Reset));
}

#[tokio::test(start_paused = true)]
async fn another_attempt_voids_the_pieces_of_the_former() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    run(queue.worker(), |attempt| async move {
        if attempt.number() == 1 {
            attempt.append("torn").await?;
            attempt.append("page").await?;
            return Err(Failure::retry("the lamp is broken"));
        }
        attempt.append("whole").await?;
        Ok(1)
    });
    let job = put(&queue, 0).await;
    let told = all_of(job.clone()).await;
    let expected = [
        chunk("torn"),
        chunk("page"),
        JobEvent::Reset,
        chunk("whole"),
    ];
    assert_eq!(told[..4], expected);
    assert!(matches!(told[4..], [JobEvent::Ended { .. }]));
    assert_eq!(job.chunks().await.unwrap(), ["whole"]);
    // Who comes late, or goes on elsewhere, is told what is still valid.
    let mut late = job.stream();
    assert_eq!(late.next().await.unwrap(), Some(JobEvent::Reset));
    let mut on = job.stream_from(late.sequence());
    assert_eq!(on.next().await.unwrap(), Some(chunk("whole")));
    assert!(matches!(
        on.next().await.unwrap(),
        Some(JobEvent::Ended { .. })
    ));
    assert_eq!(on.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_is_refused_leaves_no_gap_and_one_that_is_given_up_no_doubt() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    run(queue.worker(), |attempt| async move {
        let large = attempt.append(vec![0; (1 << 20) + 1]).await.unwrap_err();
        assert_eq!(large.kind(), ErrorKind::InvalidRequest);
        let empty = attempt.append("").await.unwrap_err();
        assert_eq!(empty.reason(), Some(ErrorReason::InvalidField));
        attempt.append("a").await?;
        assert!(attempt.append("b").now_or_never().is_none());
        attempt.append("c").await?;
        let (d, e) = tokio::join!(attempt.append("d"), attempt.append("e"));
        d.and(e)?;
        let mut taken = 0;
        let full = loop {
            match attempt.append("x").await {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert!(full.message().contains("max_chunks"), "{full}");
        Ok(taken)
    });
    let job = queue.submit(&0).max_attempts(1).await.unwrap().job;
    let taken: usize = job.result().await.unwrap();
    let chunks = job.chunks().await.unwrap();
    assert_eq!(chunks[..5], ["a", "b", "c", "d", "e"]);
    assert_eq!(chunks.len(), 5 + taken);
}

#[tokio::test(start_paused = true)]
async fn a_job_without_success_has_no_pieces_and_one_that_is_not_there_no_stream() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    telling_worker(&queue);
    let job = put(&queue, 20).await;
    sleep(SECOND * 5 / 2).await;
    job.cancel().await.unwrap();
    let cancelled = job.chunks().await.unwrap_err();
    assert!(matches!(cancelled, JobError::Cancelled), "{cancelled}");
    let (client, _) = daemon.client();
    let elsewhere = client.jobs().namespace("other").job(job.id());
    let mut told = elsewhere.stream().into_stream();
    let error = told.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(ErrorReason::JobNotFound));
    assert!(told.next().await.is_none());
}
