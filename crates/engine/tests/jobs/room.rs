//! Room for new jobs: what there is of it, and how it is made.

use super::support::{Life, clock, config, lasting_log, memory_log, namespace, queue};
use std::time::Duration;
use tokio::time::sleep;
use trellis_conformance::jobs::Settings;
use trellis_core::jobs::{AttemptEnd, JobId, JobSpec, Jobs, Request};
use trellis_core::{ErrorCode, Micros, RequestId};
use trellis_engine::JobsConfig;

#[tokio::test(start_paused = true)]
async fn jobs_in_memory_take_no_more_bytes_than_they_may() {
    let clock = clock();
    let config = JobsConfig {
        held_bytes: 1_000,
        ..config(Settings::default())
    };
    let life = Life::begin(memory_log(&clock), &clock, config).await;
    let job = || JobSpec::new(queue("ocr"), vec![0; 400]);
    life.submit(job()).await.unwrap();
    life.submit(job()).await.unwrap();
    let refused = life.submit(job()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyBytes);
    let got = life.one().await;
    life.succeed(&got, "text").await.unwrap();
    life.submit(job()).await.unwrap();
}

/// Submits a job, and does it.
async fn done(life: &Life, job: JobSpec) -> JobId {
    let job = life.submit(job).await.unwrap();
    let got = life.one().await;
    assert_eq!(got.job, job);
    life.succeed(&got, "text").await.unwrap();
    job
}

async fn is_known(life: &Life, job: JobId) -> bool {
    life.engine.job(&namespace(), job).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn where_there_is_hardly_room_those_that_ended_first_are_forgotten() {
    const MOST: usize = 20;
    let clock = clock();
    let config = JobsConfig {
        max_jobs: MOST,
        ..config(Settings::default())
    };
    let log = lasting_log(&clock);
    let life = Life::begin(log.clone(), &clock, config).await;
    let plain = || JobSpec::new(queue("ocr"), "page");
    let mut dead = plain();
    dead.options.retry.max_attempts = 1;
    let dead = life.submit(dead).await.unwrap();
    let got = life.one().await;
    let failed = AttemptEnd::Failed {
        error: "no".into(),
        retryable: true,
        retry_after: None,
    };
    life.finish(&got, failed).await.unwrap();
    let mut named = plain();
    let id = RequestId::new("scan-17", "request_id").unwrap();
    named.options.request = Some(Request::of(id, b"page"));
    let named = done(&life, named).await;
    let first = done(&life, plain()).await;
    for _ in 3..MOST {
        done(&life, plain()).await;
    }
    let refused = life.submit(plain()).await.unwrap_err();
    assert_eq!(
        refused.code,
        ErrorCode::TooManyJobs,
        "nobody can have asked for them"
    );
    sleep(Duration::from_secs(31)).await;
    for _ in 0..2 * MOST {
        done(&life, plain()).await;
        sleep(Duration::from_secs(2)).await;
    }
    assert!(!is_known(&life, first).await);
    assert!(is_known(&life, named).await, "its request may come again");
    assert!(is_known(&life, dead).await, "a dead letter stays");
    sleep(Duration::from_mins(10)).await;
    for _ in 0..MOST {
        done(&life, plain()).await;
        sleep(Duration::from_secs(2)).await;
    }
    assert!(!is_known(&life, named).await);
    life.crash().await;
    let life = Life::begin(log, &clock, config).await;
    assert!(!is_known(&life, named).await && is_known(&life, dead).await);
}

#[tokio::test(start_paused = true)]
async fn results_in_memory_make_room_for_new_jobs() {
    let clock = clock();
    let config = JobsConfig {
        held_bytes: 4_000,
        ..config(Settings::default())
    };
    let life = Life::begin(memory_log(&clock), &clock, config).await;
    let job = || JobSpec::new(queue("ocr"), vec![0; 100]);
    let mut refused = 0;
    for _ in 0..100 {
        match life.submit(job()).await {
            Ok(_) => {
                let got = life.one().await;
                life.succeed(&got, &"x".repeat(300)).await.unwrap();
            }
            Err(error) => {
                assert_eq!(error.code, ErrorCode::TooManyBytes);
                refused += 1;
            }
        }
        sleep(Duration::from_secs(5)).await;
    }
    assert!(refused < 5, "{refused} were refused");
}

#[tokio::test(start_paused = true)]
async fn one_queue_may_take_the_bytes_of_all() {
    let clock = clock();
    let config = JobsConfig {
        partitions: 2,
        held_bytes: 10_000,
        max_queues: 100,
        ..config(Settings::default())
    };
    let life = Life::begin(memory_log(&clock), &clock, config).await;
    for _ in 0..18 {
        life.submit(JobSpec::new(queue("ocr"), vec![0; 400]))
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_idle_queue_holds_makes_room_for_others() {
    let clock = clock();
    let config = JobsConfig {
        held_bytes: 10_000,
        max_queues: 100,
        ..config(Settings::default())
    };
    let life = Life::begin(memory_log(&clock), &clock, config).await;
    let names = (0..20).map(|number| queue(&format!("queue-{number}")));
    let names: Vec<_> = names.collect();
    for name in &names {
        life.submit(JobSpec::new(name.clone(), "page"))
            .await
            .unwrap();
        let got = life
            .get(name.name.as_str(), 1, Micros::ZERO)
            .await
            .remove(0);
        life.succeed(&got, &"x".repeat(400)).await.unwrap();
    }
    let large = || JobSpec::new(names[0].clone(), vec![0; 4_000]);
    let refused = life.submit(large()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyBytes);
    sleep(Duration::from_secs(31)).await;
    life.submit(large()).await.unwrap();
}
