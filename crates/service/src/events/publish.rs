//! `PublishStream`: many events in hand on one stream.

use super::EventRpc;
use crate::convert::{Context, events as wire};
use crate::pipelined::{Begun, Common, Kind, Message, Other, Outcome};
use std::sync::Arc;
use trellis_core::events::{CursorWriter, Published, Publishing, Topic};
use trellis_core::{Namespace, Result};
use trellis_proto::v1::event_service_publish_stream_request::Request;
use trellis_proto::v1::event_service_publish_stream_response::Response;
use trellis_proto::v1::{
    self, EventServicePublishStreamRequest, EventServicePublishStreamResponse,
};

/// The RPC that events are counted under.
pub(super) const NAME: &str = "trellis.v1.EventService/PublishStream";

/// Events that one stream publishes.
pub(crate) struct Publications {
    rpc: Arc<EventRpc>,
    known: wire::Known,
    /// Of the topic that was answered last.
    cursors: Option<(Arc<Topic>, CursorWriter)>,
}

impl Publications {
    pub fn new(rpc: &Arc<EventRpc>) -> Self {
        Self {
            rpc: Arc::clone(rpc),
            known: wire::Known::default(),
            cursors: None,
        }
    }

    /// Writes the cursors of a topic.
    fn cursors(&mut self, topic: &Arc<Topic>) -> &mut CursorWriter {
        let same = |(last, _): &(Arc<Topic>, _)| Arc::ptr_eq(last, topic) || **last == **topic;
        let last = self.cursors.take().filter(same);
        let last = last.unwrap_or_else(|| {
            let cursors = CursorWriter::new(topic, 1);
            (Arc::clone(topic), cursors)
        });
        let (_, cursors) = self.cursors.insert(last);
        cursors
    }
}

impl EventRpc {
    pub fn publishing(&self) -> Common {
        Common {
            clock: Arc::clone(&self.clock),
            stats: Arc::clone(&self.stats),
            drain: self.drain.clone(),
            place: self.publish_place,
            max_in_flight: self.config.events.max_stream_in_flight,
            max_bytes: self.config.events.max_stream_bytes,
        }
    }
}

impl Kind for Publications {
    type Message = EventServicePublishStreamRequest;
    type Request = v1::EventServicePublishRequest;
    type Meant = Arc<Topic>;
    type Told = Published;
    type Answer = EventServicePublishStreamResponse;

    const NAME: &str = "event";

    fn read(message: EventServicePublishStreamRequest) -> (u64, Message<Self::Request>) {
        let request = match message.request {
            Some(Request::Open(open)) => Message::Open(open),
            Some(Request::Publish(publish)) => Message::Item(publish),
            None => Message::Nothing,
        };
        (message.id, request)
    }

    fn begin(
        &mut self,
        request: v1::EventServicePublishRequest,
        namespace: &Namespace,
    ) -> Result<Begun<Self>> {
        let context = Context {
            config: &self.rpc.config,
            namespace,
            deadline: None,
        };
        let names = (request.namespace, request.topic);
        let topic = self.known.topic(names.0, names.1, &context)?;
        let event = wire::event(request.event.unwrap_or_default(), &context);
        let event = event.map_err(|error| error.within("event"))?;
        Ok(Begun {
            bytes: event.bytes(),
            outcome: match self.rpc.events.publish(&topic, event) {
                Publishing::Done(published) => Outcome::Done(published),
                Publishing::Waiting(outcome) => Outcome::Waiting(outcome),
            },
            meant: topic,
        })
    }

    fn told(
        &mut self,
        id: u64,
        topic: &Arc<Topic>,
        published: Published,
    ) -> EventServicePublishStreamResponse {
        let published = v1::EventServicePublishResponse {
            published: Some(wire::published(&published, self.cursors(topic))),
            scope: Some(self.rpc.scope()),
        };
        let response = Some(Response::Published(published));
        EventServicePublishStreamResponse { id, response }
    }

    fn other(id: u64, other: Other) -> EventServicePublishStreamResponse {
        let response = Some(match other {
            Other::Error(error) => Response::Error(error),
            Other::Draining(draining) => Response::Draining(draining),
        });
        EventServicePublishStreamResponse { id, response }
    }
}
