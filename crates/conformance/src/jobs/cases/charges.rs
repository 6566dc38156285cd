//! What jobs charge, and what is settled of it.

use crate::jobs::prelude::*;
use tokio::time::Instant;

pub async fn a_job_waits_for_its_limit_and_holds_nobody_else_up(bench: &Bench) {
    let asked = Instant::now();
    bench.submit(bench.charged("a", "pages", PAGES)).await;
    let waiting = bench.submit(bench.charged("b", "pages", PAGES)).await;
    bench.submit(bench.charged("c", "slots", 1)).await;
    bench.submit(bench.job("d")).await;
    for data in ["a", "c", "d"] {
        assert_eq!(bench.one().await.payload.data, data);
    }
    let view = bench.look(waiting).await;
    assert_eq!((view.state, view.attempts), (JobState::Ready, 0));
    let got = bench.one().await;
    // The call of the limits takes its time.
    let took = asked.elapsed();
    assert!(took > ms(900).into() && took < ms(1_800).into(), "{took:?}");
    assert_eq!((got.job, got.attempt), (waiting, 1));
}

pub async fn a_slot_is_free_again_once_the_attempt_is_over(bench: &Bench) {
    for data in ["a", "b", "c", "d"] {
        bench.submit(bench.charged(data, "slots", 1)).await;
    }
    let asked = Instant::now();
    for end in [
        succeeded("text"),
        failed(),
        AttemptEnd::Throttled(HOUR),
        AttemptEnd::Released,
    ] {
        let got = bench.one().await;
        assert!(bench.get(1).await.is_empty());
        bench.end(&got, end).await.unwrap();
    }
    let got = bench.one().await;
    assert_eq!(got.payload.data, "d");
    assert!(asked.elapsed() < SECOND.into());
    bench.cancel(got.job).await.unwrap();
    // The one that failed.
    assert_eq!(bench.one().await.payload.data, "b");
}

pub async fn of_many_jobs_as_many_start_as_there_are_slots(bench: &Bench) {
    for data in ["a", "b", "c"] {
        bench.submit(bench.charged(data, "slots", 1)).await;
    }
    for data in ["a", "b", "c"] {
        let asked = Instant::now();
        let got = bench.reserve("ocr", 3, SECOND).await.unwrap();
        let names: Vec<_> = got.iter().map(|job| job.payload.data.clone()).collect();
        assert_eq!(names, [data]);
        assert!(asked.elapsed() < ms(500).into(), "{:?}", asked.elapsed());
        assert!(bench.get(3).await.is_empty());
        bench.end(&got[0], succeeded("text")).await.unwrap();
    }
}

pub async fn what_was_not_used_comes_back(bench: &Bench) {
    let asked = Instant::now();
    for data in ["a", "b"] {
        bench.submit(bench.charged(data, "pages", PAGES)).await;
    }
    let got = bench.one().await;
    bench.used(&got, PAGES).await.unwrap();
    // What is said last counts.
    bench.used(&got, 0).await.unwrap();
    bench.end(&got, succeeded("text")).await.unwrap();
    assert_eq!(bench.one().await.payload.data, "b");
    assert!(asked.elapsed() < SECOND.into());
    assert_eq!(code(bench.used(&got, 1).await), ErrorCode::LeaseLost);
}

pub async fn what_was_not_begun_costs_nothing(bench: &Bench) {
    bench.submit(bench.charged("a", "pages", PAGES)).await;
    let asked = Instant::now();
    for _ in 0..3 {
        let got = bench.one().await;
        assert_eq!(got.attempt, 1);
        bench.end(&got, AttemptEnd::Released).await.unwrap();
    }
    assert!(asked.elapsed() < SECOND.into());
}

pub async fn a_job_that_never_gets_what_it_charges_fails_and_says_why(bench: &Bench) {
    let job = bench.submit(bench.charged("a", "pages", PAGES + 1)).await;
    bench.submit(bench.charged("b", "pages", 1)).await;
    assert_eq!(bench.one().await.payload.data, "b");
    let (view, _) = bench.wait(job, HOUR).await.unwrap();
    assert_eq!((view.state, view.attempts), (JobState::Failed, 0));
    let error = view.error.unwrap();
    assert!(error.contains("pages") && error.contains("11"), "{error}");
}

pub async fn charges_out_of_bounds_are_refused_with_the_field(bench: &Bench) {
    let mut twice = bench.charged("a", "pages", 1);
    let charge = twice.options.charges[0].clone();
    twice.options.charges.push(charge);
    assert_eq!(namely(bench.ask(twice).await), "charges[1]");
    bench.submit(bench.charged("a", "slots", 1)).await;
    let got = bench.one().await;
    assert_eq!(namely(bench.used(&got, 1).await), "used[0]");
}
