//! Jobs that are counted together.

use crate::jobs::prelude::*;
use crate::spawn;
use trellis_core::RequestId;
use trellis_core::jobs::{BatchState, OnFailure, Outcome, Stop};

fn told(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    let all = all.iter();
    all.map(|(number, said)| (*number, (*said).to_owned()))
        .collect()
}

pub async fn jobs_of_a_batch_are_told_in_the_order_in_which_they_end(bench: &Bench) {
    let (batch, jobs) = bench.batch(bench.batch_of(3)).await;
    let early = spawn({
        let bench = bench.clone();
        async move { bench.watch_batch(batch, 0).await }
    });
    let got = bench.get(3).await;
    bench.end(&got[2], succeeded("c")).await.unwrap();
    bench.cancel(jobs[0]).await.unwrap();
    let open = bench.look_at(batch).await;
    assert_eq!(
        (open.state(), open.taken, open.ended()),
        (BatchState::Open, 3, 2)
    );
    bench.end(&got[1], succeeded("b")).await.unwrap();
    let expected = told(&[
        (1, "2 Succeeded c"),
        (2, "0 Cancelled "),
        (3, "1 Succeeded b"),
        (4, "Failed"),
    ]);
    assert_eq!(early.await.unwrap(), expected);
    for from in 0..=4 {
        let all = bench.watch_batch(batch, from).await;
        let behind = expected.iter().filter(|(number, _)| *number >= from);
        assert_eq!(all, behind.cloned().collect::<Vec<_>>(), "from {from}");
    }
    let over = bench.look_at(batch).await;
    assert_eq!(over.ended[Outcome::Succeeded as usize], 2);
    assert_eq!((over.state(), over.stop), (BatchState::Failed, None));
}

pub async fn a_batch_runs_no_more_at_once_than_it_may(bench: &Bench) {
    let mut spec = bench.batch_of(5);
    spec.max_concurrent = Some(2);
    let (batch, _) = bench.batch(spec).await;
    bench.submit(bench.job("other")).await;
    let got = bench.get(10).await;
    let names: Vec<_> = got.iter().map(|it| it.payload.data.clone()).collect();
    assert_eq!(names, ["0", "1", "other"]);
    bench.end(&got[0], succeeded("text")).await.unwrap();
    assert_eq!(bench.names(10).await, ["2"]);
    bench.end(&got[1], succeeded("text")).await.unwrap();
    assert_eq!(bench.names(10).await, ["3"]);
    assert_eq!(bench.look_at(batch).await.ended(), 2);
}

pub async fn one_that_fails_ends_the_others_or_not(bench: &Bench) {
    for (on_failure, last) in [
        (OnFailure::FailFast, "Failed"),
        (OnFailure::Collect, "Failed"),
    ] {
        let mut spec = bench.batch_of(3);
        spec.on_failure = on_failure;
        let (batch, _) = bench.batch(spec).await;
        let got = bench.get(2).await;
        let hopeless = AttemptEnd::Failed {
            error: "no".into(),
            retryable: false,
            retry_after: None,
        };
        bench.end(&got[0], hopeless).await.unwrap();
        let others = if on_failure == OnFailure::FailFast {
            "Cancelled "
        } else {
            bench.end(&got[1], succeeded("text")).await.unwrap();
            let third = bench.one().await;
            bench.end(&third, succeeded("text")).await.unwrap();
            "Succeeded text"
        };
        let (one, two) = (format!("1 {others}"), format!("2 {others}"));
        let expected = [(1, "0 Failed "), (2, &one), (3, &two), (4, last)];
        assert_eq!(bench.watch_batch(batch, 0).await, told(&expected));
        if on_failure == OnFailure::FailFast {
            assert_eq!(bench.look_at(batch).await.stop, Some(Stop::Failed));
            let late = bench.end(&got[1], succeeded("late")).await;
            assert_eq!(code(late), ErrorCode::LeaseLost);
        }
        assert!(bench.get(1).await.is_empty());
    }
}

pub async fn a_cancelled_batch_is_over_and_takes_no_more_in(bench: &Bench) {
    let batch = bench.create(bench.batch_of(4)).await;
    for index in 0..2 {
        bench.submit(bench.in_batch(batch, index)).await;
    }
    let got = bench.one().await;
    let port = bench.backend();
    for _ in 0..2 {
        let view = port.cancel_batch(&bench.namespace, batch).await.unwrap();
        assert_eq!(view.batch.stop, Some(Stop::Cancelled));
    }
    let all = bench.watch_batch(batch, 3).await;
    assert_eq!(all, told(&[(3, "Cancelled")]));
    assert_eq!(code(bench.extend(&got, None).await), ErrorCode::LeaseLost);
    assert!(bench.get(1).await.is_empty());
    assert_eq!(
        namely(bench.ask(bench.in_batch(batch, 2)).await),
        "batch.batch_id"
    );
}

pub async fn a_batch_and_its_jobs_come_once(bench: &Bench) {
    let mut spec = bench.batch_of(2);
    let id = RequestId::new("batch", "request_id").unwrap();
    spec.request = Some(Request { id, digest: 1 });
    let (batch, jobs) = bench.batch(spec.clone()).await;
    let port = bench.backend();
    let (again, is_new) = port.create_batch(spec.clone()).await.unwrap();
    assert_eq!((again.id, again.batch.taken, is_new), (batch, 2, false));
    let repeat = bench.ask(bench.in_batch(batch, 1)).await.unwrap();
    assert_eq!((repeat.job, repeat.decision), (jobs[1], Decision::Repeat));
    spec.count = 3;
    spec.request.as_mut().unwrap().digest = 2;
    assert_eq!(
        code(port.create_batch(spec).await),
        ErrorCode::RequestIdReused
    );
    assert_eq!(bench.names(10).await, ["0", "1"]);
}

pub async fn batches_out_of_bounds_are_refused(bench: &Bench) {
    let port = bench.backend();
    assert_eq!(namely(port.create_batch(bench.batch_of(0)).await), "count");
    let batch = bench.create(bench.batch_of(1)).await;
    assert_eq!(
        namely(bench.ask(bench.in_batch(batch, 1)).await),
        "batch.index"
    );
    let mut elsewhere = bench.in_batch(batch, 0);
    elsewhere.queue = bench.queue("mail");
    // A queue of another partition does not know the batch either.
    assert_eq!(namely(bench.ask(elsewhere).await), "batch.batch_id");
    let other = bench.beside("other");
    let unknown = other.backend().batch(&other.namespace, batch).await;
    assert_eq!(code(unknown), ErrorCode::JobNotFound);
    for _ in 1..Settings::default().max_batches {
        bench.create(bench.batch_of(1)).await;
    }
    let refused = port.create_batch(bench.batch_of(1)).await;
    assert_eq!(code(refused), ErrorCode::TooManyJobs);
}
