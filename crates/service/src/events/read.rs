//! `Read` and `Receive`: one answer's worth.

use super::EventRpc;
use crate::convert::{Context, events as wire};
use crate::drain::or_draining;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use trellis_core::events::{Heard, Room, StoredEvent, Subscribe};
use trellis_core::{Micros, Result};
use trellis_proto::v1;

/// Events of a `Read` that does not say.
const DEFAULT_READ: usize = 100;

/// How long a `Read` looks through events that are not wanted, though it may wait for less: so that it gets on.
const LOOK: Micros = Micros::from_secs(1);

/// More than any event has: when less of an answer is left, it is sent.
const MAX_EVENT_BYTES: usize = 1_200_000;

impl EventRpc {
    pub(super) async fn read(
        &self,
        request: v1::EventServiceReadRequest,
        deadline: Option<Micros>,
    ) -> Result<v1::EventServiceReadResponse> {
        let context = Context {
            deadline,
            ..self.context()
        };
        let max = wire::max_events(request.max_events, DEFAULT_READ)?;
        let max_wait = wire::max_wait(request.max_wait, &context)?;
        let subscribe = wire::read(request, &context)?;
        let look = max_wait.max(LOOK.min(deadline.unwrap_or(LOOK)));
        let reading = Reading {
            room: wire::page(max),
            wait: max_wait.into(),
            look: look.into(),
        };
        reading.run(self, subscribe).await
    }

    pub(super) async fn receive(
        &self,
        request: v1::EventServiceReceiveRequest,
        deadline: Option<Micros>,
    ) -> Result<v1::EventServiceReceiveResponse> {
        let context = Context {
            deadline,
            ..self.context()
        };
        let names = (request.namespace, request.topic, request.group);
        let group = wire::group(names, &context)?;
        let room = wire::page(wire::max_events(request.max_events, 1)?);
        let room = wire::max_bytes(request.max_bytes, room)?;
        let max_wait = wire::max_wait(request.max_wait, &context)?;
        let start = wire::start(request.start, &group.topic)?;
        let joined = self.events.join_group(group.clone(), start).await;
        joined.map_err(|error| error.within("start"))?;
        let receiving = self.events.receive(group.clone(), room, max_wait);
        let delivered = or_draining(&self.drain, receiving).await?;
        Ok(v1::EventServiceReceiveResponse {
            deliveries: wire::deliveries(&delivered, &group.topic),
            scope: Some(self.scope()),
        })
    }
}

/// How much a read takes, and how long.
struct Reading {
    room: Room,
    /// For the first event, when there is none.
    wait: Duration,
    /// Through what stands in the log.
    look: Duration,
}

impl Reading {
    async fn run(
        mut self,
        rpc: &EventRpc,
        subscribe: Subscribe,
    ) -> Result<v1::EventServiceReadResponse> {
        let topic = subscribe.topic.clone();
        let begun = Instant::now();
        let subscribed = rpc.events.subscribe(subscribe).await;
        let mut subscription = subscribed.map_err(|error| error.within("start"))?;
        let (mut events, mut gap, mut caught_up) = (Vec::new(), None, false);
        let mut cursor = None;
        while self.room.events > 0 && (events.is_empty() || self.room.bytes > MAX_EVENT_BYTES) {
            let until = begun + if caught_up { self.wait } else { self.look };
            let before = subscription.position().cursor;
            let next = or_draining(&rpc.drain, subscription.next(self.room));
            match timeout_at(until, next).await {
                Ok(Err(error)) if events.is_empty() => return Err(error),
                // The time is over; or an error, which the next read meets.
                Err(_) | Ok(Err(_)) => break,
                Ok(Ok(Heard::Events(heard))) => {
                    self.take(&heard);
                    events.extend(wire::stored(&heard, &topic));
                    if caught_up {
                        caught_up = subscription.position().behind == 0;
                        break;
                    }
                }
                Ok(Ok(Heard::CaughtUp)) => {
                    caught_up = true;
                    if !events.is_empty() {
                        break;
                    }
                }
                Ok(Ok(Heard::Gap(reason))) if events.is_empty() => {
                    gap = Some(wire::gap(reason, subscription.position().cursor, &topic));
                }
                Ok(Ok(Heard::Gap(_))) => {
                    // The next read begins before the gap, and is told of it.
                    cursor = Some(before);
                    break;
                }
            }
        }
        let cursor = cursor.unwrap_or_else(|| subscription.position().cursor);
        Ok(v1::EventServiceReadResponse {
            events,
            cursor: cursor.encode(&topic),
            gap,
            caught_up,
            scope: Some(rpc.scope()),
        })
    }

    fn take(&mut self, heard: &[Arc<StoredEvent>]) {
        let bytes: usize = heard.iter().map(|it| it.event.bytes()).sum();
        self.room.events = self.room.events.saturating_sub(heard.len());
        self.room.bytes = self.room.bytes.saturating_sub(bytes);
    }
}
