//! One stream of a member.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trellis_proto::v1 as proto;
use trellis_proto::v1::event_service_consume_request::Request;

use super::super::group::Group;
use crate::error::{Error, Result};

pub(super) struct Link {
    /// `None` once this side has ended.
    requests: Option<mpsc::Sender<proto::EventServiceConsumeRequest>>,
    told: Streaming<proto::EventServiceConsumeResponse>,
}

impl Link {
    /// Opens a stream whose queue takes so many messages.
    pub(super) async fn open(
        group: &Group,
        open: proto::ConsumerOpen,
        queue: usize,
    ) -> Result<Self> {
        let (requests, outgoing) = mpsc::channel(queue);
        let closed = |_| Error::unreachable("the stream takes no request");
        requests
            .try_send(message(0, Request::Open(open)))
            .map_err(closed)?;
        let shared = &group.topic.events.shared;
        let mut stub = shared.events();
        let opening = stub.consume(ReceiverStream::new(outgoing));
        Ok(Self {
            requests: Some(requests),
            told: shared.opened(opening).await?.into_inner(),
        })
    }

    /// Sends a message. What an ended stream does not take is sent on the next one.
    pub(super) fn send(&self, id: u64, request: Request) {
        let Some(requests) = &self.requests else {
            return;
        };
        if let Err(error) = requests.try_send(message(id, request)) {
            tracing::debug!(%error, "a consumer's stream takes no message now");
        }
    }

    /// Ends this side: what is on its way still comes.
    pub(super) fn end(&mut self) {
        self.requests = None;
    }

    /// The next message. Cancel-safe. An end is an error.
    pub(super) async fn next(&mut self) -> Result<proto::EventServiceConsumeResponse> {
        let told = self.told.message().await?;
        told.ok_or_else(|| Error::outcome_unknown("the consumer's stream has ended"))
    }
}

fn message(id: u64, request: Request) -> proto::EventServiceConsumeRequest {
    let request = Some(request);
    proto::EventServiceConsumeRequest { id, request }
}
