//! The newest events of a topic that somebody follows, decoded once for all of them.

use super::reader::Wanted;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::events::StoredEvent;

/// Where a window begins that has nothing.
const LET_GO: u64 = u64::MAX;

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
    /// Events that left since a reader took something, or saw that there was nothing.
    missed: usize,
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
                missed: 0,
            }),
            changed: watch::Sender::new(0),
        }
    }

    /// The next event of the topic, which is to be announced. Tells whether the window goes on: one from which nobody has taken
    /// for its whole length is let go, so that readers who stand still cost nothing.
    pub fn push(&self, event: Arc<StoredEvent>) -> bool {
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
            ring.missed += 1;
        }
        ring.end = end;
        let goes_on = ring.missed <= self.bounds.events;
        if !goes_on {
            ring.from = LET_GO;
            ring.events = VecDeque::new();
            ring.bytes = 0;
        }
        goes_on
    }

    /// Whether nothing comes into it any more.
    pub fn is_let_go(&self) -> bool {
        self.ring.lock().from == LET_GO
    }

    /// Tells those who follow of what was pushed.
    pub fn announce(&self) {
        let end = self.ring.lock().end;
        self.changed.send_replace(end);
    }

    /// What a reader at a place may have.
    pub fn take(&self, place: u64, wanted: Wanted<'_>) -> Taken {
        let mut ring = self.ring.lock();
        if place < ring.from {
            return Taken::Behind;
        }
        ring.missed = 0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::Time;
    use trellis_core::events::{Cursor, Event, Filter, NewEvent, Room};
    use trellis_core::log::{History, Offset};

    fn event(offset: u64) -> Arc<StoredEvent> {
        let event = Event::new(NewEvent {
            source: "/shop".to_owned(),
            kind: "order.paid".to_owned(),
            ..NewEvent::default()
        });
        Arc::new(StoredEvent {
            event: event.unwrap(),
            offset: Offset(offset),
            time: Time(0),
            cursor: Cursor {
                history: History(1),
                next: Offset(offset + 1),
                epoch: 1,
            },
        })
    }

    fn take(live: &Live, place: u64) -> Taken {
        let room = Room {
            events: 100,
            bytes: 10_000,
        };
        let filter = &Filter::default();
        live.take(place, Wanted { filter, room })
    }

    #[test]
    fn a_window_is_let_go_once_nobody_took_from_it_for_its_whole_length() {
        let bounds = LiveBounds {
            events: 4,
            bytes: 10_000,
        };
        let live = Live::new(0, bounds);
        assert!((0..8).all(|offset| live.push(event(offset))));
        // Who is behind takes nothing from it.
        assert!(matches!(take(&live, 3), Taken::Behind));
        assert!(matches!(take(&live, 5), Taken::Events(events, 8) if events.len() == 3));
        assert!((8..12).all(|offset| live.push(event(offset))));
        assert!(!live.push(event(12)));
        assert!(live.is_let_go() && live.has_behind(13));
        assert!(matches!(take(&live, 13), Taken::Behind));
    }
}
