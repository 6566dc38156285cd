//! Workers that go, and what operators are told.

use super::support::{Life, clock, config, lasting_log, memory_log, queue};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use trellis_conformance::jobs::Settings;
use trellis_core::Micros;
use trellis_core::jobs::{AttemptEnd, JobSpec, JobState, Jobs, Outcome};

const HOUR: Micros = Micros::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_when_it_was_answered_gives_its_jobs_back() {
    let clock = clock();
    for log in [memory_log(&clock), lasting_log(&clock)] {
        let life = Life::begin(log, &clock, config(Settings::default())).await;
        let job = life.put("a").await;
        {
            let mut asking = pin!(life.get("ocr", 1, HOUR));
            assert!(futures::poll!(&mut asking).is_pending());
            // It is answered while nobody looks.
            sleep(Duration::from_millis(10)).await;
            assert_eq!(life.state(job).await, JobState::Running);
        }
        let asked = Instant::now();
        let got = life.one().await;
        assert_eq!((got.job, got.attempt), (job, 1));
        assert_eq!(asked.elapsed(), Duration::ZERO);
        life.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn operators_are_told_what_there_is_and_what_has_happened() {
    let clock = clock();
    let log = memory_log(&clock);
    let life = Life::begin(log, &clock, config(Settings::default())).await;
    life.put("a").await;
    life.put("b").await;
    let soon = JobSpec {
        run_at: Some(clock.now().wall + Micros::from_secs(1)),
        ..JobSpec::new(queue("ocr"), "c")
    };
    life.submit(soon).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let first = life.one().await;
    life.succeed(&first, "text").await.unwrap();
    life.one().await;
    let status = life.engine.status();
    let counts = [JobState::Delayed, JobState::Running, JobState::Succeeded];
    assert_eq!(counts.map(|state| status.count(state)), [1, 1, 1]);
    assert_eq!((status.submitted, status.attempts), (3, 2));
    assert_eq!((status.queues, status.lost), (1, 0));
    assert_eq!(status.ended(Outcome::Succeeded), 1);
    assert_eq!(status.pickups.count, 2);
    assert!(status.pickups.sum >= Micros::from_millis(40), "{status:?}");
    assert_eq!(status.failure, None);

    // What has waited for its time tells nothing of workers, and neither does what runs again.
    let delayed = life.one().await;
    life.finish(&delayed, AttemptEnd::Throttled(Micros::ZERO))
        .await
        .unwrap();
    life.one().await;
    let again = life.one().await;
    assert_eq!(again.attempt, 2);
    let status = life.engine.status();
    assert_eq!(status.pickups.count, 2);
    assert_eq!((status.attempts, status.lost), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_tells_of_ends_is_told_of_those_it_wants_and_holds_nobody_up() {
    let clock = clock();
    let log = memory_log(&clock);
    let life = Life::begin(log, &clock, config(Settings::default())).await;
    let mut ends = life.engine.ends(&[JobState::Failed], 2);
    let hopeless = || AttemptEnd::Failed {
        error: "no image".into(),
        retryable: false,
        retry_after: None,
    };
    let done = life.put("done").await;
    let got = life.one().await;
    life.succeed(&got, "text").await.unwrap();
    let mut failed = Vec::new();
    for page in ["a", "b", "c"] {
        failed.push(life.put(page).await);
        let got = life.one().await;
        life.finish(&got, hopeless()).await.unwrap();
    }
    // The third found no room, and ended all the same.
    assert_eq!(life.state(failed[2]).await, JobState::Failed);
    let first = ends.try_recv().unwrap();
    assert_eq!((first.job, first.state), (failed[0], JobState::Failed));
    assert_eq!((first.queue, first.attempts), (queue("ocr"), 1));
    assert_eq!(first.error.as_deref(), Some("no image"));
    assert_eq!(ends.try_recv().unwrap().job, failed[1]);
    assert!(ends.try_recv().is_err());
    assert_eq!(life.state(done).await, JobState::Succeeded);
}
