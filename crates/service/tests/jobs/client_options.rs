//! The client's charges and cache keys of jobs, and queues that are purged and made again.

use crate::client_worker::{put, run};
use crate::daemon::Daemon;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use trellis_client::jobs::{Failure, JobState};
use trellis_client::{Actual, Charge, ErrorReason, Spec};

const HOUR: Duration = Duration::from_hours(1);
const TTL: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn an_attempt_is_charged_before_it_begins_and_settled_as_its_worker_says() {
    let daemon = Daemon::start().await;
    let (client, _) = daemon.client();
    let limits = client.limits();
    let spec = Spec::rate(100, HOUR);
    limits.set_limit("tokens", spec).await.unwrap();
    run(client.queue("ocr").worker(), |attempt| async move {
        let other = attempt.used([Actual::new("pages", 1)]).await.unwrap_err();
        assert_eq!(other.reason(), Some(ErrorReason::InvalidField));
        attempt.used([Actual::new("tokens", 50)]).await?;
        sleep(Duration::from_secs(1)).await;
        attempt.used([Actual::new("tokens", 30)]).await?;
        Ok(1)
    });
    let charge = Charge::new("tokens", 80);
    let job = client.queue("ocr").submit(&0).charge(charge.clone());
    let job = job.max_attempts(1).await.unwrap();
    assert_eq!(job.get().await.unwrap().options.charges, [charge]);
    sleep(Duration::from_millis(500)).await;
    let left = async || limits.peek("tokens", "").await.unwrap().bucket.remaining;
    assert_eq!(left().await, 20);
    job.result::<usize>().await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(left().await, 70);
}

#[tokio::test(start_paused = true)]
async fn of_jobs_with_one_cache_key_one_runs_and_all_have_its_result() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    run(queue.worker().concurrency(5), move |_| {
        let runs = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            sleep(Duration::from_secs(1)).await;
            Ok(runs)
        }
    });
    let submit = || queue.submit(&0).cache_key("page-7", TTL);
    let jobs = queue.submit_many([submit(), submit(), submit()]).await;
    for job in jobs {
        assert_eq!(job.unwrap().result::<usize>().await.unwrap(), 1);
    }
    let late = submit().await.unwrap();
    assert_eq!(late.result::<usize>().await.unwrap(), 1);
    let options = late.get().await.unwrap().options;
    let cached = (&*options.cache_key, options.cache_ttl);
    assert_eq!(cached, ("page-7", Some(TTL)));
    sleep(TTL).await;
    let other = submit().await.unwrap();
    assert_eq!(other.result::<usize>().await.unwrap(), 2);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_purge_takes_out_what_is_in_the_states_that_it_names() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    for number in 0..3 {
        put(&queue, number).await;
    }
    queue.submit(&3).delay(HOUR).await.unwrap();
    for states in [&[][..], &[JobState::Running]] {
        let refused = queue.purge(states.iter().copied()).await.unwrap_err();
        assert_eq!(refused.reason(), Some(ErrorReason::InvalidField));
    }
    assert_eq!(queue.purge([JobState::Ready]).await.unwrap(), 3);
    assert_eq!(queue.purge([JobState::Ready]).await.unwrap(), 0);
    assert_eq!(queue.get().await.unwrap().pending(), 1);
    assert_eq!(queue.purge([JobState::Delayed]).await.unwrap(), 1);
    assert_eq!(queue.purge([JobState::Cancelled]).await.unwrap(), 4);
    let left = queue.list().all().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn jobs_that_failed_are_made_again_and_taken_out() {
    let daemon = Daemon::start().await;
    let (queue, _) = daemon.queue();
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = is_broken.clone();
    run(queue.worker(), move |attempt| {
        let is_broken = broken.load(Ordering::SeqCst);
        async move {
            if is_broken {
                return Err(Failure::permanent("the lamp is broken"));
            }
            Ok(*attempt.payload())
        }
    });
    for number in 0..3 {
        let job = put(&queue, number).await;
        assert_eq!(job.wait().await.unwrap().state, JobState::Failed);
    }
    is_broken.store(false, Ordering::SeqCst);
    assert_eq!(queue.requeue(2).await.unwrap(), 2);
    assert_eq!(queue.get().await.unwrap().count(JobState::Failed), 1);
    assert_eq!(queue.requeue(1_000).await.unwrap(), 1);
    while queue.get().await.unwrap().count(JobState::Succeeded) < 3 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(queue.get().await.unwrap().count(JobState::Failed), 0);
    let too_many = queue.requeue(1_001).await.unwrap_err();
    assert_eq!(too_many.reason(), Some(ErrorReason::InvalidField));
}
