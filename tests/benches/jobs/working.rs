//! Workers: streams that finish each job as soon as it comes.

use crate::finished::Finished;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_proto::v1::job_attempt_end::End;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;
use trellis_proto::v1::{
    JobAttemptEnd, JobCredit, JobServiceWorkRequest, JobServiceWorkResponse, JobSucceeded,
    WorkerOpen,
};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::now;

/// Workers at once.
pub const WORKERS: usize = 64;

const CONNECTIONS: usize = 4;

/// A worker's stream.
pub struct Worker {
    requests: mpsc::Sender<JobServiceWorkRequest>,
    answers: Streaming<JobServiceWorkResponse>,
    said: u64,
}

impl Worker {
    /// Opens a stream for so many jobs of a queue at once.
    pub async fn open(channel: Channel, queue: &str, jobs: usize) -> Result<Self> {
        let (requests, sent) = mpsc::channel(jobs + 1);
        let open = WorkerOpen {
            queue: queue.into(),
            worker: "bench".into(),
            credit: Some(JobCredit {
                jobs: i32::try_from(jobs)?,
            }),
            ..Default::default()
        };
        requests.try_send(JobServiceWorkRequest {
            id: 0,
            request: Some(Request::Open(open)),
        })?;
        let mut client = JobServiceClient::new(channel);
        let answers = client.work(ReceiverStream::new(sent)).await?.into_inner();
        let mut worker = Self {
            requests,
            answers,
            said: 0,
        };
        match worker.answer().await? {
            Response::Opened(_) => Ok(worker),
            other => Err(format!("a worker's `open` is answered by {other:?}").into()),
        }
    }

    pub async fn answer(&mut self) -> Result<Response> {
        let answer = self.answers.message().await?;
        let answer = answer.and_then(|answer| answer.response);
        answer.ok_or_else(|| "the stream of a worker ends".into())
    }

    /// The lease of the next job.
    pub async fn job(&mut self) -> Result<String> {
        loop {
            match self.answer().await? {
                Response::Job(job) => return Ok(job.lease_id),
                Response::Finished(_) => {}
                other => return Err(format!("a worker is told {other:?}").into()),
            }
        }
    }

    pub fn finish(&mut self, lease_id: String) -> Result<()> {
        let end = Some(End::Succeeded(JobSucceeded::default()));
        let request = Some(Request::Finish(JobAttemptEnd { lease_id, end }));
        self.said += 1;
        let id = self.said;
        Ok(self
            .requests
            .try_send(JobServiceWorkRequest { id, request })?)
    }

    /// Finishes whatever comes, and counts what is acknowledged.
    async fn work(mut self, finished: &Finished) -> Result<()> {
        loop {
            match self.answer().await? {
                Response::Job(job) => self.finish(job.lease_id)?,
                Response::Finished(_) => finished.add(1),
                other => return Err(format!("a worker is told {other:?}").into()),
            }
        }
    }
}

/// Connections to a server, to be used by turns.
pub async fn connections(server: &Server) -> Result<Vec<Channel>> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(server.connect().await?);
    }
    Ok(channels)
}

/// Workers that go on until this is dropped.
pub struct Workers {
    pub finished: Finished,
    /// Ends them when it is dropped.
    _tasks: tokio::task::JoinSet<()>,
}

impl Workers {
    /// So many on one queue.
    pub async fn open(server: &Server, queue: &str, streams: usize, jobs: usize) -> Result<Self> {
        let (finished, mut tasks) = (Finished::default(), tokio::task::JoinSet::new());
        let channels = connections(server).await?;
        for place in 0..streams {
            let channel = channels[place % channels.len()].clone();
            let worker = Worker::open(channel, queue, jobs).await?;
            let finished = finished.clone();
            // One that fails finishes nothing more, which ends the round.
            tasks.spawn(async move { drop(worker.work(&finished).await) });
        }
        Ok(Self {
            finished,
            _tasks: tasks,
        })
    }
}

/// A worker with nothing else to do, which says when a job has come to it.
pub struct Idle {
    pub begun: mpsc::Receiver<Instant>,
    _task: tokio::task::JoinSet<()>,
}

impl Idle {
    pub async fn open(server: &Server, queue: &str) -> Result<Self> {
        let mut worker = Worker::open(server.connect().await?, queue, 1).await?;
        let (tell, begun) = mpsc::channel(1);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            while let Ok(lease) = worker.job().await {
                let at = now();
                if worker.finish(lease).is_err() || tell.send(at).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { begun, _task: task })
    }
}
