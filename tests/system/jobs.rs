//! Jobs of the real binary: what survives its end, what it tells of itself, and what it refuses.

use crate::requests::{reason, seconds};
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Code, Status};
use trellis_proto::v1::event_service_client::EventServiceClient;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::status_service_client::StatusServiceClient;
use trellis_proto::v1::{self, EventEdge, JobState, event_start::Start};
use trellis_tests::daemon::Daemon;
use trellis_tests::raw;

pub type Jobs = JobServiceClient<Channel>;

pub fn submit(data: &str) -> v1::JobServiceSubmitRequest {
    let data = v1::job_payload::Content::Data(data.to_owned().into());
    v1::JobServiceSubmitRequest {
        job: Some(v1::JobSpec {
            queue: "ocr".into(),
            payload: Some(v1::JobPayload {
                content: Some(data),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn reserve(max_jobs: i32) -> v1::JobServiceReserveRequest {
    v1::JobServiceReserveRequest {
        queue: "ocr".into(),
        worker: "worker".into(),
        max_jobs,
        ..Default::default()
    }
}

/// Keeps what an attempt has done.
fn checkpoint(
    job: &v1::AssignedJob,
    kept: impl Into<prost::bytes::Bytes>,
) -> v1::JobServiceProgressRequest {
    v1::JobServiceProgressRequest {
        progress: Some(v1::JobProgress {
            lease_id: job.lease_id.clone(),
            checkpoint: Some(kept.into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn succeeded(lease_id: &str, result: &str) -> v1::JobAttemptEnd {
    let result = result.to_owned().into();
    v1::JobAttemptEnd {
        lease_id: lease_id.into(),
        end: Some(End::Succeeded(v1::JobSucceeded { result })),
    }
}

/// Whether each of these ends was taken.
pub async fn finish(client: &mut Jobs, ends: Vec<v1::JobAttemptEnd>) -> Vec<bool> {
    use v1::job_finish_result::Result as Each;
    let request = v1::JobServiceFinishRequest {
        ends,
        ..Default::default()
    };
    let results = client.finish(request).await.unwrap().into_inner().results;
    let results = results.into_iter();
    results
        .map(|each| matches!(each.result, Some(Each::Finished(_))))
        .collect()
}

/// How a job is, and its result.
pub async fn outcome(client: &mut Jobs, job_id: &str) -> (JobState, Bytes) {
    let request = v1::JobServiceWaitRequest {
        job_id: job_id.into(),
        ..Default::default()
    };
    let waited = client.wait(request).await.unwrap().into_inner();
    (waited.job.unwrap().state(), waited.result)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_loses_no_job_no_result_and_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let daemon = Daemon::start_with(&[("TRELLIS_DATA_DIR", folder)], &[]);
    let mut client = JobServiceClient::new(daemon.connect().await);
    let mut ids = Vec::new();
    for data in ["done", "running", "ready"] {
        let request = v1::JobServiceSubmitRequest {
            request_id: data.into(),
            ..submit(data)
        };
        let job = client
            .submit(request)
            .await
            .unwrap()
            .into_inner()
            .job
            .unwrap();
        assert_eq!(job.durability(), v1::Durability::Disk);
        ids.push(job.job_id);
    }
    let got = client.reserve(reserve(2)).await.unwrap().into_inner().jobs;
    client
        .progress(checkpoint(&got[1], "page 3"))
        .await
        .unwrap();
    let done = succeeded(&got[0].lease_id, "text");
    assert_eq!(finish(&mut client, vec![done.clone()]).await, [true]);
    daemon.signal("KILL");
    daemon.wait();

    let daemon = Daemon::start_with(&[("TRELLIS_DATA_DIR", folder)], &[]);
    let mut client = JobServiceClient::new(daemon.connect().await);
    let again = v1::JobServiceSubmitRequest {
        request_id: "ready".into(),
        ..submit("ready")
    };
    let again = client
        .submit(again)
        .await
        .unwrap()
        .into_inner()
        .job
        .unwrap();
    assert_eq!(
        (again.decision(), &again.job_id),
        (v1::JobDecision::Repeat, &ids[2])
    );
    let text = (JobState::Succeeded, Bytes::from("text"));
    assert_eq!(outcome(&mut client, &ids[0]).await, text);
    assert_eq!(outcome(&mut client, &ids[1]).await.0, JobState::Running);
    // A worker goes on under its lease, and may say again what it had said.
    let ends = vec![done, succeeded(&got[1].lease_id, "more")];
    assert_eq!(finish(&mut client, ends).await, [true, true]);
    let next = client.reserve(reserve(10)).await.unwrap().into_inner().jobs;
    assert_eq!(next.len(), 1);
    assert_eq!((&next[0].job_id, next[0].attempt), (&ids[2], 1));

    let mut status = StatusServiceClient::new(daemon.connect().await);
    let status = status.get_status(v1::GetStatusRequest {}).await.unwrap();
    let kept = status.into_inner().jobs.unwrap();
    assert_eq!(kept.durability(), v1::Durability::Disk);
    let counts = kept.counts.iter().map(|it| (it.state(), it.jobs));
    let expected = [(JobState::Running, 1), (JobState::Succeeded, 2)];
    assert_eq!(counts.collect::<Vec<_>>(), expected);
    assert_eq!(kept.failure, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_told_on_the_topic_of_the_daemon_and_one_that_succeeds_is_not() {
    let daemon = Daemon::start(&[]);
    let channel = daemon.connect().await;
    let mut client = JobServiceClient::new(channel.clone());
    for data in ["good", "bad"] {
        client.submit(submit(data)).await.unwrap();
    }
    let got = client.reserve(reserve(2)).await.unwrap().into_inner().jobs;
    let hopeless = v1::JobFailed {
        error: "no image".into(),
        permanent: true,
        ..Default::default()
    };
    let failed = v1::JobAttemptEnd {
        lease_id: got[1].lease_id.clone(),
        end: Some(End::Failed(hopeless)),
    };
    let ends = vec![succeeded(&got[0].lease_id, "text"), failed];
    assert_eq!(finish(&mut client, ends).await, [true, true]);
    let mut events = EventServiceClient::new(channel);
    let request = v1::EventServiceReadRequest {
        topic: "trellis.daemon".into(),
        start: Some(v1::EventStart {
            start: Some(Start::Edge(EventEdge::Earliest.into())),
        }),
        filter: Some(v1::EventFilter {
            types: vec![v1::EventPattern {
                pattern: Some(v1::event_pattern::Pattern::Prefix("trellis.job.".into())),
            }],
            ..Default::default()
        }),
        max_wait: seconds(60),
        ..Default::default()
    };
    let told = events.read(request).await.unwrap().into_inner().events;
    let told: Vec<_> = told.into_iter().map(|it| it.event.unwrap()).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&*told[0].r#type, &told[0].subject),
        ("trellis.job.failed", &got[1].job_id)
    );
    assert!(String::from_utf8_lossy(&told[0].data).contains("no image"));
}

fn field<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let (code, name, field) = reason(&answer.unwrap_err());
    assert_eq!((code, &*name), (Code::InvalidArgument, "INVALID_FIELD"));
    field
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_calls_of_submitters_and_workers_name_the_field() {
    let daemon = Daemon::start(&[]);
    let mut client = JobServiceClient::new(daemon.connect().await);
    let none = v1::JobServiceSubmitRequest::default();
    assert_eq!(field(client.submit(none).await), "job.queue");
    let long = v1::JobServiceSubmitRequest {
        request_id: "x".repeat(257),
        ..submit("a")
    };
    assert_eq!(field(client.submit(long).await), "request_id");
    let batch = |requests| v1::JobServiceSubmitBatchRequest { requests };
    assert_eq!(field(client.submit_batch(batch(vec![])).await), "requests");
    let many = vec![v1::JobServiceSubmitRequest::default(); 1_001];
    assert_eq!(field(client.submit_batch(batch(many)).await), "requests");
    for (jobs, max_wait, wrong) in [
        (-1, None, "max_jobs"),
        (1_001, None, "max_jobs"),
        (1, seconds(-1), "max_wait"),
        (1, seconds(3_601), "max_wait"),
    ] {
        let request = v1::JobServiceReserveRequest {
            max_wait,
            ..reserve(jobs)
        };
        assert_eq!(field(client.reserve(request).await), wrong);
    }
    let nobody = v1::JobServiceReserveRequest {
        worker: "\n".into(),
        ..reserve(1)
    };
    assert_eq!(field(client.reserve(nobody).await), "worker");
    let short = v1::JobServiceReserveRequest {
        lease: seconds(0),
        ..reserve(1)
    };
    assert_eq!(field(client.reserve(short).await), "lease");
    nothing_is_there(&mut client).await;
}

/// No call has made anything; one that is right is taken.
async fn nothing_is_there(client: &mut Jobs) {
    let queues = v1::JobServiceListQueuesRequest::default();
    let queues = client.list_queues(queues).await.unwrap().into_inner();
    assert!(queues.queues.is_empty(), "{queues:?}");
    client.submit(submit("a")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_calls_on_jobs_and_queues_name_the_field() {
    let daemon = Daemon::start(&[]);
    let channel = daemon.connect().await;
    let mut client = JobServiceClient::new(channel.clone());
    let nothing = v1::JobServiceFinishRequest::default();
    assert_eq!(field(client.finish(nothing).await), "ends");
    let extend = v1::JobServiceExtendRequest::default();
    assert_eq!(field(client.extend(extend).await), "lease_id");
    let progress = v1::JobServiceProgressRequest::default();
    assert_eq!(field(client.progress(progress).await), "progress.lease_id");
    let get = v1::JobServiceGetRequest {
        job_id: "é".repeat(16),
        ..Default::default()
    };
    assert_eq!(field(client.get(get).await), "job_id");
    let wait = v1::JobServiceWaitRequest::default();
    assert_eq!(field(client.wait(wait).await), "job_id");
    let cancel = v1::JobServiceCancelRequest::default();
    assert_eq!(field(client.cancel(cancel).await), "job_id");
    let retry = v1::JobServiceRetryRequest::default();
    assert_eq!(field(client.retry(retry).await), "job_id");
    let list = |states, page_token: &str| v1::JobServiceListRequest {
        queue: "ocr".into(),
        states,
        page_token: page_token.into(),
        ..Default::default()
    };
    assert_eq!(field(client.list(list(vec![99], "")).await), "states[0]");
    let token = "jobs/default/other/0";
    assert_eq!(field(client.list(list(vec![], token)).await), "page_token");
    let set = v1::JobServiceSetQueueRequest {
        queue: "ocr".into(),
        spec: Some(v1::JobQueueSpec {
            concurrency: -1,
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(field(client.set_queue(set).await), "spec.concurrency");
    let queues = v1::JobServiceListQueuesRequest {
        page_size: -1,
        ..Default::default()
    };
    assert_eq!(field(client.list_queues(queues).await), "page_size");

    for noise in [
        &b"\x0a\x7f"[..],
        b"\x08\x01",
        b"\x12\x02\x0a\xff",
        b"GET / HTTP/1.1",
    ] {
        let noise = Bytes::copy_from_slice(noise);
        let path = "/trellis.v1.JobService/Submit";
        let error = raw::call(&channel, path, noise).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    nothing_is_there(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_the_largest_jobs_are_small_enough_for_every_client() {
    let daemon = Daemon::start(&[]);
    let mut client = JobServiceClient::new(daemon.connect().await);
    let large = "x".repeat(1024 * 1024);
    for _ in 0..5 {
        client.submit(submit(&large)).await.unwrap();
    }
    // The client refuses a message above 4 MiB.
    let mut got = Vec::new();
    while got.len() < 5 {
        let more = client.reserve(reserve(1_000)).await.unwrap().into_inner();
        assert!((1..=3).contains(&more.jobs.len()), "{}", more.jobs.len());
        got.extend(more.jobs);
    }
    client.progress(checkpoint(&got[0], large)).await.unwrap();
    let released = v1::JobAttemptEnd {
        lease_id: got[0].lease_id.clone(),
        end: Some(End::Released(v1::JobReleased {})),
    };
    assert_eq!(finish(&mut client, vec![released]).await, [true]);
    let again = client.reserve(reserve(1_000)).await.unwrap().into_inner();
    assert_eq!(
        again.jobs[0].checkpoint.as_ref().unwrap().len(),
        1024 * 1024
    );
}
