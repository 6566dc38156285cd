//! What attempts tell while they run, and who reads it.

use crate::jobs::prelude::*;
use crate::spawn;
use trellis_core::jobs::{JobNews, Progress, Report};

fn told(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    let all = all.iter();
    all.map(|(number, said)| (*number, (*said).to_owned()))
        .collect()
}

pub async fn a_reader_gets_what_is_told_in_order_and_one_outcome(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let mut watch = bench.watch(job, 0).await;
    let reader = spawn(async move { rest(&mut watch).await });
    let got = bench.one().await;
    bench.append(&got, 0, "one").await.unwrap();
    bench.elapse(ms(10)).await;
    bench.report(&got, 3).await.unwrap();
    bench.elapse(ms(10)).await;
    bench.append(&got, 1, "two").await.unwrap();
    bench.end(&got, succeeded("text")).await.unwrap();
    let expected = [(1, "one"), (2, "3 done"), (3, "two"), (4, "Succeeded text")];
    assert_eq!(reader.await.unwrap(), told(&expected));
}

pub async fn a_late_reader_gets_all_that_is_valid_and_one_that_returns_goes_on(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    for (index, data) in (0..).zip(["a", "b", "c"]) {
        bench.append(&got, index, data).await.unwrap();
    }
    bench.report(&got, 1).await.unwrap();
    bench.report(&got, 2).await.unwrap();
    let mut watch = bench.watch(job, 2).await;
    assert_eq!(next(&mut watch).await, (2, "b".to_owned()));
    drop(watch);
    bench.end(&got, succeeded("text")).await.unwrap();
    let expected = told(&[
        (1, "a"),
        (2, "b"),
        (3, "c"),
        (5, "2 done"),
        (6, "Succeeded text"),
    ]);
    for from in 0..=6 {
        let all = rest(&mut bench.watch(job, from).await).await;
        let behind = expected.iter().filter(|(number, _)| *number >= from);
        assert_eq!(all, behind.cloned().collect::<Vec<_>>(), "from {from}");
    }
}

pub async fn a_new_attempt_voids_what_was_told_before(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    bench.append(&got, 0, "old").await.unwrap();
    let mut watch = bench.watch(job, 0).await;
    assert_eq!(next(&mut watch).await.1, "old");
    let got = bench.one().await;
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!((event.number, event.lease), (2, Some(got.lease)));
    assert_eq!(event.news, JobNews::Reset);
    bench.append(&got, 0, "new").await.unwrap();
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!((event.number, event.lease), (3, Some(got.lease)));
    bench.end(&got, succeeded("text")).await.unwrap();
    assert_eq!(rest(&mut watch).await, told(&[(4, "Succeeded text")]));
    let late = rest(&mut bench.watch(job, 0).await).await;
    let expected = [(2, "reset"), (3, "new"), (4, "Succeeded text")];
    assert_eq!(late, told(&expected));
}

pub async fn a_slow_reader_holds_nobody_up(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let mut slow = bench.watch(job, 0).await;
    let got = bench.one().await;
    for index in 0..Settings::default().max_chunks {
        bench.append(&got, index, &index.to_string()).await.unwrap();
    }
    bench.end(&got, succeeded("text")).await.unwrap();
    let all = rest(&mut slow).await;
    assert_eq!(all.len(), 1 + Settings::default().max_chunks as usize);
    assert!(all.is_sorted());
}

pub async fn progress_reaches_readers_and_its_checkpoint_the_next_attempt(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    let report = Report {
        done: 2,
        total: Some(3),
        message: "page 2".into(),
    };
    let progress = Progress {
        report: Some(report.clone()),
        checkpoint: Some("after page 2".into()),
    };
    let port = bench.backend();
    let done = port.progress(&bench.namespace, attempt(&got), progress);
    done.await.unwrap();
    // Each may be told alone, and leaves the other.
    bench.progress(&got, "after page 2, line 3").await.unwrap();
    let event = bench.watch(job, 0).await.next().await.unwrap().unwrap();
    assert_eq!((event.number, event.lease), (1, Some(got.lease)));
    let checkpoint = Some("after page 2, line 3".into());
    assert_eq!(event.news, JobNews::Progress { report, checkpoint });
    let got = bench.one().await;
    assert_eq!(got.checkpoint.unwrap(), "after page 2, line 3");
}

