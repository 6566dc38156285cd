//! Lives one after the other on one log: what a crash leaves, and what a former life may not do any more.

use super::support::{Life, clock, config, lasting_log, memory_log, namespace, queue, roomy};
use std::sync::Arc;
use trellis_conformance::jobs::Settings;
use trellis_conformance::log::record;
use trellis_core::jobs::{
    AttemptEnd, BatchSpec, Cached, Entry, InBatch, JobNews, JobSpec, JobState, Jobs, OnFailure,
    QueueSpec,
};
use trellis_core::log::{Batch, Log, Partition};
use trellis_core::{Clock, EntryKey, ErrorCode, Micros};
use trellis_engine::{JobEngine, JobPorts, JobsConfig};

const SECOND: Micros = Micros::from_secs(1);

fn records(bounds: trellis_core::log::Bounds) -> u64 {
    bounds.end.0 - bounds.start.0
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_there_in_the_next_life() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let done = life.put("done").await;
    let got = life.one().await;
    life.succeed(&got, "text").await.unwrap();
    let waiting = life.put("waiting").await;
    let spec = QueueSpec {
        concurrency: Some(3),
        ..QueueSpec::default()
    };
    life.engine.set_queue(queue("mail"), spec).await.unwrap();
    life.crash().await;

    let life = Life::begin(log, &clock, roomy()).await;
    let expected = (JobState::Succeeded, Some("text".to_owned()));
    assert_eq!(life.outcome(done).await, expected);
    let got = life.one().await;
    assert_eq!((got.job, got.attempt), (waiting, 1));
    assert_eq!(got.payload.data, "waiting");
    let mail = life.engine.queue(queue("mail")).await.unwrap();
    assert_eq!(mail.spec, spec);
}

