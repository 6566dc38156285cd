//! A worker on one stream that stands.

use crate::bench::{Bench, LEASE, id_of, open};
use std::time::Duration;
use tokio::time::sleep;
use tonic::Code;
use trellis_core::jobs::{JobState, OnConflict, Unique};
use trellis_core::{Micros, UniqueKey};
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;
use trellis_proto::v1::{self, JobCancelReason};

#[tokio::test(start_paused = true)]
async fn jobs_come_as_credit_allows_and_each_end_makes_room() {
    let bench = Bench::start().await;
    let mut jobs = Vec::new();
    for page in ["a", "b", "c", "d"] {
        jobs.push(bench.life.put(page).await);
    }
    let mut worker = bench.worker(2).await;
    let (first, second) = (worker.job().await, worker.job().await);
    assert_eq!([id_of(&first), id_of(&second)], jobs[..2]);
    worker.is_quiet().await;
    worker.succeed(7, &second);
    worker.finished(7).await;
    let third = worker.job().await;
    assert_eq!(id_of(&third), jobs[2]);
    worker.is_quiet().await;
    worker.credit(3);
    assert_eq!(id_of(&worker.job().await), jobs[3]);
    let (state, result) = bench.life.outcome(jobs[1]).await;
    assert_eq!(
        (state, result.as_deref()),
        (JobState::Succeeded, Some("text"))
    );
}

