//! The topics of a partition, and what each holds.

use super::live::{Live, LiveBounds};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use trellis_core::events::{Topic, TopicHeaders, TopicRetention};
use trellis_core::{Error, ErrorCode, Micros, Name, Namespace, Result, Time};

/// A stretch is dropped as a whole: no larger than this.
const STRETCH_EVENTS: u64 = 1_024;
const STRETCH_BYTES: u64 = 256 * 1024;
const STRETCH_AGE: Micros = Micros::from_secs(3_600);

/// A sixteenth of what a topic keeps is no more than one stretch.
const STRETCHES: u64 = 16;

/// Events that are dropped together.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    first: u64,
    /// When the log took in the first and the newest one.
    oldest: Time,
    newest: Time,
    events: u64,
    bytes: u64,
    /// Behind the last one.
    end: u64,
}

/// What a topic holds.
pub(super) struct Held {
    stretches: VecDeque<Stretch>,
    pub events: u64,
    pub bytes: u64,
    /// Below it events may have been dropped.
    pub start: u64,
    /// Behind the newest event.
    pub end: u64,
    pub newest: Option<Time>,
    /// As it was set.
    pub retention: Option<TopicRetention>,
    pub groups: usize,
    live: Weak<Live>,
}

/// A topic.
pub(super) struct TopicEntry {
    pub topic: Topic,
    pub headers: TopicHeaders,
    /// Names it in the window of ids.
    pub number: u32,
    pub held: Mutex<Held>,
}

impl Held {
    /// Counts an event in.
    pub fn add(&mut self, offset: u64, time: Time, bytes: u64, retention: TopicRetention) {
        let part = |most: Option<u64>, all: u64| most.map_or(all, |most| all.min(most / STRETCHES));
        let most_events = part(retention.max_events, STRETCH_EVENTS).max(1);
        let most_bytes = part(retention.max_bytes, STRETCH_BYTES);
        let most_age = part(retention.max_age.map(|age| age.0), STRETCH_AGE.0);
        let fits = |last: &&mut Stretch| {
            let young = time - last.oldest < Micros(most_age);
            last.events < most_events && last.bytes < most_bytes && young
        };
        match self.stretches.back_mut().filter(fits) {
            Some(last) => {
                last.events += 1;
                last.bytes += bytes;
                (last.newest, last.end) = (time, offset + 1);
            }
            None => self.stretches.push_back(Stretch {
                first: offset,
                oldest: time,
                newest: time,
                events: 1,
                bytes,
                end: offset + 1,
            }),
        }
        self.events += 1;
        self.bytes += bytes;
        (self.end, self.newest) = (offset + 1, Some(time));
    }

    /// Drops what need not be kept. Tells whether that was something.
    pub fn expire(&mut self, retention: TopicRetention, now: Time) -> bool {
        let before = self.start;
        while let Some(oldest) = self.stretches.front() {
            let exceeds = |most: Option<u64>, without: u64| most.is_some_and(|it| without >= it);
            let old = retention
                .max_age
                .is_some_and(|most| oldest.newest + most < now);
            let many = exceeds(retention.max_events, self.events - oldest.events)
                || exceeds(retention.max_bytes, self.bytes - oldest.bytes);
            if !old && !many {
                break;
            }
            self.events -= oldest.events;
            self.bytes -= oldest.bytes;
            self.start = oldest.end;
            self.stretches.pop_front();
        }
        self.start > before
    }

    /// The log itself has dropped what is below an offset.
    pub fn lose_below(&mut self, start: u64) {
        while let Some(oldest) = self.stretches.front().filter(|it| it.first < start) {
            self.events -= oldest.events;
            self.bytes -= oldest.bytes;
            self.start = oldest.end;
            self.stretches.pop_front();
        }
        self.start = self.start.max(start);
    }

    /// The oldest event that is kept, and when the log took it in.
    pub fn oldest(&self) -> Option<(u64, Time)> {
        self.stretches.front().map(|it| (it.first, it.oldest))
    }

    /// The window of those who follow, if somebody does.
    pub fn live(&self) -> Option<Arc<Live>> {
        self.live.upgrade()
    }

    /// The window of those who follow, made if need be: it has what comes from `folded` on.
    pub fn follow(&mut self, folded: u64, bounds: LiveBounds) -> Arc<Live> {
        if let Some(live) = self.live.upgrade() {
            return live;
        }
        let live = Arc::new(Live::new(folded.max(self.end), bounds));
        self.live = Arc::downgrade(&live);
        live
    }

