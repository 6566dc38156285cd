//! Jobs under load when the daemon ends: by a signal, in order, and by a kill, in the middle of whatever it does.

use crate::jobs::{Jobs, finish, outcome, reserve, submit, succeeded};
use crate::requests::seconds;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;
use trellis_proto::v1::{self, JobState};
use trellis_tests::daemon::Daemon;

/// Submitters that go on until their daemon is gone, and the ids they were told, by their payloads.
fn submitters(
    client: &Jobs,
    life: usize,
    first: &mpsc::Sender<()>,
) -> JoinSet<BTreeMap<String, String>> {
    let mut tasks = JoinSet::new();
    for number in 0..4 {
        let (mut client, first) = (client.clone(), first.clone());
        tasks.spawn(async move {
            let mut told = BTreeMap::new();
            loop {
                let data = format!("{life}-{number}-{}", told.len());
                let request = v1::JobServiceSubmitRequest {
                    request_id: data.clone(),
                    ..submit(&data)
                };
                let Ok(answer) = client.submit(request).await else {
                    return told;
                };
                told.insert(data, answer.into_inner().job.unwrap().job_id);
                // The test has seen enough.
                let _ = first.try_send(());
            }
        });
    }
    tasks
}

/// A worker that does what it gets until its stream ends: which jobs it was told are done, and how the stream ended.
async fn work(mut client: Jobs) -> (BTreeSet<String>, Option<Response>) {
    let (say, outgoing) = mpsc::channel(1_000);
    let open = v1::WorkerOpen {
        queue: "ocr".into(),
        worker: "streamer".into(),
        credit: Some(v1::JobCredit { jobs: 8 }),
        ..Default::default()
    };
    let request = Some(Request::Open(open));
    say.try_send(v1::JobServiceWorkRequest { id: 0, request })
        .unwrap();
    let (mut hand, mut done, mut last) = (BTreeMap::new(), BTreeSet::new(), None);
    let Ok(told) = client.work(ReceiverStream::new(outgoing)).await else {
        return (done, last);
    };
    let mut told = told.into_inner();
    while let Ok(Some(answer)) = told.message().await {
        match answer.response.unwrap() {
            Response::Job(job) => {
                let id = u64::try_from(hand.len()).unwrap() + 1;
                let end = succeeded(&job.lease_id, &job.job_id);
                hand.insert(id, job.job_id);
                let request = Some(Request::Finish(end));
                say.try_send(v1::JobServiceWorkRequest { id, request })
                    .unwrap();
            }
            Response::Finished(_) => {
                done.insert(hand[&answer.id].clone());
            }
            other => last = Some(other),
        }
    }
    (done, last)
}

/// Does what is left, until nothing comes any more.
async fn drain(client: &mut Jobs) {
    loop {
        let request = v1::JobServiceReserveRequest {
            // Longer than a lease of those that the killed daemon had given away.
            max_wait: seconds(10),
            ..reserve(1_000)
        };
        let jobs = client.reserve(request).await.unwrap().into_inner().jobs;
        if jobs.is_empty() {
            return;
        }
        let ends = jobs.iter().map(|job| succeeded(&job.lease_id, &job.job_id));
        let taken = finish(client, ends.collect()).await;
        assert!(taken.into_iter().all(|taken| taken));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_the_middle_of_everything_lose_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let settings = [("TRELLIS_DATA_DIR", folder), ("TRELLIS_JOBS__LEASE", "3s")];
    let (mut told, mut done) = (BTreeMap::new(), BTreeSet::new());
    for life in 0..4 {
        let daemon = Daemon::start_with(&settings, &[]);
        let client = JobServiceClient::new(daemon.connect().await);
        let (first, mut submitted) = mpsc::channel(400);
        let submitting = submitters(&client, life, &first);
        let mut working = JoinSet::new();
        for _ in 0..2 {
            working.spawn(work(JobServiceClient::new(daemon.connect().await)));
        }
        for _ in 0..400 {
            submitted.recv().await.unwrap();
        }
        daemon.signal("KILL");
        daemon.wait();
        for each in submitting.join_all().await {
            told.extend(each);
        }
        for (each, _) in working.join_all().await {
            done.extend(each);
        }
    }
    let daemon = Daemon::start_with(&settings, &[]);
    let mut client = JobServiceClient::new(daemon.connect().await);
    drain(&mut client).await;
    assert!(told.len() >= 1_600, "{}", told.len());
    assert!(!done.is_empty());
    for (data, job_id) in &told {
        let (state, result) = outcome(&mut client, job_id).await;
        assert_eq!(
            (state, &*result),
            (JobState::Succeeded, job_id.as_bytes()),
            "{data}"
        );
    }
    let ids: BTreeSet<&String> = told.values().collect();
    assert_eq!(ids.len(), told.len(), "each has a job of its own");
    // What a worker was told is done is no job's that nobody was told of, but for one in hand of each submitter and life.
    let strangers = done.iter().filter(|id| !ids.contains(id)).count();
    assert!(strangers <= 16, "{strangers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_lets_workers_finish_and_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let settings = [("TRELLIS_DATA_DIR", folder)];
    let daemon = Daemon::start_with(&settings, &[]);
    let client = JobServiceClient::new(daemon.connect().await);
    let (first, mut submitted) = mpsc::channel(400);
    let submitting = submitters(&client, 0, &first);
    let mut working = JoinSet::new();
    for _ in 0..2 {
        working.spawn(work(JobServiceClient::new(daemon.connect().await)));
    }
    let mut waiting = client.clone();
    let nothing = v1::JobServiceReserveRequest {
        queue: "empty".into(),
        max_wait: seconds(600),
        ..reserve(1)
    };
    let mut call = JoinSet::new();
    call.spawn(async move { waiting.reserve(nothing).await });
    for _ in 0..400 {
        submitted.recv().await.unwrap();
    }
    daemon.signal("TERM");
    assert_eq!(
        call.join_next().await.unwrap().unwrap().unwrap_err().code(),
        Code::Unavailable
    );
    let mut told = BTreeMap::new();
    for each in submitting.join_all().await {
        told.extend(each);
    }
    let mut done = BTreeSet::new();
    for (each, last) in working.join_all().await {
        assert!(matches!(last, Some(Response::Draining(_))), "{last:?}");
        done.extend(each);
    }
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");

    let daemon = Daemon::start_with(&settings, &[]);
    let mut client = JobServiceClient::new(daemon.connect().await);
    for job_id in told.values() {
        let (state, _) = outcome(&mut client, job_id).await;
        let wanted = if done.contains(job_id) {
            JobState::Succeeded
        } else {
            // Nobody had it: workers finished all that they had.
            JobState::Ready
        };
        assert_eq!(state, wanted, "{job_id}");
    }
}
