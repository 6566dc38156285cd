//! How workers get jobs and keep them.

use crate::jobs::bench::attempt;
use crate::jobs::prelude::*;
use crate::spawn;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use tokio::time::Instant;
use trellis_core::jobs::Assigned;

pub async fn each_job_goes_to_one_worker(bench: &Bench) {
    let mut jobs = BTreeSet::new();
    for _ in 0..30 {
        jobs.insert(bench.submit(bench.job("page")).await);
    }
    let workers = (0..3).map(|_| {
        let bench = bench.clone();
        spawn(async move {
            let mut seen = Vec::new();
            loop {
                let got = bench.get(4).await;
                if got.is_empty() {
                    return seen;
                }
                for got in got {
                    seen.push(got.job);
                    bench.end(&got, succeeded("text")).await.unwrap();
                }
            }
        })
    });
    let mut seen = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        seen.extend(worker.await.unwrap());
    }
    assert_eq!(seen.len(), jobs.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), jobs);
}

pub async fn a_worker_waits_for_what_comes(bench: &Bench) {
    let waiting = spawn({
        let bench = bench.clone();
        async move { bench.one().await }
    });
    bench.elapse(ms(10)).await;
    let job = bench.submit(bench.job("a")).await;
    assert_eq!(waiting.await.unwrap().job, job);
}

pub async fn a_wait_in_vain_ends_at_its_time(bench: &Bench) {
    for wait in [Micros::ZERO, ms(300)] {
        let asked = Instant::now();
        assert!(bench.reserve("ocr", 1, wait).await.unwrap().is_empty());
        bench.assert_took(asked, Instant::now(), wait);
    }
}

pub async fn a_call_that_was_given_up_takes_nothing(bench: &Bench) {
    {
        let mut waiting = pin!(bench.reserve("ocr", 1, HOUR));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("there is nothing"),
            () = bench.elapse(ms(10)) => {}
        }
    }
    bench.submit(bench.job("a")).await;
    assert_eq!(bench.one().await.attempt, 1);
}

pub async fn a_worker_gets_no_more_bytes_than_it_asks_for(bench: &Bench) {
    bench.submit_all(&["aaaa", "bb", "cc", "dddd"]).await;
    for some in [&["aaaa"][..], &["bb", "cc"], &["dddd"]] {
        let mut reserve = bench.reserve_of("ocr", 10, Micros::ZERO);
        reserve.max_bytes = 4;
        let got = bench.backend().reserve(reserve).await.unwrap();
        let data: Vec<_> = got.iter().map(|it| it.payload.data.clone()).collect();
        assert_eq!(data, some);
    }
    let long = "e".repeat(5);
    bench.submit(bench.job(&long)).await;
    let mut reserve = bench.reserve_of("ocr", 10, Micros::ZERO);
    reserve.max_bytes = 4;
    assert_eq!(bench.backend().reserve(reserve).await.unwrap().len(), 1);
}

pub async fn a_worker_gets_no_more_than_it_asks_for(bench: &Bench) {
    bench.submit_all(&["a", "b", "c", "d", "e"]).await;
    assert_eq!(bench.names(2).await, ["a", "b"]);
    assert_eq!(bench.names(10).await, ["c", "d", "e"]);
}

pub async fn a_job_whose_lease_ends_runs_again(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let first = bench.one().await;
    let asked = Instant::now();
    let second = bench.one().await;
    bench.assert_took(asked, Instant::now(), first.remaining);
    assert_eq!((second.job, second.attempt), (job, 2));
    assert_ne!(second.lease, first.lease);
    let view = bench.look(job).await;
    assert_eq!(view.error.as_deref(), Some("its worker was lost"));
}