    /// Nobody takes from the window: whoever comes back makes another one.
    pub fn let_go(&mut self) {
        self.live = Weak::new();
    }

    fn is_empty(&self) -> bool {
        self.events == 0 && self.retention.is_none() && self.groups == 0
    }
}

/// How many topics all partitions may have.
pub(super) struct TopicCount {
    pub most: usize,
    pub now: AtomicUsize,
}

/// See the module.
pub(super) struct Topics {
    count: Arc<TopicCount>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_name: BTreeMap<Namespace, BTreeMap<Name, Arc<TopicEntry>>>,
    numbers: u32,
    /// Below it, topics that are not known may have had events.
    start: u64,
}

impl Topics {
    pub fn new(start: u64, count: Arc<TopicCount>) -> Self {
        let known = Known {
            start,
            ..Known::default()
        };
        Self {
            count,
            known: RwLock::new(known),
        }
    }

    /// A topic that is known.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<TopicEntry>> {
        let known = self.known.read();
        known.by_name.get(namespace)?.get(name).cloned()
    }

    /// A topic for what begins in it now. Errors: `TooManyTopics`.
    pub fn find_or_make(&self, topic: &Topic) -> Result<Arc<TopicEntry>> {
        if let Some(found) = self.find(topic.namespace.as_str(), topic.name.as_str()) {
            return Ok(found);
        }
        let most = self.count.most;
        let room = |now: usize| Some(now + 1).filter(|now| *now <= most);
        let counted = &self.count.now;
        let counted = counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        if counted.is_err() {
            let message = format!("{most} topics are in use; raise events.max_topics");
            return Err(Error::new(ErrorCode::TooManyTopics, message));
        }
        Ok(self.insert(topic.clone(), 1))
    }

    /// A topic of the log, whatever the bound says.
    pub fn must(&self, topic: Topic) -> Arc<TopicEntry> {
        if let Some(found) = self.find(topic.namespace.as_str(), topic.name.as_str()) {
            return found;
        }
        self.count.now.fetch_add(1, Ordering::Relaxed);
        self.insert(topic, 1)
    }

    /// Puts a topic in, counted `counted` times before; another call may have been faster.
    fn insert(&self, topic: Topic, counted: usize) -> Arc<TopicEntry> {
        let mut known = self.known.write();
        let names = known.by_name.get(&topic.namespace);
        if let Some(found) = names.and_then(|names| names.get(&topic.name)) {
            self.count.now.fetch_sub(counted, Ordering::Relaxed);
            return Arc::clone(found);
        }
        known.numbers += 1;
        let entry = Arc::new(TopicEntry {
            headers: TopicHeaders::new(&topic),
            number: known.numbers,
            held: Mutex::new(Held {
                stretches: VecDeque::new(),
                events: 0,
                bytes: 0,
                start: known.start,
                end: 0,
                newest: None,
                retention: None,
                groups: 0,
                live: Weak::new(),
            }),
            topic: topic.clone(),
        });
        let names = known.by_name.entry(topic.namespace).or_default();
        names.insert(topic.name, Arc::clone(&entry));
        entry
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<TopicEntry>> {
        let known = self.known.read();
        known
            .by_name
            .values()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// Those of a namespace after a name, by name, at most so many that hold something.
    pub fn page(
        &self,
        namespace: &Namespace,
        after: Option<&Name>,
        most: usize,
    ) -> Vec<Arc<TopicEntry>> {
        let known = self.known.read();
        let Some(names) = known.by_name.get(namespace) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = names.range::<Name, _>((from, Bound::Unbounded));
        let topics = behind.map(|(_, entry)| entry);
        let topics = topics.filter(|entry| !entry.held.lock().is_empty());
        topics.take(most).cloned().collect()
    }

    /// Forgets topics that hold nothing, are nobody's and got nothing since `before`.
    pub fn sweep(&self, before: Time) {
        let mut known = self.known.write();
        let (mut start, mut forgotten) = (known.start, 0);
        for names in known.by_name.values_mut() {
            names.retain(|_, entry| {
                let held = entry.held.lock();
                let late = held.newest.is_none_or(|newest| newest < before);
                let stays = Arc::strong_count(entry) > 1 || !held.is_empty() || !late;
                if !stays {
                    start = start.max(held.start);
                    forgotten += 1;
                }
                stays
            });
        }
        known.by_name.retain(|_, names| !names.is_empty());
        known.start = start;
        self.count.now.fetch_sub(forgotten, Ordering::Relaxed);
    }
}
