//! How queues run their jobs, and what they tell.

use crate::jobs::prelude::*;
use crate::spawn;
use trellis_core::{ConcurrencyKey, Name};

pub async fn a_paused_queue_starts_nothing_until_it_goes_on(bench: &Bench) {
    let paused = QueueSpec {
        paused: true,
        ..QueueSpec::default()
    };
    assert_eq!(bench.set(paused).await.spec, paused);
    let job = bench.submit(bench.job("a")).await;
    assert!(bench.get(1).await.is_empty());
    let waiting = spawn({
        let bench = bench.clone();
        async move { bench.one().await }
    });
    bench.elapse(ms(10)).await;
    assert_eq!(bench.state(job).await, JobState::Ready);
    bench.set(QueueSpec::default()).await;
    assert_eq!(waiting.await.unwrap().job, job);
}

pub async fn a_queue_runs_no_more_at_once_than_it_may(bench: &Bench) {
    let set = async |most| {
        let concurrency = Some(most);
        bench
            .set(QueueSpec {
                concurrency,
                ..QueueSpec::default()
            })
            .await
    };
    set(2).await;
    bench.submit_all(&["a", "b", "c", "d"]).await;
    let got = bench.get(10).await;
    assert_eq!(got.len(), 2);
    assert!(bench.get(10).await.is_empty());
    bench.end(&got[0], succeeded("text")).await.unwrap();
    assert_eq!(bench.names(10).await, ["c"]);
    set(3).await;
    assert_eq!(bench.names(10).await, ["d"]);
}

pub async fn jobs_of_one_concurrency_key_run_one_after_the_other(bench: &Bench) {
    let key_concurrency = Some(1);
    bench
        .set(QueueSpec {
            key_concurrency,
            ..QueueSpec::default()
        })
        .await;
    for (data, key) in [("a", "k"), ("b", "k"), ("c", "l")] {
        let job = bench.job_with(data, |job| {
            let key = ConcurrencyKey::new(key, "concurrency_key").unwrap();
            job.options.concurrency_key = Some(key);
        });
        bench.submit(job).await;
    }
    let got = bench.get(10).await;
    let data: Vec<_> = got.iter().map(|it| it.payload.data.clone()).collect();
    assert_eq!(data, ["a", "c"]);
    bench.end(&got[0], succeeded("text")).await.unwrap();
    assert_eq!(bench.names(10).await, ["b"]);
}

pub async fn a_queue_tells_what_it_is_at(bench: &Bench) {
    let jobs = bench.submit_all(&["a", "b", "c"]).await;
    let got = bench.get(2).await;
    bench.end(&got[0], succeeded("text")).await.unwrap();
    let now = bench.look(jobs[0]).await.submitted;
    let later = bench.job_with("d", |job| job.run_at = Some(now + HOUR));
    bench.submit(later).await;
    let queue = bench.backend().queue(bench.queue("ocr")).await.unwrap();
    for (state, count) in [
        (JobState::Delayed, 1),
        (JobState::Ready, 1),
        (JobState::Running, 1),
        (JobState::Succeeded, 1),
        (JobState::Dead, 0),
    ] {
        assert_eq!(queue.count(state), count, "{state:?}");
    }
    let none = bench.backend().queue(bench.queue("mail")).await.unwrap();
    assert_eq!(none.counts, [0; 9]);
}

pub async fn pages_of_jobs_are_complete_and_in_order(bench: &Bench) {
    let mut jobs = bench.submit_all(&["a", "b", "c", "d", "e"]).await;
    let got = bench.one().await;
    assert_eq!(bench.page(&[JobState::Running], None, 9).await.0, [got.job]);
    jobs.sort();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (page, more) = bench.page(&[], after, 2).await;
        assert!(page.len() == 2 || !more);
        after = page.last().copied();
        seen.extend(page);
        if !more {
            break;
        }
    }
    assert_eq!(seen, jobs);
}