pub async fn a_chunk_stands_once_and_none_is_left_out(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    assert_eq!(namely(bench.append(&got, 1, "b").await), "index");
    for (index, data) in [(0, "a"), (0, "a"), (1, "b"), (0, "a")] {
        bench.append(&got, index, data).await.unwrap();
    }
    bench.end(&got, succeeded("text")).await.unwrap();
    let all = rest(&mut bench.watch(job, 0).await).await;
    assert_eq!(all, told(&[(1, "a"), (2, "b"), (3, "Succeeded text")]));
}

pub async fn chunks_above_the_bounds_are_refused(bench: &Bench) {
    let Settings {
        max_chunks,
        chunk_bytes,
        max_waiters,
        ..
    } = Settings::default();
    let job = bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    assert_eq!(namely(bench.append(&got, 0, "").await), "chunk");
    let long = "x".repeat(usize::try_from(chunk_bytes).unwrap() + 1);
    let refused = bench.append(&got, 0, &long).await;
    assert_eq!(code(refused), ErrorCode::TooManyBytes);
    for index in 0..max_chunks {
        bench.append(&got, index, "a").await.unwrap();
    }
    let refused = bench.append(&got, max_chunks, "a").await;
    assert_eq!(code(refused), ErrorCode::TooManyBytes);
    let most = Some(Report {
        done: 2,
        total: Some(1),
        ..Report::default()
    });
    let progress = Progress {
        report: most,
        checkpoint: None,
    };
    let port = bench.backend();
    let refused = port
        .progress(&bench.namespace, attempt(&got), progress)
        .await;
    assert_eq!(namely(refused), "done");
    let mut readers = Vec::new();
    for _ in 0..max_waiters {
        readers.push(bench.watch(job, 0).await);
    }
    let refused = port.watch(&bench.namespace, job, 0).await;
    assert_eq!(code(refused), ErrorCode::TooManyWaiters);
    drop(readers.pop());
    // Over a connection it takes the server a moment to see that the reader is gone.
    let again = async || port.watch(&bench.namespace, job, 0).await.map(drop);
    bench.until(again, Result::is_ok).await.unwrap();
}

pub async fn an_attempt_that_is_over_tells_nothing(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let first = bench.one().await;
    let second = bench.one().await;
    assert_eq!(
        code(bench.append(&first, 0, "old").await),
        ErrorCode::LeaseLost
    );
    assert_eq!(code(bench.report(&first, 9).await), ErrorCode::LeaseLost);
    bench.end(&second, succeeded("text")).await.unwrap();
    assert_eq!(
        code(bench.append(&second, 0, "late").await),
        ErrorCode::LeaseLost
    );
    let all = rest(&mut bench.watch(job, 0).await).await;
    assert_eq!(all, told(&[(1, "Succeeded text")]));
}

pub async fn a_reader_of_an_ended_job_is_told_how_it_ended(bench: &Bench) {
    let job = bench.submit(bench.job("a")).await;
    let mut watch = bench.watch(job, 0).await;
    bench.cancel(job).await.unwrap();
    let event = watch.next().await.unwrap().unwrap();
    let JobNews::Ended { view, result } = event.news else {
        panic!("{event:?}");
    };
    assert_eq!((*view, result), (bench.look(job).await, None));
    assert_eq!(watch.next().await.unwrap(), None);
    let other = bench.beside("other");
    let unknown = other.backend().watch(&other.namespace, job, 0).await;
    assert_eq!(code(unknown), ErrorCode::JobNotFound);
}
