//! Submitters on streams, one job in flight on each.

use crate::finished::Finished;
use crate::working::connections;
use futures::future::try_join_all;
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
        let (requests, sent) = mpsc::channel(2);
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

    async fn submit(&mut self, job: JobServiceSubmitRequest) -> Result<()> {
        self.said += 1;
        let (id, request) = (self.said, Some(Request::Submit(job)));
        self.requests
            .try_send(JobServiceSubmitStreamRequest { id, request })?;
        let answer = self.answers.message().await?;
        match answer.and_then(|answer| answer.response) {
            Some(Response::Submitted(_)) => Ok(()),
            other => Err(format!("a submission is answered by {other:?}").into()),
        }
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
        let lanes = self.0.iter().map(|submitter| async move {
            let (mut submitter, mut done) = (submitter.lock().await, Done::default());
            let mut sent = now();
            loop {
                submitter.submit(job.clone()).await?;
                let answered = now();
                done.add(answered - sent);
                sent = answered;
                if answered >= deadline {
                    return Result::Ok(done);
                }
            }
        });
        let done = Done::sum(try_join_all(lanes).await?);
        finished.until(before + done.calls).await?;
        Ok(done)
    }
}
