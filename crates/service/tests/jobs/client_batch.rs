//! The client's batches: a few jobs at a time, results as they come.

use crate::client_worker::run;
use crate::daemon::Daemon;
use futures::StreamExt as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use trellis_client::jobs::{
    BatchItem, BatchProcessor, BatchProgress, Failure, JobError, JobState, Queue,
};

/// Sleeps so many seconds for each job; 13 is bad luck.
fn sleeping_workers(queue: &Queue) {
    run(queue.worker().concurrency(100), |attempt| async move {
        let seconds = *attempt.payload();
        sleep(Duration::from_secs(seconds.try_into()?)).await;
        if seconds == 13 {
            return Err(Failure::permanent("bad luck"));
        }
        Ok(seconds)
    });
}

#[tokio::test(start_paused = true)]
async fn results_come_as_jobs_end_with_how_far_the_batch_is() {
    let daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    sleeping_workers(&client.queue("ocr"));
    let batch = BatchProcessor::new(&client, "ocr").process([3_usize, 13, 1, 2]);
    let items: Vec<BatchItem<usize>> = batch.into_stream().collect().await;
    let order: Vec<_> = items.iter().map(|item| item.index).collect();
    assert_eq!(order, [2, 3, 0, 1]);
    for (place, item) in items.iter().enumerate() {
        let failed = usize::from(item.index == 1);
        let progress = BatchProgress {
            done: place + 1 - failed,
            failed,
            total: 4,
        };
        assert_eq!(item.progress, progress);
        let ended = item.job.as_ref().unwrap().state().await.unwrap();
        assert_eq!(ended == JobState::Failed, item.result.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_than_allowed_run_at_a_time() {
    let daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    let queue = client.queue("ocr");
    let processor = BatchProcessor::new(&client, "ocr").max_concurrent(7);
    let mut batch = processor.process::<usize, _>(vec![1_usize; 30]);
    let most = async {
        let (mut most, mut succeeded) = (0, 0);
        while succeeded < 30 {
            let state = queue.get().await.unwrap();
            succeeded = state.count(JobState::Succeeded);
            most = most.max(state.count(JobState::Running));
            sleep(Duration::from_millis(10)).await;
        }
        most
    };
    let since = Instant::now();
    sleeping_workers(&queue);
    let all = async {
        while let Some(item) = batch.next().await {
            item.result.unwrap();
        }
    };
    let (most, ()) = tokio::join!(most, all);
    assert_eq!((most, batch.progress().done), (7, 30));
    assert_eq!(since.elapsed().as_secs(), 5);
    assert!(batch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn all_results_are_told_in_the_order_of_the_items() {
    let daemon = Daemon::start().await;
    let (client, cut) = daemon.client();
    sleeping_workers(&daemon.queue().0);
    let batch = BatchProcessor::new(&client, "ocr")
        .with(|submit| submit.priority(9))
        .process::<usize, _>([3_usize, 1, 2]);
    let cuts = async {
        sleep(Duration::from_millis(1_500)).await;
        cut.cut();
    };
    let (all, ()) = tokio::join!(batch.try_all(), cuts);
    assert_eq!(all.unwrap(), [3, 1, 2]);
    let jobs = client.queue("ocr").list().all().await.unwrap();
    assert_eq!(jobs.len(), 3);
    assert!(jobs.iter().all(|job| job.priority == 9));
}

#[tokio::test(start_paused = true)]
async fn fail_fast_takes_the_others_back_and_ends() {
    let daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    let queue = client.queue("ocr");
    sleeping_workers(&queue);
    let mut batch = BatchProcessor::over(queue.clone())
        .max_concurrent(3)
        .fail_fast()
        .process::<usize, _>([1_usize, 60, 13, 61, 62]);
    let first = batch.next().await.unwrap();
    assert_eq!(first.result.unwrap(), 1);
    let failed = batch.next().await.unwrap();
    assert_eq!((failed.index, failed.progress.failed), (2, 1));
    assert!(matches!(failed.result, Err(JobError::Failed { .. })));
    assert!(batch.next().await.is_none());
    let state = queue.get().await.unwrap();
    let counts = [JobState::Succeeded, JobState::Failed, JobState::Cancelled];
    assert_eq!(counts.map(|it| state.count(it)), [1, 1, 3]);
    assert_eq!(state.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_refused_is_told_and_keeps_no_other_out() {
    let daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    sleeping_workers(&client.queue("ocr"));
    let batch = BatchProcessor::new(&client, "ocr");
    let large = "x".repeat(2 << 20);
    let batch = batch.process::<usize, _>([large, String::new()]);
    let mut items: Vec<_> = batch.into_stream().collect().await;
    items.sort_by_key(|item| item.index);
    let [refused, failed] = &items[..] else {
        panic!("{items:?}");
    };
    assert!(matches!(&refused.result, Err(JobError::Call(_))));
    assert!(refused.job.is_none());
    assert!(matches!(failed.result, Err(JobError::Failed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_on_through_a_daemon_that_is_started_anew() {
    let mut daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    sleeping_workers(&client.queue("ocr"));
    let processor = BatchProcessor::new(&client, "ocr").max_concurrent(2);
    let mut batch = processor.process::<usize, _>([1_usize, 2, 1, 2, 1, 2]);
    let mut seen = Vec::new();
    while let Some(item) = batch.next().await {
        seen.push(item.index);
        item.result.unwrap();
        if seen.len() == 3 {
            daemon = daemon.restart().await;
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    let jobs = client.queue("ocr").list().all().await.unwrap();
    assert_eq!(jobs.len(), 6, "nothing was submitted twice");
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_nothing_is_over_at_once_and_one_too_large_says_so() {
    let daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    let processor = || BatchProcessor::new(&client, "ocr");
    let none = processor().process::<usize, _>(Vec::<usize>::new());
    assert!(none.try_all().await.unwrap().is_empty());
    let batch = processor().process::<usize, _>(vec![1_usize; 100_001]);
    let refused = batch.try_all().await.unwrap_err();
    let JobError::Call(error) = refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("jobs"), "{error}");
}
