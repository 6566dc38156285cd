//! Submits over one stream.

use super::super::asking::Asking;
use super::super::locks::item_error;
use super::{bare, convert};
use tonic::transport::Channel;
use trellis_core::jobs::{JobSpec, Submitting};
use trellis_proto::v1;
use v1::job_service_client::JobServiceClient;
use v1::job_service_submit_stream_request::Request;
use v1::job_service_submit_stream_response::Response;
use v1::{JobServiceSubmitStreamRequest, JobServiceSubmitStreamResponse};

/// The stream.
pub(super) struct Submitter(Asking<JobServiceSubmitStreamRequest, JobServiceSubmitStreamResponse>);

impl Submitter {
    pub(super) fn start(mut stub: JobServiceClient<Channel>) -> Self {
        let request = Some(Request::Open(v1::StreamOpen::default()));
        let open = JobServiceSubmitStreamRequest { id: 0, request };
        let connect = |outgoing| async move { stub.submit_stream(outgoing).await };
        Self(Asking::start(open, connect, |answer| answer.id))
    }

    pub(super) fn submit(&self, job: JobSpec) -> Submitting {
        let request = Some(Request::Submit(convert::submit_out(job)));
        let answer = self
            .0
            .ask(|id| JobServiceSubmitStreamRequest { id, request });
        Box::pin(async move {
            let answer = answer.await.expect("the stream answers every job");
            match answer.response.unwrap() {
                Response::Submitted(answer) => Ok(convert::submitted(&answer.job.unwrap())),
                Response::Error(status) => Err(bare(item_error(&status))),
                Response::Draining(draining) => panic!("{draining:?}"),
            }
        })
    }
}
