//! Whoever follows jobs and batches: what workers tell on their streams, and the end of the daemon.

use crate::bench::{Bench, Worker, id_of};
use crate::engines::namespace;
use tonic::{Code, Streaming};
use trellis_core::jobs::JobState;
use trellis_proto::v1;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_watch_batch_response::Event as BatchEvent;
use trellis_proto::v1::job_service_watch_response::Event;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;

async fn watch(bench: &Bench, job_id: &str, from: i64) -> Streaming<v1::JobServiceWatchResponse> {
    let mut client = bench.stub();
    let request = v1::JobServiceWatchRequest {
        namespace: namespace().to_string(),
        job_id: job_id.to_owned(),
        from_sequence: from,
    };
    client.watch(request).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<v1::JobServiceWatchResponse>) -> (i64, Event) {
    let told = watch.message().await.unwrap().unwrap();
    (told.sequence, told.event.unwrap())
}

fn chunk(lease_id: &str, index: i32, data: &'static str) -> Request {
    Request::Chunk(v1::JobChunk {
        lease_id: lease_id.to_owned(),
        index,
        data: data.into(),
    })
}

/// The worker is told that what it said under these ids stands, whatever comes between.
async fn stands(worker: &mut Worker, ids: std::ops::RangeInclusive<u64>) {
    for id in ids {
        let (answered, response) = worker.next().await;
        let stands = matches!(
            response,
            Response::Appended(_) | Response::Progressed(_) | Response::Finished(_)
        );
        assert!(stands && answered == id, "{answered}: {response:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_says_in_one_breath_is_told_in_that_order() {
    let bench = Bench::start().await;
    bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    let mut reader = watch(&bench, &got.job_id, 0).await;
    for (id, data) in (2..).zip(["so ", "far"]) {
        let index = i32::try_from(id).unwrap() - 2;
        worker.say(id, chunk(&got.lease_id, index, data));
    }
    let report = v1::JobReport {
        done: 2,
        total: Some(2),
        message: "done".to_owned(),
    };
    let progress = v1::JobProgress {
        lease_id: got.lease_id.clone(),
        report: Some(report.clone()),
        ..Default::default()
    };
    worker.say(4, Request::Progress(progress));
    let result = "whole".into();
    worker.finish(5, &got, End::Succeeded(v1::JobSucceeded { result }));
    stands(&mut worker, 2..=5).await;
    assert_eq!(next(&mut reader).await, (1, Event::Chunk("so ".into())));
    assert_eq!(next(&mut reader).await, (2, Event::Chunk("far".into())));
    let (3, Event::Progress(told)) = next(&mut reader).await else {
        panic!("no progress");
    };
    assert_eq!(told.report, Some(report));
    let (4, Event::Ended(ended)) = next(&mut reader).await else {
        panic!("no end");
    };
    assert_eq!(ended.result, "whole");
    assert_eq!(ended.job.unwrap().state(), v1::JobState::Succeeded);
    assert!(reader.message().await.unwrap().is_none());
    // Who comes later, or comes again, is told the same.
    let mut late = watch(&bench, &got.job_id, 2).await;
    assert_eq!(next(&mut late).await, (2, Event::Chunk("far".into())));
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_leaves_one_out_is_refused_under_its_id_and_the_stream_goes_on() {
    let bench = Bench::start().await;
    bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    worker.say(2, chunk(&got.lease_id, 1, "b"));
    assert!(worker.refused(2).await.contains("index"));
    worker.say(3, chunk(&got.lease_id, 0, "a"));
    stands(&mut worker, 3..=3).await;
    assert_eq!(bench.state(id_of(&got)).await, JobState::Running);
}

#[tokio::test(start_paused = true)]
async fn readers_are_told_when_the_daemon_drains_and_are_streams_like_others() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await.to_string();
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(watch(&bench, &job, 0).await);
    }
    let mut client = bench.stub();
    let request = v1::JobServiceWatchRequest {
        namespace: namespace().to_string(),
        job_id: job,
        from_sequence: 0,
    };
    let refused = client.watch(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    bench.drain.cancel();
    for mut reader in readers {
        let ended = reader.message().await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_followed_to_its_end() {
    let bench = Bench::start().await;
    let home = namespace().to_string();
    let mut client = bench.stub();
    let request = v1::JobServiceCreateBatchRequest {
        namespace: home.clone(),
        queue: "ocr".to_owned(),
        jobs: 2,
        max_concurrent: 1,
        request_id: "once".to_owned(),
        ..Default::default()
    };
    let first = client.create_batch(request.clone()).await.unwrap();
    let first = first.into_inner();
    assert!(!first.duplicate);
    let again = client.create_batch(request).await.unwrap().into_inner();
    assert!(again.duplicate);
    let batch_id = first.batch.unwrap().batch_id;
    assert_eq!(again.batch.unwrap().batch_id, batch_id);
    for index in 0..2 {
        let job = v1::JobSpec {
            queue: "ocr".to_owned(),
            options: Some(v1::JobOptions {
                batch: Some(v1::JobInBatch {
                    batch_id: batch_id.clone(),
                    index,
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let submit = v1::JobServiceSubmitRequest {
            namespace: home.clone(),
            job: Some(job),
            ..Default::default()
        };
        client.submit(submit).await.unwrap();
    }
    let watch = v1::JobServiceWatchBatchRequest {
        namespace: home,
        batch_id,
        from_sequence: 0,
    };
    let mut told = client.watch_batch(watch).await.unwrap().into_inner();
    let mut worker = bench.worker(2).await;
    for sequence in 1..=2 {
        let got = worker.job().await;
        worker.is_quiet().await;
        worker.succeed(sequence + 1, &got);
        worker.finished(sequence + 1).await;
        let event = told.message().await.unwrap().unwrap();
        assert_eq!(event.sequence.cast_unsigned(), sequence);
        let Some(BatchEvent::Ended(ended)) = event.event else {
            panic!("no end of a job");
        };
        assert_eq!(ended.job.unwrap().job_id, got.job_id);
    }
    let Some(BatchEvent::Over(over)) = told.message().await.unwrap().unwrap().event else {
        panic!("it is not over");
    };
    assert_eq!(over.state(), v1::JobBatchState::Succeeded);
    assert!(told.message().await.unwrap().is_none());
}