pub async fn pages_of_queues_are_complete_and_in_order(bench: &Bench) {
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        let job = JobSpec::new(bench.queue(name), "page");
        bench.submit(job).await;
    }
    bench.beside("other").submit_all(&["x"]).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let queues = bench.backend().queues(&bench.namespace, after, 2).await;
        let (page, more) = queues.unwrap();
        let page = page.into_iter().map(|it| it.queue.name.to_string());
        seen.extend(page);
        after = seen
            .last()
            .map(|name| Name::new(name.as_str(), "after").unwrap());
        if !more {
            break;
        }
    }
    assert_eq!(seen, names);
}

pub async fn many_jobs_pass_while_checkpoints_are_taken(bench: &Bench) {
    bench
        .set(QueueSpec {
            result_retention: Micros::ZERO,
            ..QueueSpec::default()
        })
        .await;
    let kept = bench
        .submit(bench.job_with("kept", |job| job.priority = 0))
        .await;
    for number in 0..40 {
        let data = format!("page {number}");
        let job = bench.submit(bench.job(&data)).await;
        let got = bench.one().await;
        assert_eq!((got.job, got.payload.data.as_ref()), (job, data.as_bytes()));
        bench.progress(&got, &data).await.unwrap();
        bench.end(&got, succeeded(&data)).await.unwrap();
        let (view, result) = bench.wait(job, HOUR).await.unwrap();
        assert_eq!(view.state, JobState::Succeeded);
        assert_eq!(result.unwrap(), data);
    }
    let got = bench.one().await;
    assert_eq!(
        (got.job, got.payload.data.as_ref()),
        (kept, b"kept".as_slice())
    );
}

pub async fn waiting_jobs_are_purged_and_so_are_ended_ones(bench: &Bench) {
    let jobs = bench.submit_all(&["a", "b", "c", "d"]).await;
    let other = JobSpec::new(bench.queue("mail"), "e");
    let other = bench.submit(other).await;
    let got = bench.one().await;
    for states in [
        &[][..],
        &[JobState::Running],
        &[JobState::Ready, JobState::Dead],
    ] {
        assert_eq!(namely(bench.purge(states).await), "states");
    }
    let waiting = [JobState::Ready, JobState::Delayed];
    assert_eq!(bench.purge(&waiting).await.unwrap(), 3);
    assert_eq!(bench.purge(&waiting).await.unwrap(), 0);
    assert_eq!(bench.state(jobs[3]).await, JobState::Cancelled);
    assert_eq!(bench.state(other).await, JobState::Ready);
    bench.end(&got, succeeded("text")).await.unwrap();
    assert_eq!(bench.purge(&[JobState::Cancelled]).await.unwrap(), 3);
    let unknown = bench.wait(jobs[3], HOUR).await;
    assert_eq!(code(unknown), ErrorCode::JobNotFound);
    assert_eq!(bench.wait(jobs[0], HOUR).await.unwrap().1.unwrap(), "text");
}

pub async fn dead_jobs_are_requeued_and_not_dead_any_more(bench: &Bench) {
    let mut dead = Vec::new();
    for data in ["a", "b", "c"] {
        dead.push(bench.submit(bench.job(data)).await);
        let got = bench.one().await;
        let hopeless = AttemptEnd::Failed {
            error: "no".into(),
            retryable: false,
            retry_after: None,
        };
        bench.end(&got, hopeless).await.unwrap();
    }
    dead.sort();
    let states = [JobState::Dead, JobState::Failed];
    assert_eq!(bench.page(&states, None, 10).await, (dead.clone(), false));
    let port = bench.backend();
    let requeue = async |most| port.requeue(bench.queue("ocr"), most).await;
    assert_eq!(namely(requeue(0).await), "max_jobs");
    assert_eq!(requeue(2).await.unwrap(), 2);
    assert_eq!(bench.page(&states, None, 10).await, (vec![dead[2]], false));
    let mut got = bench.get(10).await;
    got.sort_by_key(|it| it.options.retry_of);
    let again: Vec<_> = got.iter().map(|it| it.options.retry_of).collect();
    assert_eq!(again, [Some(dead[0]), Some(dead[1])]);
    assert_eq!(requeue(1_000).await.unwrap(), 1);
    assert_eq!(requeue(1_000).await.unwrap(), 0);
    assert_eq!(bench.one().await.options.retry_of, Some(dead[2]));
}
