//! A reader of a topic.

use super::{Fake, cursor};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::events::{Filter, GapReason, Heard, Position, Room, Subscription, Topic};
use trellis_core::{Error, ErrorCode, Result, Scope};

/// A subscription.
pub(super) struct Reader {
    pub fake: Fake,
    pub changed: watch::Receiver<u64>,
    pub topic: Topic,
    pub filter: Filter,
    pub next: usize,
    pub caught_up: bool,
    pub gap: Option<GapReason>,
}

impl Reader {
    fn look(&mut self, room: Room) -> Option<Result<Heard>> {
        let mut state = self.fake.0.state.lock();
        if state.closed {
            return Some(Err(Error::new(ErrorCode::Draining, "closed")));
        }
        let log = state.topics.entry(self.topic.clone()).or_default();
        if self.next < log.start {
            self.next = log.start;
            self.gap = Some(GapReason::Retention);
        }
        if let Some(gap) = self.gap.take() {
            return Some(Ok(Heard::Gap(gap)));
        }
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(event) = log.events.get(self.next) {
            if self.filter.wants(&event.event) {
                bytes += event.event.bytes();
                if events.len() == room.events || (!events.is_empty() && bytes > room.bytes) {
                    break;
                }
                events.push(Arc::clone(event));
            }
            self.next += 1;
        }
        if !events.is_empty() {
            return Some(Ok(Heard::Events(events)));
        }
        (!std::mem::replace(&mut self.caught_up, true)).then_some(Ok(Heard::CaughtUp))
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self, room: Room) -> Result<Heard> {
        loop {
            self.changed.mark_unchanged();
            if let Some(heard) = self.look(room) {
                return heard;
            }
            self.changed.changed().await.unwrap();
        }
    }

    fn position(&self) -> Position {
        let state = self.fake.0.state.lock();
        let end = state
            .topics
            .get(&self.topic)
            .map_or(0, |it| it.events.len());
        Position {
            cursor: cursor(self.next),
            behind: (end - self.next.min(end)) as u64,
        }
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}
