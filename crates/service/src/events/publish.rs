//! `PublishStream`: many events in hand on one stream, answered in any order.
//!
//! An event begins to be published when it is read, so that events of one stream stand in the order in which they were sent; how the
//! stream goes on stands in `turns`. Dropping it takes back nothing.

use super::EventRpc;
use crate::convert::{self, Context, events as wire};
use crate::error::item_status;
use crate::turns::{self, Answering, Turns};
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Status, Streaming};
use trellis_core::events::{Published, Publishing, Topic};
use trellis_core::{Error, Namespace, Result, Time};
use trellis_proto::v1::event_service_publish_stream_request::Request;
use trellis_proto::v1::event_service_publish_stream_response::Response;
use trellis_proto::v1::{
    self, EventServicePublishStreamRequest, EventServicePublishStreamResponse,
};

/// The RPC that events are counted under.
pub(super) const NAME: &str = "trellis.v1.EventService/PublishStream";

type Item = std::result::Result<EventServicePublishStreamResponse, Status>;

type Outcome = Pin<Box<dyn Future<Output = Result<Published>> + Send>>;

/// An event that is being published.
struct InHand {
    id: u64,
    topic: Arc<Topic>,
    bytes: usize,
    started: Time,
    outcome: Outcome,
}

/// An event that was published, or not.
struct Done {
    id: u64,
    topic: Arc<Topic>,
    bytes: usize,
    started: Time,
    result: Result<Published>,
}

impl Future for InHand {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Done> {
        let result = ready!(self.outcome.as_mut().poll(task));
        Poll::Ready(Done {
            id: self.id,
            topic: Arc::clone(&self.topic),
            bytes: self.bytes,
            started: self.started,
            result,
        })
    }
}

/// The answers of one stream.
pub(crate) struct PublishStream {
    rpc: Arc<EventRpc>,
    inbound: Streaming<EventServicePublishStreamRequest>,
    turns: Turns,
    /// Of events that name none; `None` before `open`.
    namespace: Option<Namespace>,
    known: wire::Known,
    in_hand: FuturesUnordered<InHand>,
    /// Those of the events in hand.
    ids: HashSet<u64>,
    /// Of the events in hand.
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl PublishStream {
    pub fn new(
        rpc: Arc<EventRpc>,
        inbound: Streaming<EventServicePublishStreamRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            turns: Turns::new(&rpc.drain),
            rpc,
            inbound,
            namespace: None,
            known: wire::Known::default(),
            in_hand: FuturesUnordered::new(),
            ids: HashSet::new(),
            bytes: 0,
            _permit: permit,
        }
    }

    fn finish(
        &mut self,
        id: u64,
        topic: &Topic,
        started: Time,
        published: Result<Published>,
    ) -> EventServicePublishStreamResponse {
        let response = published.map(|published| v1::EventServicePublishResponse {
            published: Some(wire::published(&published, topic)),
            scope: Some(self.rpc.scope()),
        });
        self.answer(id, started, response.map(Response::Published))
    }

    /// Answers an event. The next one, if it is here already, is timed from now.
    fn answer(
        &mut self,
        id: u64,
        started: Time,
        result: Result<Response>,
    ) -> EventServicePublishStreamResponse {
        let now = self.rpc.clock.mono();
        self.turns.answered(now);
        if let Some(place) = self.rpc.publish_place {
            self.rpc.stats.record(place, now - started, result.is_err());
        }
        match result {
            Ok(response) => EventServicePublishStreamResponse {
                id,
                response: Some(response),
            },
            Err(error) => failed(id, error),
        }
    }
}

/// Begins to publish an event: to which topic, and its bytes.
fn begin(
    rpc: &EventRpc,
    known: &mut wire::Known,
    request: v1::EventServicePublishRequest,
    context: &Context<'_>,
) -> Result<(Arc<Topic>, usize, Publishing)> {
    let topic = known.topic(request.namespace, request.topic, context)?;
    let event = wire::event(request.event.unwrap_or_default(), context);
    let event = event.map_err(|error| error.within("event"))?;
    let bytes = event.bytes();
    let publishing = rpc.events.publish(&topic, event);
    Ok((topic, bytes, publishing))
}

fn failed(id: u64, error: Error) -> EventServicePublishStreamResponse {
    EventServicePublishStreamResponse {
        id,
        response: Some(Response::Error(item_status(error))),
    }
}

impl Answering for PublishStream {
    type Request = EventServicePublishStreamRequest;
    type Answer = EventServicePublishStreamResponse;

    fn turns(&mut self) -> &mut Turns {
        &mut self.turns
    }

    fn is_idle(&self) -> bool {
        self.in_hand.is_empty()
    }

    fn has_room(&self) -> bool {
        let bounds = &self.rpc.config.events;
        self.in_hand.len() < bounds.max_stream_in_flight && self.bytes < bounds.max_stream_bytes
    }

    fn poll_request(
        &mut self,
        task: &mut Task<'_>,
    ) -> Poll<Option<std::result::Result<EventServicePublishStreamRequest, Status>>> {
        self.inbound.poll_next_unpin(task)
    }

    fn accept(
        &mut self,
        request: EventServicePublishStreamRequest,
        _: &mut Task<'_>,
    ) -> Result<Option<EventServicePublishStreamResponse>> {
        let EventServicePublishStreamRequest { id, request } = request;
        let Some(namespace) = &self.namespace else {
            let Some(Request::Open(open)) = request else {
                let allowed = "the first message must be `open`";
                return Err(Error::invalid("request", allowed));
            };
            self.namespace = Some(convert::namespace(open.namespace)?);
            return Ok(None);
        };
        let request = match request {
            Some(Request::Publish(request)) => request,
            Some(Request::Open(_)) => {
                let error = Error::invalid("request", "`open` must be the first message only");
                return Ok(Some(failed(id, error)));
            }
            None => return Ok(Some(failed(id, Error::invalid("request", "is required")))),
        };
        if self.ids.contains(&id) {
            let error = Error::invalid("id", "an earlier event with this id is in hand");
            return Ok(Some(failed(id, error)));
        }
        let started = self.turns.started(&*self.rpc.clock);
        let context = Context {
            config: &self.rpc.config,
            namespace,
            deadline: None,
        };
        let begun = begin(&self.rpc, &mut self.known, request, &context);
        let (topic, bytes, publishing) = match begun {
            Ok(begun) => begun,
            Err(error) => return Ok(Some(self.answer(id, started, Err(error)))),
        };
        let outcome = match publishing {
            Publishing::Done(published) => {
                return Ok(Some(self.finish(id, &topic, started, published)));
            }
            Publishing::Waiting(outcome) => outcome,
        };
        self.ids.insert(id);
        self.bytes += bytes;
        self.in_hand.push(InHand {
            id,
            topic,
            bytes,
            started,
            outcome,
        });
        Ok(None)
    }

    fn poll_answer(
        &mut self,
        task: &mut Task<'_>,
    ) -> Poll<Option<EventServicePublishStreamResponse>> {
        let done = ready!(self.in_hand.poll_next_unpin(task));
        Poll::Ready(done.map(|done| {
            self.ids.remove(&done.id);
            self.bytes -= done.bytes;
            self.finish(done.id, &done.topic, done.started, done.result)
        }))
    }

    fn last(draining: v1::Draining) -> EventServicePublishStreamResponse {
        let response = Some(Response::Draining(draining));
        EventServicePublishStreamResponse { id: 0, response }
    }
}

impl Stream for PublishStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Item>> {
        turns::poll_next(&mut *self, task)
    }
}
