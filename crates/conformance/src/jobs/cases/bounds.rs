//! Every bound has an answer, and room again is used again.

use crate::jobs::prelude::*;
use crate::spawn;
use trellis_core::jobs::MAX_PAYLOAD_BYTES;

pub async fn what_is_out_of_bounds_is_refused_with_the_field(bench: &Bench) {
    let long = "x".repeat(MAX_PAYLOAD_BYTES + 1);
    assert_eq!(namely(bench.ask(bench.job(&long)).await), "payload");
    let reserve = bench.reserve("ocr", 0, Micros::ZERO).await;
    assert_eq!(namely(reserve), "max_jobs");
    let none = QueueSpec {
        concurrency: Some(0),
        ..QueueSpec::default()
    };
    let set = bench.backend().set_queue(bench.queue("ocr"), none).await;
    assert_eq!(namely(set), "concurrency");
    bench.submit(bench.job("a")).await;
    let got = bench.one().await;
    assert_eq!(namely(bench.end(&got, succeeded(&long)).await), "result");
    assert_eq!(namely(bench.progress(&got, &long).await), "checkpoint");
    assert_eq!(namely(bench.extend(&got, Some(ms(1))).await), "lease");
    bench.end(&got, succeeded("text")).await.unwrap();
}

pub async fn a_job_above_the_bounds_is_refused(bench: &Bench) {
    let set = async |max_jobs| {
        bench
            .set(QueueSpec {
                max_jobs,
                ..QueueSpec::default()
            })
            .await
    };
    set(Some(2)).await;
    bench.submit_all(&["a", "b"]).await;
    assert_eq!(
        code(bench.ask(bench.job("c")).await),
        ErrorCode::TooManyJobs
    );
    let got = bench.one().await;
    bench.end(&got, succeeded("text")).await.unwrap();
    bench.submit(bench.job("c")).await;
    set(None).await;
    let most = Settings::default().max_jobs;
    for _ in 3..most {
        bench.submit(bench.job("d")).await;
    }
    assert_eq!(
        code(bench.ask(bench.job("e")).await),
        ErrorCode::TooManyJobs
    );
}

pub async fn a_queue_above_the_bound_is_refused(bench: &Bench) {
    let ask = async |number: usize| {
        let queue = bench.queue(&format!("queue-{number}"));
        bench.ask(JobSpec::new(queue, "page")).await
    };
    let most = Settings::default().max_queues;
    let mut number = 0;
    let refused = loop {
        match ask(number).await {
            Ok(_) => number += 1,
            Err(error) => break error.code,
        }
    };
    assert_eq!(refused, ErrorCode::TooManyQueues);
    assert!(number >= most, "queues are spread over partitions");
    ask(0).await.unwrap();
}

pub async fn a_waiting_call_above_the_bound_is_refused(bench: &Bench) {
    let most = Settings::default().max_waiters;
    let mut waiting = Vec::new();
    for _ in 0..most {
        let bench = bench.clone();
        waiting.push(spawn(async move { bench.reserve("ocr", 1, HOUR).await }));
    }
    bench.elapse(ms(10)).await;
    let more = async || bench.reserve("ocr", 1, ms(1)).await.map(|it| it.len());
    assert_eq!(code(more().await), ErrorCode::TooManyWaiters);
    let gone = waiting.pop().unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(bench.until(more, Result::is_ok).await, Ok(0));
}
