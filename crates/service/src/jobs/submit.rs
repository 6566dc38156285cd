//! `SubmitStream`: many jobs in hand on one stream.

use super::{JobRpc, in_options};
use crate::convert::{Context, jobs as wire};
use crate::pipelined::{Begun, Common, Kind, Message, Other, Outcome};
use std::sync::Arc;
use trellis_core::jobs::Submitted;
use trellis_core::{Error, Namespace, Result};
use trellis_proto::v1::job_service_submit_stream_request::Request;
use trellis_proto::v1::job_service_submit_stream_response::Response;
use trellis_proto::v1::{self, JobServiceSubmitStreamRequest, JobServiceSubmitStreamResponse};

/// The RPC that jobs are counted under.
pub(super) const NAME: &str = "trellis.v1.JobService/SubmitStream";

/// Jobs that one stream submits.
pub(crate) struct Submissions(pub Arc<JobRpc>);

impl JobRpc {
    pub fn submitting(&self) -> Common {
        Common {
            clock: Arc::clone(&self.clock),
            stats: Arc::clone(&self.stats),
            drain: self.drain.clone(),
            place: self.submit_place,
            max_in_flight: self.config.jobs.max_stream_in_flight,
            max_bytes: self.config.jobs.max_stream_bytes,
        }
    }
}

impl Kind for Submissions {
    type Message = JobServiceSubmitStreamRequest;
    type Request = v1::JobServiceSubmitRequest;
    type Meant = ();
    type Told = Submitted;
    type Answer = JobServiceSubmitStreamResponse;

    const NAME: &str = "job";

    fn read(message: JobServiceSubmitStreamRequest) -> (u64, Message<Self::Request>) {
        let request = match message.request {
            Some(Request::Open(open)) => Message::Open(open),
            Some(Request::Submit(submit)) => Message::Item(submit),
            None => Message::Nothing,
        };
        (message.id, request)
    }

    fn begin(
        &mut self,
        request: v1::JobServiceSubmitRequest,
        namespace: &Namespace,
    ) -> Result<Begun<Self>> {
        let context = Context {
            config: &self.0.config,
            namespace,
            deadline: None,
        };
        let spec = wire::submit(request, &context, self.0.clock.now().wall)?;
        Ok(Begun {
            meant: (),
            bytes: spec.bytes(),
            outcome: Outcome::Waiting(self.0.jobs.submit(spec)),
        })
    }

    fn told(&mut self, id: u64, (): &(), submitted: Submitted) -> JobServiceSubmitStreamResponse {
        let submitted = v1::JobServiceSubmitResponse {
            job: Some(wire::submitted(submitted)),
            scope: Some(self.0.scope()),
        };
        let response = Some(Response::Submitted(submitted));
        JobServiceSubmitStreamResponse { id, response }
    }

    fn refused(error: Error) -> Error {
        in_options(error)
    }

    fn other(id: u64, other: Other) -> JobServiceSubmitStreamResponse {
        let response = Some(match other {
            Other::Error(error) => Response::Error(error),
            Other::Draining(draining) => Response::Draining(draining),
        });
        JobServiceSubmitStreamResponse { id, response }
    }
}
