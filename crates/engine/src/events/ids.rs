//! The ids of the last while: by them an event that is published again is known.
//!
//! Time is that of records alone, so every fold of the same records finds the same repeats.

use super::topics::TopicEntry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use trellis_core::{Error, ErrorCode, Micros, Result, Time};

/// Where an event with an id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub offset: u64,
    pub writer: u64,
    time: Time,
}

/// See the module.
pub(super) struct Ids {
    window: Micros,
    most: usize,
    known: HashMap<Arc<[u8]>, First>,
    /// In the order of the log.
    order: VecDeque<(First, Arc<[u8]>)>,
    /// Publishes under way.
    reserved: usize,
    key: Vec<u8>,
}

impl Ids {
    pub fn new(window: Micros, most: usize) -> Self {
        Self {
            window,
            most,
            known: HashMap::new(),
            order: VecDeque::new(),
            reserved: 0,
            key: Vec::new(),
        }
    }

    /// Forms the key of an event. Texts hold no control characters, so the parts cannot run together.
    fn key(&mut self, topic: &TopicEntry, (source, id): (&[u8], &[u8])) {
        self.key.clear();
        self.key.extend_from_slice(&topic.number.to_be_bytes());
        self.key.extend_from_slice(source);
        self.key.push(0);
        self.key.extend_from_slice(id);
    }

    /// Where an event stands that is published again at a time.
    pub fn find(&mut self, topic: &TopicEntry, source: &str, id: &str, now: Time) -> Option<First> {
        self.key(topic, (source.as_bytes(), id.as_bytes()));
        let first = self.known.get(self.key.as_slice()).copied();
        first.filter(|first| first.time + self.window > now)
    }

    /// Makes room for one that is about to be published. Errors: `TooManyRequestIds`.
    pub fn reserve(&mut self, now: Time) -> Result<()> {
        if self.order.len() + self.reserved < self.most {
            self.reserved += 1;
            return Ok(());
        }
        let over = |(first, _): &(First, _)| first.time + self.window <= now;
        let expired = self.order.partition_point(over);
        let kept = self.order.len() - expired;
        if kept + self.reserved < self.most {
            self.reserved += 1;
            return Ok(());
        }
        let wait = match self.order.get(expired) {
            Some((oldest, _)) => oldest.time + self.window - now,
            None => Micros::from_millis(1),
        };
        let message = format!(
            "{} ids are remembered; raise events.max_ids, or publish without",
            self.most
        );
        Err(Error::new(ErrorCode::TooManyRequestIds, message).retry_after(wait.max(Micros::TICK)))
    }

    /// One that was about to be published was, or was not.
    pub fn release(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// An event as it stands in the log; tells where it stood before, if it did.
    pub fn fold(
        &mut self,
        topic: &TopicEntry,
        named: (&[u8], &[u8]),
        (offset, writer, time): (u64, u64, Time),
    ) -> Option<First> {
        while let Some((first, key)) = self.order.front() {
            if first.time + self.window > time {
                break;
            }
            self.known.remove(key);
            self.order.pop_front();
        }
        self.key(topic, named);
        if let Some(first) = self.known.get(self.key.as_slice()) {
            return Some(*first);
        }
        let first = First {
            offset,
            writer,
            time,
        };
        let key: Arc<[u8]> = self.key.as_slice().into();
        self.known.insert(Arc::clone(&key), first);
        self.order.push_back((first, key));
        None
    }

    /// The oldest place that is still to be known after a restart.
    pub fn oldest(&self, now: Time) -> Option<u64> {
        let over = |(first, _): &(First, _)| first.time + self.window <= now;
        let expired = self.order.partition_point(over);
        self.order.get(expired).map(|(first, _)| first.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::topics::{TopicCount, Topics};
    use std::sync::atomic::AtomicUsize;
    use trellis_core::events::Topic;
    use trellis_core::{Name, Namespace};

    fn entry() -> Arc<TopicEntry> {
        let count = TopicCount {
            most: 1,
            now: AtomicUsize::new(0),
        };
        Topics::new(0, Arc::new(count)).must(Topic {
            namespace: Namespace::new("default", "namespace").unwrap(),
            name: Name::new("orders", "topic").unwrap(),
        })
    }

    #[test]
    fn an_id_is_known_within_the_window_and_new_behind_it() {
        let topic = entry();
        let mut ids = Ids::new(Micros(10), 5);
        assert_eq!(ids.fold(&topic, (b"/a", b"1"), (4, 1, Time(100))), None);
        let first = ids.fold(&topic, (b"/a", b"1"), (5, 1, Time(109))).unwrap();
        assert_eq!(first.offset, 4);
        assert_eq!(ids.find(&topic, "/a", "1", Time(109)), Some(first));
        assert_eq!(ids.find(&topic, "/a", "1", Time(110)), None);
        assert_eq!(ids.find(&topic, "/a1", "", Time(100)), None);
        assert_eq!(ids.fold(&topic, (b"/a", b"1"), (6, 1, Time(110))), None);
    }

    #[test]
    fn at_the_bound_new_ones_are_refused_until_the_oldest_is_over() {
        let topic = entry();
        let mut ids = Ids::new(Micros(10), 2);
        ids.fold(&topic, (b"/a", b"1"), (1, 1, Time(100)));
        ids.reserve(Time(100)).unwrap();
        let refused = ids.reserve(Time(103)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooManyRequestIds);
        assert_eq!(refused.retry_after, Some(Micros(7)));
        assert!(ids.reserve(Time(110)).is_ok());
        ids.release();
        ids.release();
        assert!(ids.reserve(Time(100)).is_ok());
    }
}
