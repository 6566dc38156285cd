//! A daemon's jobs, submitters and workers.

use crate::engines::{Life, clock, config, memory_log, namespace};
use crate::support;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_conformance::grpc::{Cut, PipeServer};
use trellis_conformance::jobs::Settings;
use trellis_core::Micros;
use trellis_core::jobs::{JobId, JobSpec, JobState, JobView, Jobs};
use trellis_proto::v1;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;
use trellis_service::{JobBounds, Parts, ServiceConfig, routes};

/// How long a worker has a job, and has it when its stream has broken.
pub const LEASE: Duration = Duration::from_secs(10);
pub const REATTACH: Duration = Duration::from_secs(3);
pub const DRAIN: Duration = Duration::from_secs(5);

pub struct Bench {
    pub life: Life,
    pub server: PipeServer,
    pub drain: CancellationToken,
}

impl Bench {
    pub async fn start() -> Self {
        let clock = clock();
        let life = Life::begin(memory_log(&clock), &clock, config(Settings::default())).await;
        let parts = Parts {
            jobs: Some(life.engine.clone()),
            ..support::parts(&clock)
        };
        let config = ServiceConfig {
            jobs: JobBounds {
                lease: LEASE.into(),
                reattach_time: REATTACH.into(),
                drain_time: DRAIN.into(),
                max_stream_in_flight: 4,
                max_credit: 20,
                max_streams: 3,
                ..JobBounds::default()
            },
            ..ServiceConfig::default()
        };
        let server = PipeServer::start(routes(&parts, config).unwrap().0);
        Self {
            life,
            server,
            drain: parts.drain,
        }
    }

    /// Over a connection of its own.
    pub fn stub(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.server.channel().0)
    }

    pub async fn view(&self, job: JobId) -> JobView {
        self.life.engine.job(&namespace(), job).await.unwrap()
    }

    pub async fn state(&self, job: JobId) -> JobState {
        self.view(job).await.state
    }

    pub async fn cancel(&self, job: JobId) {
        self.life.engine.cancel(&namespace(), job).await.unwrap();
    }

    /// Submits a job of `ocr` that is changed so.
    pub async fn put_with(&self, change: impl FnOnce(&mut JobSpec)) -> JobId {
        let mut job = JobSpec::new(crate::engines::queue("ocr"), "page");
        change(&mut job);
        self.life.submit(job).await.unwrap()
    }

    /// A worker of `ocr` that may have so many jobs.
    pub async fn worker(&self, credit: i32) -> Worker {
        self.opened(open(credit, &[])).await
    }

    pub async fn opened(&self, first: v1::WorkerOpen) -> Worker {
        let mut worker = self.connect(Request::Open(first)).await;
        let (id, Response::Opened(opened)) = worker.next().await else {
            panic!("the first answer is to `open`");
        };
        assert_eq!(id, 1);
        assert_eq!(opened.lease, Some(LEASE.try_into().unwrap()));
        assert_eq!(opened.reattach_time, Some(REATTACH.try_into().unwrap()));
        worker
    }

    /// A stream over a connection of its own.
    pub async fn connect(&self, first: Request) -> Worker {
        let (channel, cut) = self.server.channel();
        let (requests, outgoing) = mpsc::channel(1_000);
        let request = Some(first);
        let first = v1::JobServiceWorkRequest { id: 1, request };
        requests.try_send(first).unwrap();
        let mut stub = JobServiceClient::new(channel);
        let answers = stub.work(ReceiverStream::new(outgoing)).await.unwrap();
        Worker {
            answers: answers.into_inner(),
            requests: Some(requests),
            cut,
        }
    }
}

pub fn open(credit: i32, lease_ids: &[&str]) -> v1::WorkerOpen {
    v1::WorkerOpen {
        queue: "ocr".to_owned(),
        worker: "worker".to_owned(),
        credit: Some(v1::JobCredit { jobs: credit }),
        lease_ids: lease_ids.iter().map(|&it| it.to_owned()).collect(),
        ..Default::default()
    }
}

pub struct Worker {
    answers: Streaming<v1::JobServiceWorkResponse>,
    requests: Option<mpsc::Sender<v1::JobServiceWorkRequest>>,
    cut: Cut,
}

impl Worker {
    pub fn say(&self, id: u64, request: Request) {
        let request = Some(request);
        let said = v1::JobServiceWorkRequest { id, request };
        self.requests.as_ref().unwrap().try_send(said).unwrap();
    }

    pub fn say_nothing(&self, id: u64) {
        let said = v1::JobServiceWorkRequest { id, request: None };
        self.requests.as_ref().unwrap().try_send(said).unwrap();
    }

    pub fn credit(&self, jobs: i32) {
        self.say(0, Request::Credit(v1::JobCredit { jobs }));
    }

    pub fn succeed(&self, id: u64, job: &v1::AssignedJob) {
        let result = v1::JobSucceeded {
            result: "text".into(),
        };
        self.finish(id, job, End::Succeeded(result));
    }

    pub fn finish(&self, id: u64, job: &v1::AssignedJob, end: End) {
        let lease_id = job.lease_id.clone();
        let end = Some(end);
        self.say(id, Request::Finish(v1::JobAttemptEnd { lease_id, end }));
    }

    pub async fn message(&mut self) -> Result<Option<(u64, Response)>, tonic::Status> {
        let answer = self.answers.message().await?;
        Ok(answer.map(|answer| (answer.id, answer.response.unwrap())))
    }

    pub async fn next(&mut self) -> (u64, Response) {
        self.message().await.unwrap().unwrap()
    }

    pub async fn job(&mut self) -> v1::AssignedJob {
        match self.next().await {
            (0, Response::Job(job)) => job,
            other => panic!("{other:?}"),
        }
    }

    pub async fn finished(&mut self, id: u64) {
        let (answered, response) = self.next().await;
        assert!(matches!(response, Response::Finished(_)), "{response:?}");
        assert_eq!(answered, id);
    }

    /// The reason of an error under an id.
    pub async fn refused(&mut self, id: u64) -> String {
        let (answered, Response::Error(status)) = self.next().await else {
            panic!("not refused");
        };
        assert_eq!(answered, id);
        status.message
    }

    pub async fn cancelled(&mut self) -> v1::JobCancel {
        match self.next().await {
            (0, Response::Cancel(cancel)) => cancel,
            other => panic!("{other:?}"),
        }
    }

    /// Nothing comes for a while.
    pub async fn is_quiet(&mut self) {
        let came = timeout(Duration::from_millis(100), self.answers.message()).await;
        assert!(came.is_err(), "{came:?}");
    }

    /// It ends its side.
    pub fn close(&mut self) {
        self.requests = None;
    }

    /// Its process dies.
    pub async fn die(self) {
        self.cut.cut_for_good();
        sleep(Duration::from_millis(1)).await;
    }
}

/// The id of an assigned job.
pub fn id_of(job: &v1::AssignedJob) -> JobId {
    JobId::parse(&job.job_id, "job_id").unwrap()
}

pub fn micros(span: Option<prost_types::Duration>) -> Micros {
    Duration::try_from(span.unwrap()).unwrap().into()
}
