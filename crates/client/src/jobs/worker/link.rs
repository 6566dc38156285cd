//! One stream of a worker.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_proto::v1 as proto;
use trellis_proto::v1::job_service_work_request::Request;
use trellis_proto::v1::job_service_work_response::Response;

use super::super::Jobs;
use crate::error::{Error, Result};

pub(super) struct Link {
    requests: mpsc::Sender<proto::JobServiceWorkRequest>,
    told: Streaming<proto::JobServiceWorkResponse>,
}

impl Link {
    /// Opens a stream whose queue takes so many messages; also what was opened.
    pub(super) async fn open(
        jobs: Jobs,
        open: proto::WorkerOpen,
        queue: usize,
    ) -> Result<(Self, proto::WorkerOpened)> {
        let (requests, outgoing) = mpsc::channel(queue);
        let closed = |_| Error::unreachable("the stream takes no request");
        requests
            .try_send(message(0, Request::Open(open)))
            .map_err(closed)?;
        let mut stub = jobs.shared.jobs();
        let opening = async move {
            let told = stub.work(ReceiverStream::new(outgoing)).await?;
            let told = told.into_inner();
            let mut link = Self { requests, told };
            match link.next().await?.response {
                Some(Response::Opened(opened)) => Ok((link, opened)),
                Some(Response::Draining(draining)) => Err(Error::unreachable(draining.reason)),
                _ => Err(Error::invalid_answer("not the answer to `open`")),
            }
        };
        jobs.shared.opened(opening).await
    }

    /// Sends a message; false when the stream takes none now.
    pub(super) fn send(&self, id: u64, request: Request) -> bool {
        self.requests.try_send(message(id, request)).is_ok()
    }

    /// The next message. Cancel-safe. An end is an error.
    pub(super) async fn next(&mut self) -> Result<proto::JobServiceWorkResponse> {
        let told = self.told.message().await?;
        told.ok_or_else(|| Error::outcome_unknown("the worker's stream has ended"))
    }
}

fn message(id: u64, request: Request) -> proto::JobServiceWorkRequest {
    let request = Some(request);
    proto::JobServiceWorkRequest { id, request }
}
