//! The newest events of a topic that somebody follows, decoded once for all of them.

use super::reader::Wanted;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::events::StoredEvent;

/// Bounds of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveBounds {
    pub events: usize,
    pub bytes: usize,
}

/// See the module.
pub(super) struct Live {
    bounds: LiveBounds,
    ring: Mutex<Ring>,
    /// Behind the newest event that was announced.
    changed: watch::Sender<u64>,
}

struct Ring {
    /// Every event of the topic from here on is in it, or still to come.
    from: u64,
    events: VecDeque<(Arc<StoredEvent>, usize)>,
    bytes: usize,
    /// Behind the newest event.
    end: u64,
}

/// What a window has for a reader.
pub(super) enum Taken {
    /// These; the reader goes on at the offset.
    Events(Vec<Arc<StoredEvent>>, u64),
    /// Nothing wanted stands behind the reader's place.
    Nothing,
    /// The reader is behind what is held.
    Behind,
}

impl Live {
    /// An empty window that has everything from an offset on.
    pub fn new(from: u64, bounds: LiveBounds) -> Self {
        Self {
            bounds,
            ring: Mutex::new(Ring {
                from,
                events: VecDeque::new(),
                bytes: 0,
                end: 0,
            }),
            changed: watch::Sender::new(0),
        }
    }

    /// The next event of the topic, which is to be announced.
    pub fn push(&self, event: Arc<StoredEvent>) {
        let (bytes, end) = (event.event.bytes(), event.offset.next().0);
        let mut ring = self.ring.lock();
        ring.bytes += bytes;
        ring.events.push_back((event, bytes));
        while ring.events.len() > self.bounds.events || ring.bytes > self.bounds.bytes {
            let Some((oldest, bytes)) = ring.events.pop_front() else {
                break;
            };
            ring.bytes -= bytes;
            ring.from = oldest.offset.next().0;
        }
        ring.end = end;
    }

    /// Tells those who follow of what was pushed.
    pub fn announce(&self) {
        let end = self.ring.lock().end;
        self.changed.send_replace(end);
    }

    /// What a reader at a place may have.
    pub fn take(&self, place: u64, wanted: Wanted<'_>) -> Taken {
        let ring = self.ring.lock();
        if place < ring.from {
            return Taken::Behind;
        }
        let first = ring.events.partition_point(|(it, _)| it.offset.0 < place);
        let events = ring.events.range(first..);
        let (taken, next) = wanted.take(events.map(|(event, bytes)| (event, *bytes)));
        match next {
            Some(next) if !taken.is_empty() => Taken::Events(taken, next),
            _ => Taken::Nothing,
        }
    }

    /// Whether something may stand behind a place.
    pub fn has_behind(&self, place: u64) -> bool {
        let ring = self.ring.lock();
        let last = ring.events.back();
        place < ring.from || last.is_some_and(|(event, _)| event.offset.0 >= place)
    }

    /// How many follow.
    pub fn readers(&self) -> usize {
        self.changed.receiver_count()
    }

    /// Told of every event.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
