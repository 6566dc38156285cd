//! A reader of a case.

use super::bench::{ALL, names};
use std::sync::Arc;
use trellis_core::Result;
use trellis_core::events::{Heard, Position, Room, StoredEvent, Subscription};

/// See the module.
pub(super) struct TestReader(Box<dyn Subscription>);

impl TestReader {
    pub(super) fn new(subscription: Box<dyn Subscription>) -> Self {
        Self(subscription)
    }

    pub(super) fn position(&self) -> Position {
        self.0.position()
    }

    pub(super) async fn try_next(&mut self, room: Room) -> Result<Heard> {
        self.0.next(room).await
    }

    pub(super) async fn next(&mut self, room: Room) -> Heard {
        self.try_next(room).await.unwrap()
    }

    /// The next events, which must be what comes next.
    pub(super) async fn events(&mut self, room: Room) -> Vec<Arc<StoredEvent>> {
        match self.next(room).await {
            Heard::Events(events) => events,
            other => panic!("no events: {other:?}"),
        }
    }

    /// The ids of the next so many events, whatever is told of the reader's place between them.
    pub(super) async fn take(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < count {
            let room = Room {
                events: count - seen.len(),
                ..ALL
            };
            match self.next(room).await {
                Heard::Events(events) => seen.extend(names(events.iter().map(|it| &**it))),
                Heard::CaughtUp => {}
                other @ Heard::Gap(_) => panic!("{other:?} after {seen:?}"),
            }
        }
        seen
    }

    /// The ids of what stands behind, until that is all.
    pub(super) async fn until_caught_up(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            match self.next(ALL).await {
                Heard::Events(events) => seen.extend(names(events.iter().map(|it| &**it))),
                Heard::CaughtUp => return seen,
                other @ Heard::Gap(_) => panic!("{other:?} after {seen:?}"),
            }
        }
    }
}
