//! Submits over one stream, each job answered under its id.

use super::super::events::outgoing;
use super::super::locks::{error, item_error};
use super::{bare, convert};
use crate::spawn;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use trellis_core::Result;
use trellis_core::jobs::{JobSpec, Submitted, Submitting};
use trellis_proto::v1;
use v1::JobServiceSubmitStreamRequest;
use v1::job_service_client::JobServiceClient;
use v1::job_service_submit_stream_request::Request;
use v1::job_service_submit_stream_response::Response;

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Submitted>>>>>;

/// The sending half of the stream.
pub(super) struct Submitter {
    requests: mpsc::Sender<JobServiceSubmitStreamRequest>,
    pending: Pending,
    ids: AtomicU64,
}

impl Submitter {
    pub(super) fn start(mut stub: JobServiceClient<Channel>) -> Self {
        let (requests, outgoing) = outgoing();
        let request = Some(Request::Open(v1::StreamOpen::default()));
        let open = JobServiceSubmitStreamRequest { id: 0, request };
        requests.try_send(open).unwrap();
        let pending = Pending::default();
        let answered = pending.clone();
        spawn(async move {
            let opened = stub.submit_stream(outgoing).await;
            // The stream ends with the server, which a case that has ended does not await.
            let Ok(answers) = opened else { return };
            let mut answers = answers.into_inner();
            while let Ok(Some(answer)) = answers.message().await.map_err(error) {
                let Some(reply) = answered.lock().remove(&answer.id) else {
                    continue;
                };
                let result = match answer.response.unwrap() {
                    Response::Submitted(answer) => Ok(convert::submitted(&answer.job.unwrap())),
                    Response::Error(status) => Err(bare(item_error(&status))),
                    Response::Draining(draining) => panic!("{draining:?}"),
                };
                // Whoever does not listen any more has given up.
                let _ = reply.send(result);
            }
        });
        Self {
            requests,
            pending,
            ids: AtomicU64::new(1),
        }
    }

    pub(super) fn submit(&self, job: JobSpec) -> Submitting {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.pending.lock().insert(id, reply);
        let request = Some(Request::Submit(convert::submit_out(job)));
        let request = JobServiceSubmitStreamRequest { id, request };
        self.requests.try_send(request).unwrap();
        Box::pin(async move { answer.await.expect("the stream answers every job") })
    }
}
