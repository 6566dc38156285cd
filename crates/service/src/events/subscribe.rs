//! `Subscribe`: a reader of a topic, sent what its credit allows.
//!
//! The stream is its own driver, without a task or a queue behind it: it asks the port for a page when the transport asks
//! for a message, so that a slow reader costs one page. Dropping it ends the subscription.

use super::EventRpc;
use super::credit::Credit;
use crate::convert::events as wire;
use crate::drain::farewell;
use crate::error::status;
use futures::StreamExt as _;
use prost::bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};
use trellis_core::events::{Heard, Room, Subscription, Topic};
use trellis_core::{Error, ErrorCode, Result};
use trellis_proto::v1::event_service_subscribe_request::Request;
use trellis_proto::v1::event_service_subscribe_response::Response;
use trellis_proto::v1::{self, EventServiceSubscribeRequest, EventServiceSubscribeResponse};

/// The most of one message. Larger ones gain nothing, and smaller ones share a connection better.
const PAGE: Room = Room {
    events: 1_024,
    bytes: 256 * 1024,
};

/// Events that an `open` without credit grants.
const DEFAULT_EVENTS: i64 = 1_000;

type Item = std::result::Result<EventServiceSubscribeResponse, Status>;

enum Phase {
    /// The first message has not come.
    Opening,
    /// Events are sent.
    Open(Box<Reader>),
    /// Nothing more is sent.
    Ended,
}

/// An open subscription.
struct Reader {
    topic: Topic,
    subscription: Box<dyn Subscription>,
    credit: Credit,
    /// More credit may come.
    granted_more: bool,
    heartbeat: Duration,
    /// When the position is told if nothing is sent.
    due: Instant,
}

/// What wakes a subscription.
enum Event {
    Request(Option<std::result::Result<EventServiceSubscribeRequest, Status>>),
    Heard(Result<Heard>),
    Drained,
    Due,
}

/// One subscription's stream.
pub(super) struct Subscribe {
    rpc: Arc<EventRpc>,
    inbound: Streaming<EventServiceSubscribeRequest>,
    phase: Phase,
    drained: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: OwnedSemaphorePermit,
}

impl Subscribe {
    pub fn new(
        rpc: Arc<EventRpc>,
        inbound: Streaming<EventServiceSubscribeRequest>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let drained = Box::pin(rpc.drain.clone().cancelled_owned());
        Self {
            rpc,
            inbound,
            phase: Phase::Opening,
            drained,
            _permit: permit,
        }
    }

    /// The next message to the subscriber; `None` at the end.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            let event = match &mut self.phase {
                Phase::Ended => return None,
                Phase::Opening => tokio::select! {
                    biased;
                    () = &mut self.drained => Event::Drained,
                    request = self.inbound.next() => Event::Request(request),
                },
                Phase::Open(reader) => {
                    let room = reader.credit.room(PAGE);
                    if room.is_none() && !reader.granted_more {
                        self.phase = Phase::Ended;
                        return None;
                    }
                    let next = async {
                        match room {
                            Some(room) => reader.subscription.next(room).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        biased;
                        () = &mut self.drained => Event::Drained,
                        request = self.inbound.next(), if reader.granted_more => Event::Request(request),
                        heard = next => Event::Heard(heard),
                        () = sleep_until(reader.due) => Event::Due,
                    }
                }
            };
            let told = match event {
                Event::Drained => Ok(Some(self.drain())),
                Event::Heard(Err(error)) if error.code == ErrorCode::Draining => {
                    Ok(Some(self.drain()))
                }
                Event::Heard(heard) => self.heard(heard),
                Event::Due => Ok(self.position().map(Response::Heartbeat)),
                Event::Request(Some(Err(error))) => Err(error),
                Event::Request(request) => {
                    let request = request.and_then(std::result::Result::ok);
                    self.accept(request).await.map(|()| None).map_err(status)
                }
            };
            match told {
                Ok(None) => {}
                Ok(Some(response)) => return Some(Ok(self.tell(response))),
                Err(status) => {
                    self.phase = Phase::Ended;
                    return Some(Err(status));
                }
            }
        }
    }

    fn tell(&mut self, response: Response) -> EventServiceSubscribeResponse {
        if let Phase::Open(reader) = &mut self.phase {
            reader.due = Instant::now() + reader.heartbeat;
        }
        let response = Some(response);
        EventServiceSubscribeResponse { response }
    }

    async fn accept(&mut self, request: Option<EventServiceSubscribeRequest>) -> Result<()> {
        let Some(EventServiceSubscribeRequest { request }) = request else {
            // The subscriber has ended its side.
            match &mut self.phase {
                Phase::Open(reader) => reader.granted_more = false,
                _ => self.phase = Phase::Ended,
            }
            return Ok(());
        };
        match (&mut self.phase, request) {
            (Phase::Open(reader), Some(Request::Credit(credit))) => {
                reader.credit.grant(credit, &self.rpc.config.events)
            }
            (Phase::Open(_), Some(Request::Open(_))) => Err(Error::invalid(
                "request",
                "`open` must be the first message only",
            )),
            (Phase::Open(_), None) => Err(Error::invalid("request", "must be `credit`")),
            (_, Some(Request::Open(open))) => self.open(open).await,
            _ => {
                let allowed = "the first message must be `open`";
                Err(Error::invalid("request", allowed))
            }
        }
    }

    async fn open(&mut self, mut open: v1::SubscriptionOpen) -> Result<()> {
        let bounds = &self.rpc.config.events;
        let credit = Credit::open(open.credit.take(), DEFAULT_EVENTS, bounds)
            .map_err(|error| error.within("open"))?;
        let (subscribe, heartbeat) =
            wire::subscribe(open, &self.rpc.context()).map_err(|error| error.within("open"))?;
        let topic = subscribe.topic.clone();
        let subscription = self.rpc.events.subscribe(subscribe).await;
        let heartbeat = heartbeat.into();
        self.phase = Phase::Open(Box::new(Reader {
            topic,
            subscription: subscription.map_err(|error| error.within("open.start"))?,
            credit,
            granted_more: true,
            heartbeat,
            due: Instant::now() + heartbeat,
        }));
        Ok(())
    }

    fn heard(&mut self, heard: Result<Heard>) -> std::result::Result<Option<Response>, Status> {
        let heard = heard.map_err(status)?;
        let Phase::Open(reader) = &mut self.phase else {
            return Ok(None);
        };
        Ok(match heard {
            Heard::Events(events) => {
                let bytes = events.iter().map(|event| event.event.bytes()).sum();
                reader.credit.spend(events.len(), bytes);
                let events = wire::stored(&events, &reader.topic);
                Some(Response::Events(v1::EventPage { events }))
            }
            Heard::CaughtUp => self.position().map(Response::CaughtUp),
            Heard::Gap(reason) => {
                let cursor = reader.subscription.position().cursor;
                Some(Response::Gap(wire::gap(reason, cursor, &reader.topic)))
            }
        })
    }

    fn position(&self) -> Option<v1::EventPosition> {
        let Phase::Open(reader) = &self.phase else {
            return None;
        };
        let position = reader.subscription.position();
        let scope = reader.subscription.scope();
        Some(wire::position(position, &scope, &reader.topic))
    }

    /// The last message of a stream that the daemon ends: where to go on.
    fn drain(&mut self) -> Response {
        let resume = match &self.phase {
            Phase::Open(reader) => {
                let cursor = reader.subscription.position().cursor;
                cursor.encode(&reader.topic)
            }
            _ => Bytes::new(),
        };
        self.phase = Phase::Ended;
        Response::Draining(farewell(resume))
    }
}
