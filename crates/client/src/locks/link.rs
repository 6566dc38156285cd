//! One session stream.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_proto::v1 as proto;
use trellis_proto::v1::lock_service_client::LockServiceClient;
use trellis_proto::v1::lock_service_session_request::Request;
use trellis_proto::v1::lock_service_session_response::Response;

use crate::error::{Error, Result};

/// Requests on their way. A daemon that reads none of so many does not answer renewals either.
const QUEUE: usize = 4_096;

/// How long a daemon may take to open or close a session.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Link {
    requests: mpsc::Sender<proto::LockServiceSessionRequest>,
    answers: Streaming<proto::LockServiceSessionResponse>,
}

impl Link {
    /// Opens a stream; also what was opened, with all leases that the session holds.
    pub(super) async fn open(
        mut stub: LockServiceClient<Channel>,
        open: proto::LockSessionOpen,
    ) -> Result<(Self, proto::LockSessionOpened)> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let opening = async move {
            let first = message(1, Request::Open(open));
            let closed = |_| Error::unreachable("the stream takes no request");
            requests.send(first).await.map_err(closed)?;
            let answers = stub
                .session(ReceiverStream::new(outgoing))
                .await?
                .into_inner();
            let mut link = Self { requests, answers };
            let mut held = Vec::new();
            loop {
                let Some(Response::Opened(mut opened)) = link.next().await?.response else {
                    return Err(Error::invalid_answer("not the answer to `open`"));
                };
                held.append(&mut opened.held);
                if !opened.more_held {
                    opened.held = held;
                    return Ok((link, opened));
                }
            }
        };
        let late = |_| Error::unreachable("the session was not opened in time");
        tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(late)?
    }

    /// Sends a request. What a full or ended stream does not take is sent on the next one.
    pub(super) fn send(&self, id: u64, request: Request) {
        if let Err(error) = self.requests.try_send(message(id, request)) {
            tracing::debug!(%error, "a session takes no request now");
        }
    }

    /// The next answer. Cancel-safe. An end is an error.
    pub(super) async fn next(&mut self) -> Result<proto::LockServiceSessionResponse> {
        let answer = self.answers.message().await?;
        answer.ok_or_else(|| Error::outcome_unknown("the session's stream has ended"))
    }

    /// Closes the session and waits until that is done.
    pub(super) async fn close(mut self, id: u64) {
        self.send(id, Request::Close(proto::LockSessionClose {}));
        let done = async { while self.next().await.is_ok() {} };
        if tokio::time::timeout(PATIENCE, done).await.is_err() {
            tracing::debug!("a session is left to its deadline: closing it was not answered");
        }
    }
}

fn message(id: u64, request: Request) -> proto::LockServiceSessionRequest {
    let request = Some(request);
    proto::LockServiceSessionRequest { id, request }
}