#[tokio::test(start_paused = true)]
async fn a_worker_of_the_former_life_goes_on_and_one_that_is_silent_loses_its_job() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let jobs = [life.put("a").await, life.put("b").await];
    let got = life.get("ocr", 2, Micros::ZERO).await;
    life.crash().await;

    let life = Life::begin(log, &clock, roomy()).await;
    assert!(life.get("ocr", 2, SECOND).await.is_empty());
    life.succeed(&got[0], "text").await.unwrap();
    assert_eq!(life.state(jobs[0]).await, JobState::Succeeded);
    let again = life.one().await;
    assert_eq!((again.job, again.attempt), (jobs[1], 2));
    let late = life.succeed(&got[1], "late").await.unwrap_err();
    assert_eq!(late.code, ErrorCode::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn a_former_owner_that_still_runs_changes_nothing_and_says_so() {
    let clock = clock();
    let log = lasting_log(&clock);
    let former = Life::begin(log.clone(), &clock, roomy()).await;
    let job = former.put("a").await;
    let got = former.one().await;
    let life = Life::begin(log, &clock, roomy()).await;
    let refused = former.succeed(&got, "old").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::StoreUnavailable);
    let refused = former.submit(JobSpec::new(queue("ocr"), "b")).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::StoreUnavailable);
    assert_eq!(life.state(job).await, JobState::Running);
    life.succeed(&got, "new").await.unwrap();
    let expected = (JobState::Succeeded, Some("new".to_owned()));
    assert_eq!(life.outcome(job).await, expected);
    former.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_has_told_is_read_in_the_next_life_and_goes_on() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let job = life.put("a").await;
    let got = life.one().await;
    life.tell(&got, 0, "one").await.unwrap();
    let read = async |life: &Life, count| {
        let mut told = Vec::new();
        let watch = life.engine.watch(&namespace(), job, 0).await;
        let mut watch = watch.unwrap();
        for _ in 0..count {
            told.push(watch.next().await.unwrap().unwrap().news);
        }
        told
    };
    assert_eq!(read(&life, 1).await, [JobNews::Chunk("one".into())]);
    life.crash().await;

    let life = Life::begin(log, &clock, roomy()).await;
    // A repeat, whose answer may have been lost.
    life.tell(&got, 0, "one").await.unwrap();
    life.tell(&got, 1, "two").await.unwrap();
    life.succeed(&got, "text").await.unwrap();
    let told = read(&life, 3).await;
    assert_eq!(told[0], JobNews::Chunk("one".into()));
    assert_eq!(told[1], JobNews::Chunk("two".into()));
    assert!(matches!(&told[2], JobNews::Ended { result, .. } if result.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_on_in_the_next_life_and_a_repeat_brings_what_is_missing() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let spec = BatchSpec {
        queue: queue("ocr"),
        count: 3,
        max_concurrent: Some(1),
        on_failure: OnFailure::Collect,
        request: None,
    };
    let batch = life.engine.create_batch(spec).await.unwrap().0.id;
    let of = |index: u32| {
        let mut job = JobSpec::new(queue("ocr"), index.to_string());
        job.options.batch = Some(InBatch { batch, index });
        job
    };
    let first = life.submit(of(0)).await.unwrap();
    life.submit(of(1)).await.unwrap();
    let got = life.one().await;
    life.succeed(&got, "text").await.unwrap();
    life.crash().await;

    let life = Life::begin(log.clone(), &clock, roomy()).await;
    assert_eq!(life.submit(of(0)).await.unwrap(), first);
    life.submit(of(2)).await.unwrap();
    let got = life.get("ocr", 3, Micros::ZERO).await;
    assert_eq!(got.len(), 1, "one at once");
    life.succeed(&got[0], "text").await.unwrap();
    life.crash().await;

    let life = Life::begin(log, &clock, roomy()).await;
    let got = life.one().await;
    life.succeed(&got, "text").await.unwrap();
    let watch = life.engine.watch_batch(&namespace(), batch, 0).await;
    let mut watch = watch.unwrap();
    for number in 1..=4 {
        assert_eq!(watch.next().await.unwrap().unwrap().number, number);
    }
    assert_eq!(watch.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn jobs_that_joined_one_end_with_it_in_the_next_life() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let mut job = JobSpec::new(queue("ocr"), "page");
        job.options.cached = Some(Cached {
            key: EntryKey::new("page", "cache_key").unwrap(),
            ttl: SECOND,
        });
        jobs.push(life.submit(job).await.unwrap());
    }
    let got = life.one().await;
    life.crash().await;

    let life = Life::begin(log.clone(), &clock, roomy()).await;
    assert!(life.get("ocr", 3, SECOND).await.is_empty());
    life.succeed(&got, "text").await.unwrap();
    life.crash().await;

    let life = Life::begin(log, &clock, roomy()).await;
    for job in jobs {
        let expected = (JobState::Succeeded, Some("text".to_owned()));
        assert_eq!(life.outcome(job).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn time_goes_on_where_it_stood() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let mut delayed = JobSpec::new(queue("ocr"), "later");
    delayed.run_at = Some(clock.now().wall + Micros(2 * SECOND.0));
    let delayed = life.submit(delayed).await.unwrap();
    life.crash().await;
    let life = Life::begin(log, &clock, roomy()).await;
    assert_eq!(life.state(delayed).await, JobState::Delayed);
    assert!(life.get("ocr", 1, SECOND).await.is_empty());
    assert_eq!(life.one().await.job, delayed);
}

#[tokio::test(start_paused = true)]
async fn the_log_stays_short_however_many_jobs_pass_and_what_waits_is_kept() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let spec = QueueSpec {
        result_retention: Micros::ZERO,
        ..QueueSpec::default()
    };
    life.engine.set_queue(queue("ocr"), spec).await.unwrap();
    let mut old = JobSpec::new(queue("ocr"), "old");
    old.priority = 0;
    let old = life.submit(old).await.unwrap();
    for round in 0..20 {
        for _ in 0..20 {
            life.put(&format!("page {round}")).await;
            let got = life.one().await;
            life.succeed(&got, "text").await.unwrap();
        }
        // What has ended is forgotten.
        tokio::time::advance(std::time::Duration::from_secs(700)).await;
    }
    life.put("last").await;
    let got = life.one().await;
    life.succeed(&got, "text").await.unwrap();
    let mut kept = 0;
    for partition in 0..2 {
        kept += records(log.bounds(Partition(partition)).await.unwrap());
    }
    assert!(kept < 800, "{kept} of more than 1,200 records are kept");
    life.end().await;
    let life = Life::begin(log, &clock, roomy()).await;
    let got = life.one().await;
    assert_eq!(
        (got.job, got.payload.data.as_ref()),
        (old, b"old".as_slice())
    );
}

#[tokio::test(start_paused = true)]
async fn a_volatile_log_keeps_nothing_that_was_applied() {
    let clock = clock();
    let log = memory_log(&clock);
    let life = Life::begin(log.clone(), &clock, config(Settings::default())).await;
    for number in 0..20 {
        life.put(&format!("page {number}")).await;
    }
    assert_eq!(life.get("ocr", 20, Micros::ZERO).await.len(), 20);
    for partition in 0..2 {
        let bounds = log.bounds(Partition(partition)).await.unwrap();
        // Those of a partition in which nothing has happened.
        assert!(records(bounds) <= 2, "{bounds:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn queues_that_are_about_to_be_count_once_each() {
    let clock = clock();
    let config = JobsConfig {
        max_queues: 1,
        ..config(Settings::default())
    };
    let life = Life::begin(memory_log(&clock), &clock, config).await;
    // In one breath, so that none is known when the next one comes.
    let names = (0..30).map(|job| format!("queue-{}", job % 10));
    let jobs = names.map(|name| JobSpec::new(queue(&name), "page"));
    let told = life.engine.submit_batch(jobs.collect()).await;
    let taken: Vec<_> = told.iter().map(Result::is_ok).collect();
    assert_eq!(taken[..10], taken[10..20]);
    assert_eq!(taken[..10], taken[20..]);
    let queues = taken[..10].iter().filter(|taken| **taken).count();
    assert_eq!(queues, 2, "one in each partition");
    let mut refused = told.into_iter().filter_map(Result::err);
    assert!(refused.all(|it| it.code == ErrorCode::TooManyQueues));
}

#[tokio::test(start_paused = true)]
async fn an_end_answers_everybody_and_takes_nothing_more_in() {
    let clock = clock();
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, roomy()).await;
    let job = life.put("a").await;
    let got = life.one().await;
    let waiting = life.engine.clone();
    let waiting = trellis_conformance::spawn(async move {
        waiting
            .wait(&namespace(), job, Micros::from_secs(3_600))
            .await
    });
    tokio::task::yield_now().await;
    let engine = life.engine.clone();
    life.end().await;
    assert_eq!(
        waiting.await.unwrap().unwrap_err().code,
        ErrorCode::Draining
    );
    let told = engine.submit(JobSpec::new(queue("ocr"), "b")).await;
    assert_eq!(told.unwrap_err().code, ErrorCode::Draining);
    engine.close().await;
    let life = Life::begin(log, &clock, roomy()).await;
    life.finish(&got, AttemptEnd::Released).await.unwrap();
    assert_eq!(life.one().await.attempt, 1);
}

async fn refused(log: Arc<dyn Log>, clock: &Arc<dyn Clock>, config: JobsConfig) -> ErrorCode {
    let started = JobEngine::start(log, clock.clone(), config, JobPorts::default()).await;
    started.err().unwrap().code
}

#[tokio::test(start_paused = true)]
async fn another_count_of_partitions_and_records_that_cannot_be_read_refuse_the_start() {
    let clock = clock();
    let log = lasting_log(&clock);
    Life::begin(log.clone(), &clock, roomy()).await.end().await;
    let other = JobsConfig {
        partitions: 1,
        ..roomy()
    };
    assert_eq!(
        refused(log.clone(), &clock, other).await,
        ErrorCode::InvalidField
    );
    let many = JobsConfig {
        partitions: 9,
        ..roomy()
    };
    assert_eq!(
        refused(log.clone(), &clock, many).await,
        ErrorCode::InvalidField
    );
    let foreign = Batch::from(record("foreign"));
    log.append(Partition(1), foreign).outcome().await.unwrap();
    assert_eq!(refused(log, &clock, roomy()).await, ErrorCode::Internal);
    let log = lasting_log(&clock);
    let first = Batch::from(Entry::first(2));
    log.append(Partition(0), first).outcome().await.unwrap();
    Life::begin(log, &clock, roomy()).await.end().await;
}
