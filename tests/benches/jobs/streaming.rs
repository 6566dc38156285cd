//! Submitters on streams, one job in flight on each.

use crate::SUBMITTERS;
use crate::finished::Finished;
use crate::working::connections;
use futures::future::try_join_all;
use std::collections::HashMap;
use std::time::Instant;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_proto::v1::job_service_client::JobServiceClient;
use trellis_proto::v1::job_service_submit_stream_request::Request;
use trellis_proto::v1::job_service_submit_stream_response::Response;
use trellis_proto::v1::{
    JobServiceSubmitRequest, JobServiceSubmitStreamRequest, JobServiceSubmitStreamResponse,
    StreamOpen,
};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::{Done, now};

/// A submitter.
struct Submitter {
    requests: mpsc::Sender<JobServiceSubmitStreamRequest>,
    answers: Streaming<JobServiceSubmitStreamResponse>,
    said: u64,
}

impl Submitter {
    async fn open(channel: Channel) -> Result<Self> {
        let (requests, sent) = mpsc::channel(SUBMITTERS + 1);
        let request = Some(Request::Open(StreamOpen::default()));
        requests.try_send(JobServiceSubmitStreamRequest { id: 0, request })?;
        let mut client = JobServiceClient::new(channel);
        let answers = client.submit_stream(ReceiverStream::new(sent)).await?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
            said: 0,
        })
    }

    fn submit(&mut self, job: JobServiceSubmitRequest) -> Result<()> {
        self.said += 1;
        let (id, request) = (self.said, Some(Request::Submit(job)));
        let request = JobServiceSubmitStreamRequest { id, request };
        Ok(self.requests.try_send(request)?)
    }

    /// Which job is answered next.
    async fn answered(&mut self) -> Result<u64> {
        let answer = self.answers.message().await?;
        match answer.map(|answer| (answer.id, answer.response)) {
            Some((id, Some(Response::Submitted(_)))) => Ok(id),
            other => Err(format!("a submission is answered by {other:?}").into()),
        }
    }

    /// Keeps so many jobs in flight until the deadline, and waits for every answer.
    async fn run(
        &mut self,
        job: &JobServiceSubmitRequest,
        in_flight: usize,
        deadline: Instant,
    ) -> Result<Done> {
        let (mut done, mut sent) = (Done::default(), HashMap::new());
        for _ in 0..in_flight {
            self.submit(job.clone())?;
            sent.insert(self.said, now());
        }
        while !sent.is_empty() {
            let id = self.answered().await?;
            let (begun, answered) = (sent.remove(&id).ok_or("an answer to nothing")?, now());
            done.add(answered - begun);
            if answered < deadline {
                self.submit(job.clone())?;
                sent.insert(self.said, answered);
            }
        }
        Ok(done)
    }
}

/// Submitters of one server.
pub struct Streams(Vec<Mutex<Submitter>>);

impl Streams {
    pub async fn open(server: &Server, submitters: usize) -> Result<Self> {
        let channels = connections(server).await?;
        let mut streams = Vec::with_capacity(submitters);
        for place in 0..submitters {
            let channel = channels[place % channels.len()].clone();
            streams.push(Mutex::new(Submitter::open(channel).await?));
        }
        Ok(Self(streams))
    }

    /// Submits until the deadline, and waits until workers have finished what was submitted: calls are whole lives of jobs.
    pub async fn through(
        &self,
        job: &JobServiceSubmitRequest,
        finished: &Finished,
        deadline: Instant,
    ) -> Result<Done> {
        let before = finished.count();
        let each = SUBMITTERS / self.0.len();
        let lanes = self
            .0
            .iter()
            .map(|submitter| async move { submitter.lock().await.run(job, each, deadline).await });
        let done = Done::sum(try_join_all(lanes).await?);
        finished.until(before + done.calls).await?;
        Ok(done)
    }
}