#[tokio::test(start_paused = true)]
async fn with_no_credit_left_no_job_comes_also_none_that_was_asked_for() {
    let bench = Bench::start().await;
    let mut worker = bench.worker(5).await;
    worker.is_quiet().await;
    worker.credit(0);
    worker.is_quiet().await;
    let job = bench.life.put("a").await;
    worker.is_quiet().await;
    assert_eq!(bench.state(job).await, JobState::Ready);
    worker.credit(1);
    assert_eq!(worker.job().await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn as_long_as_the_stream_stands_the_worker_has_its_job() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    for _ in 0..5 {
        sleep(LEASE).await;
        worker.is_quiet().await;
    }
    assert_eq!(bench.view(job).await.attempts, 1);
    worker.succeed(2, &got);
    worker.finished(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_told_why_an_attempt_is_over() {
    let bench = Bench::start().await;
    let mut worker = bench.worker(9).await;
    let taken = bench.life.put("a").await;
    let unique = |job: &mut trellis_core::jobs::JobSpec| {
        job.options.unique = Some(Unique {
            key: UniqueKey::new("page", "key").unwrap(),
            on_conflict: OnConflict::Replace,
        });
    };
    let got = worker.job().await;
    bench.cancel(taken).await;
    let cancel = worker.cancelled().await;
    assert_eq!(cancel.lease_id, got.lease_id);
    assert_eq!(cancel.reason(), JobCancelReason::Cancelled);

    bench.put_with(unique).await;
    let got = worker.job().await;
    bench.put_with(unique).await;
    let (mut told, mut next) = (None, None);
    for _ in 0..2 {
        match worker.next().await.1 {
            Response::Cancel(cancel) => told = Some(cancel),
            Response::Job(job) => next = Some(job),
            other => panic!("{other:?}"),
        }
    }
    let told = told.unwrap();
    assert_eq!(
        (&told.lease_id, told.reason()),
        (&got.lease_id, JobCancelReason::Replaced)
    );
    worker.succeed(2, &next.unwrap());
    worker.finished(2).await;

    bench
        .put_with(|job| job.options.timeout = Some(Micros::from_secs(1)))
        .await;
    let got = worker.job().await;
    let cancel = worker.cancelled().await;
    assert_eq!(cancel.lease_id, got.lease_id);
    assert_eq!(cancel.reason(), JobCancelReason::Lost);
    // An end that crosses it is told so, and nothing else is.
    worker.succeed(3, &got);
    assert!(worker.refused(3).await.contains("lease is over"));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_and_every_kind_of_end_go_up_the_stream() {
    let bench = Bench::start().await;
    let job = bench.life.put("a").await;
    let mut worker = bench.worker(1).await;
    let got = worker.job().await;
    let progress = v1::JobProgress {
        lease_id: got.lease_id.clone(),
        checkpoint: Some("page 3".into()),
        ..Default::default()
    };
    worker.say(2, Request::Progress(progress));
    let (id, kept) = worker.next().await;
    assert!(
        id == 2 && matches!(kept, Response::Progressed(_)),
        "{kept:?}"
    );
    let soon = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    worker.finish(
        3,
        &got,
        End::Throttled(v1::JobThrottled { retry_after: soon }),
    );
    worker.finished(3).await;
    assert_eq!(bench.state(job).await, JobState::Delayed);
    let got = worker.job().await;
    assert_eq!(
        (got.attempt, got.checkpoint.as_deref()),
        (1, Some(&b"page 3"[..]))
    );
    worker.finish(4, &got, End::Released(v1::JobReleased {}));
    worker.finished(4).await;
    let got = worker.job().await;
    assert_eq!(got.attempt, 1);
    let failed = v1::JobFailed {
        error: "no image".to_owned(),
        permanent: true,
        retry_after: None,
    };
    worker.finish(5, &got, End::Failed(failed));
    worker.finished(5).await;
    let view = bench.view(job).await;
    assert_eq!(
        (view.state, view.error.as_deref()),
        (JobState::Failed, Some("no image"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_bad_message_is_answered_under_its_id_and_ends_nothing() {
    let bench = Bench::start().await;
    let mut worker = bench.worker(1).await;
    let bad = |lease_id: &str| lease_id.to_owned();
    worker.say_nothing(2);
    assert!(worker.refused(2).await.starts_with("request: "));
    worker.say(3, Request::Open(open(1, &[])));
    assert!(worker.refused(3).await.starts_with("request: "));
    worker.credit(21);
    assert!(worker.refused(0).await.starts_with("credit.jobs: "));
    worker.credit(-1);
    assert!(worker.refused(0).await.starts_with("credit.jobs: "));
    let end = v1::JobAttemptEnd {
        lease_id: bad("x"),
        end: Some(End::Released(v1::JobReleased {})),
    };
    worker.say(4, Request::Finish(end));
    assert!(worker.refused(4).await.starts_with("finish.lease_id: "));
    let extend = v1::JobExtend {
        lease_id: bad(""),
        lease: None,
    };
    worker.say(5, Request::Extend(extend));
    assert!(worker.refused(5).await.starts_with("extend.lease_id: "));

    bench.life.put("a").await;
    let got = worker.job().await;
    let extend = v1::JobExtend {
        lease_id: got.lease_id.clone(),
        lease: Some(prost_types::Duration::default()),
    };
    worker.say(6, Request::Extend(extend));
    assert!(worker.refused(6).await.starts_with("extend.lease: "));
    let progress = v1::JobProgress {
        lease_id: got.lease_id.clone(),
        checkpoint: Some(vec![0; 1024 * 1024 + 1].into()),
        ..Default::default()
    };
    worker.say(7, Request::Progress(progress));
    assert!(worker.refused(7).await.starts_with("progress.checkpoint: "));
    // Two under one id, of which the first is in hand.
    worker.succeed(8, &got);
    worker.succeed(8, &got);
    let mut told = [worker.next().await.1, worker.next().await.1];
    told.sort_by_key(|told| matches!(told, Response::Error(_)));
    let [Response::Finished(_), Response::Error(error)] = told else {
        panic!("{told:?}");
    };
    assert!(error.message.starts_with("id: "), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn more_than_may_be_in_hand_waits_and_is_answered() {
    let bench = Bench::start().await;
    for _ in 0..12 {
        bench.life.put("a").await;
    }
    let mut worker = bench.worker(12).await;
    let mut jobs = Vec::new();
    for _ in 0..12 {
        jobs.push(worker.job().await);
    }
    for (id, job) in (10..).zip(&jobs) {
        worker.succeed(id, job);
    }
    for id in 10..22 {
        worker.finished(id).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_open_well_ends_with_the_field() {
    let bench = Bench::start().await;
    let not_open = Request::Credit(v1::JobCredit { jobs: 1 });
    let nameless = v1::WorkerOpen {
        queue: String::new(),
        ..open(1, &[])
    };
    let anonymous = v1::WorkerOpen {
        worker: String::new(),
        ..open(1, &[])
    };
    for (first, field) in [
        (not_open, "request: "),
        (Request::Open(nameless), "open.queue: "),
        (Request::Open(anonymous), "open.worker: "),
        (Request::Open(open(21, &[])), "open.credit.jobs: "),
        (Request::Open(open(-1, &[])), "open.credit.jobs: "),
        (Request::Open(open(1, &["x"])), "open.lease_ids[0]: "),
        (Request::Open(open(1, &["x"; 21])), "open.lease_ids: "),
    ] {
        let mut worker = bench.connect(first).await;
        let error = worker.message().await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().starts_with(field), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_above_the_bound_are_refused_and_room_is_used_again() {
    let bench = Bench::start().await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(bench.worker(1).await);
    }
    let (channel, _cut) = bench.server.channel();
    let mut stub = v1::job_service_client::JobServiceClient::new(channel);
    let refused = stub.work(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    workers.pop().unwrap().die().await;
    sleep(Duration::from_millis(10)).await;
    bench.worker(1).await;
}
