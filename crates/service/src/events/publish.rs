//! `PublishStream`: many events in hand on one stream, answered in any order.
//!
//! The stream is its own driver, as that of limits: it reads an event when the transport asks for an answer, and begins to publish
//! it then and there, so that events of one stream stand in the order in which they were sent. While too many, or too
//! many bytes, are in hand it does not read, which holds the caller back. Dropping it takes back nothing.

use super::EventRpc;
use crate::convert::{self, Context, events as wire};
use crate::drain::draining;
use crate::error::{item_status, status};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;
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

/// Answers given between two looks at the drain, whose lock is the whole daemon's.
const BURST: u32 = 64;

type Item = std::result::Result<EventServicePublishStreamResponse, Status>;

enum Phase {
    /// The first message has not come.
    Opening,
    /// Events are read.
    Open(Namespace),
    /// No more are read; what is in hand is answered.
    Closing {
        /// The daemon ends the stream, and says so last.
        draining: bool,
    },
    /// Nothing more is sent.
    Ended,
}

/// An event that is being published.
struct InHand {
    id: u64,
    topic: Arc<Topic>,
    bytes: usize,
    started: Time,
    publishing: Publishing,
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
        let result = ready!(self.publishing.poll_unpin(task));
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
    phase: Phase,
    known: wire::Known,
    in_hand: FuturesUnordered<InHand>,
    /// Those of the events in hand.
    ids: HashSet<u64>,
    /// Of the events in hand.
    bytes: usize,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Answers given since the last look at the drain.
    burst: u32,
    /// When the last answer was given, while events come without a pause.
    answered: Option<Time>,
    _permit: OwnedSemaphorePermit,
}

impl PublishStream {
    pub fn new(
        rpc: Arc<EventRpc>,
        inbound: Streaming<EventServicePublishStreamRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let drained = Box::pin(rpc.drain.clone().cancelled_owned());
        Self {
            rpc,
            inbound,
            phase: Phase::Opening,
            known: wire::Known::default(),
            in_hand: FuturesUnordered::new(),
            ids: HashSet::new(),
            bytes: 0,
            drained,
            burst: 0,
            answered: None,
            _permit: permit,
        }
    }

    fn reads(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Open(_))
    }

    fn has_room(&self) -> bool {
        let bounds = &self.rpc.config.events;
        self.in_hand.len() < bounds.max_stream_in_flight && self.bytes < bounds.max_stream_bytes
    }

    /// Reads events until one is answered at once, no more may be taken in hand, or none is there.
    fn poll_events(&mut self, task: &mut Task<'_>) -> Poll<Item> {
        while self.has_room() {
            let Poll::Ready(request) = self.inbound.poll_next_unpin(task) else {
                self.answered = None;
                return Poll::Pending;
            };
            let request = match request {
                None => {
                    self.phase = Phase::Closing { draining: false };
                    return Poll::Pending;
                }
                Some(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                Some(Ok(request)) => request,
            };
            match self.accept(request, task) {
                Ok(None) => {}
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Err(error) => return Poll::Ready(Err(self.fail(status(error)))),
            }
        }
        Poll::Pending
    }

    fn fail(&mut self, status: Status) -> Status {
        self.phase = Phase::Ended;
        status
    }

    /// Takes one message: returns its answer when there is one at once. An error ends the stream.
    fn accept(
        &mut self,
        request: EventServicePublishStreamRequest,
        task: &mut Task<'_>,
    ) -> Result<Option<EventServicePublishStreamResponse>> {
        let EventServicePublishStreamRequest { id, request } = request;
        let Phase::Open(namespace) = &self.phase else {
            let Some(Request::Open(open)) = request else {
                let allowed = "the first message must be `open`";
                return Err(Error::invalid("request", allowed));
            };
            self.phase = Phase::Open(convert::namespace(open.namespace)?);
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
        let started = self.answered.take();
        let started = started.unwrap_or_else(|| self.rpc.clock.mono());
        let context = Context {
            config: &self.rpc.config,
            namespace,
            deadline: None,
        };
        let begun = begin(&self.rpc, &mut self.known, request, &context);
        let (topic, bytes, mut publishing) = match begun {
            Ok(begun) => begun,
            Err(error) => return Ok(Some(self.answer(id, started, Err(error)))),
        };
        if let Poll::Ready(published) = publishing.poll_unpin(task) {
            return Ok(Some(self.finish(id, &topic, started, published)));
        }
        self.ids.insert(id);
        self.bytes += bytes;
        self.in_hand.push(InHand {
            id,
            topic,
            bytes,
            started,
            publishing,
        });
        Ok(None)
    }

    fn poll_answers(&mut self, task: &mut Task<'_>) -> Poll<Option<Item>> {
        let done = ready!(self.in_hand.poll_next_unpin(task));
        Poll::Ready(done.map(|done| {
            self.ids.remove(&done.id);
            self.bytes -= done.bytes;
            Ok(self.finish(done.id, &done.topic, done.started, done.result))
        }))
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
        self.answered = Some(now);
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

impl Stream for PublishStream {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Item>> {
        let this = &mut *self;
        if let Phase::Ended = this.phase {
            return Poll::Ready(None);
        }
        if !this.in_hand.is_empty()
            && let Poll::Ready(Some(answer)) = this.poll_answers(task)
        {
            return Poll::Ready(Some(answer));
        }
        if this.reads()
            && this.burst < BURST
            && let Poll::Ready(item) = this.poll_events(task)
        {
            this.burst += 1;
            return Poll::Ready(Some(item));
        }
        this.burst = 0;
        if this.reads() {
            if this.drained.poll_unpin(task).is_ready() {
                this.phase = Phase::Closing { draining: true };
            } else if let Poll::Ready(item) = this.poll_events(task) {
                return Poll::Ready(Some(item));
            }
        }
        // Again, so that events just taken in hand are looked at.
        match this.poll_answers(task) {
            Poll::Ready(Some(answer)) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                let Phase::Closing { draining: says_so } = this.phase else {
                    return Poll::Pending;
                };
                this.phase = Phase::Ended;
                let reason = draining().message;
                let last = v1::Draining {
                    reason,
                    resume: prost::bytes::Bytes::new(),
                };
                let response = Some(Response::Draining(last));
                let last = EventServicePublishStreamResponse { id: 0, response };
                Poll::Ready(says_so.then_some(Ok(last)))
            }
        }
    }
}