pub async fn a_lease_that_is_extended_stands(bench: &Bench) {
    let lease = Settings::default().lease;
    bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    for _ in 0..3 {
        bench.elapse(Micros(lease.0 / 2)).await;
        let told = bench.extend(&got, None).await.unwrap();
        bench.assert_told(told, lease);
    }
    let longer = Micros(3 * lease.0);
    let told = bench.extend(&got, Some(longer)).await.unwrap();
    bench.assert_told(told, longer);
    let told = bench.extend(&got, Some(SECOND)).await.unwrap();
    bench.assert_told(told, longer);
    assert!(bench.get(1).await.is_empty());
    bench.end(&got, succeeded("text")).await.unwrap();
    assert_eq!(code(bench.extend(&got, None).await), ErrorCode::LeaseLost);
}

pub async fn a_lease_that_is_let_go_ends_soon(bench: &Bench) {
    let within = Settings::default().reattach_time;
    bench.submit(bench.job("a")).await;
    let first = bench.one().await;
    let asked = Instant::now();
    bench.let_go(&first);
    let second = bench.one().await;
    bench.assert_took(asked, Instant::now(), within);
    assert_eq!((second.job, second.attempt), (first.job, 2));
    // What is over is passed over.
    bench.let_go(&first);
    bench.elapse(Micros(2 * within.0)).await;
    bench.extend(&second, None).await.unwrap();
}

pub async fn a_lease_that_was_let_go_stands_if_it_is_extended(bench: &Bench) {
    let within = Settings::default().reattach_time;
    bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    bench.let_go(&got);
    bench.elapse(Micros(within.0 / 2)).await;
    let told = bench.extend(&got, None).await.unwrap();
    bench.assert_told(told, Settings::default().lease);
    bench.elapse(Micros(2 * within.0)).await;
    bench.end(&got, succeeded("text")).await.unwrap();
}

pub async fn a_worker_is_told_when_its_attempt_is_over(bench: &Bench) {
    let over = |got: &Assigned| {
        let mut watched = bench.backend().watch_attempts(&bench.namespace);
        watched.add(attempt(got));
        let own = attempt(got);
        spawn(async move { assert_eq!(poll_fn(|task| watched.poll_over(task)).await, [own]) })
    };
    let job = bench.submit(bench.job("a")).await;
    let cancelled = over(&bench.one().await);
    bench.elapse(ms(10)).await;
    assert!(!cancelled.is_finished());
    bench.cancel(job).await.unwrap();
    cancelled.await.unwrap();

    let short = bench.job_with("b", |job| job.options.timeout = Some(SECOND));
    bench.submit(short).await;
    let got = bench.one().await;
    let late = over(&got);
    let asked = Instant::now();
    late.await.unwrap();
    bench.assert_took(asked, Instant::now(), SECOND);
    over(&got).await.unwrap();
}

pub async fn an_attempt_that_is_over_speaks_for_nothing(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let first = bench.one().await;
    let second = bench.one().await;
    assert_eq!(
        code(bench.end(&first, succeeded("old")).await),
        ErrorCode::LeaseLost
    );
    assert_eq!(code(bench.extend(&first, None).await), ErrorCode::LeaseLost);
    assert_eq!(
        code(bench.progress(&first, "old").await),
        ErrorCode::LeaseLost
    );
    bench.end(&second, succeeded("new")).await.unwrap();
    assert_eq!(
        code(bench.end(&first, succeeded("old")).await),
        ErrorCode::LeaseLost
    );
    assert_eq!(bench.wait(job, HOUR).await.unwrap().1.unwrap(), "new");
}

pub async fn to_succeed_twice_does_nothing(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    for result in ["text", "other"] {
        bench.end(&got, succeeded(result)).await.unwrap();
        assert_eq!(bench.wait(job, HOUR).await.unwrap().1.unwrap(), "text");
    }
    let view = bench.cancel(job).await.unwrap();
    assert_eq!(view.state, JobState::Succeeded);
    assert_eq!(code(bench.extend(&got, None).await), ErrorCode::LeaseLost);
}

pub async fn a_checkpoint_reaches_the_next_attempt(bench: &Bench) {
    bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    for checkpoint in ["page 1", "page 2"] {
        bench.progress(&got, checkpoint).await.unwrap();
    }
    bench.end(&got, failed()).await.unwrap();
    let got = bench.one().await;
    assert_eq!(got.checkpoint.unwrap(), "page 2");
}
