//! Publishes over one stream.

use super::super::asking::Asking;
use super::{EventServiceClient, convert, item_error};
use tonic::transport::Channel;
use trellis_core::events::{Event, Publishing, Topic};
use trellis_proto::v1;
use v1::event_service_publish_stream_request::Request;
use v1::event_service_publish_stream_response::Response;
use v1::{EventServicePublishStreamRequest, EventServicePublishStreamResponse};

/// The stream.
pub(super) struct Publisher(
    Asking<EventServicePublishStreamRequest, EventServicePublishStreamResponse>,
);

impl Publisher {
    pub(super) fn start(mut stub: EventServiceClient<Channel>) -> Self {
        let request = Some(Request::Open(v1::StreamOpen::default()));
        let open = EventServicePublishStreamRequest { id: 0, request };
        let connect = |outgoing| async move { stub.publish_stream(outgoing).await };
        Self(Asking::start(open, connect, |answer| answer.id))
    }

    pub(super) fn publish(&self, topic: &Topic, event: &Event) -> Publishing {
        let request = Some(Request::Publish(v1::EventServicePublishRequest {
            namespace: topic.namespace.to_string(),
            topic: topic.name.to_string(),
            event: Some(convert::event_out(event)),
        }));
        let answer = self
            .0
            .ask(|id| EventServicePublishStreamRequest { id, request });
        let topic = topic.clone();
        Publishing::waiting(async move {
            let answer = answer.await.expect("the stream answers every event");
            match answer.response.unwrap() {
                Response::Published(answer) => {
                    Ok(convert::published(&answer.published.unwrap(), &topic))
                }
                Response::Error(status) => Err(item_error(&status)),
                Response::Draining(draining) => panic!("{draining:?}"),
            }
        })
    }
}
