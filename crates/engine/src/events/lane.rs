//! A partition of topics: its records are folded in the order of the log, by one task, and nothing counts that was not.

use super::config::EventsConfig;
use super::ids::Ids;
use super::live::Live;
use super::order::{Folded, Order};
use super::past::Past;
use super::topics::{TopicCount, TopicEntry, Topics};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::watch;
use tokio::time::Instant;
use trellis_core::events::{
    Cursor, EventsStatus, Heading, Stamp, StoredEvent, Topic, TopicRetention, Unreadable, heading,
    read_event,
};
use trellis_core::log::{Bounds, History, Log, LogError, LogRecord, Offset, Partition, Record};
use trellis_core::{Error, ErrorCode, Time};

/// Bytes that are read at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// Begins a life in a partition: from here on nothing counts that a former one appended.
pub(super) const MARKER: &[u8] = b"trellis-started";

/// See the module.
pub(super) struct Lane {
    pub partition: Partition,
    pub log: Arc<dyn Log>,
    /// From where the moments are counted at which many readers take what has come.
    pub born: Instant,
    pub history: History,
    pub config: EventsConfig,
    pub topics: Topics,
    pub order: Order,
    pub ids: Mutex<Ids>,
    pub past: Mutex<Past>,
    /// Up to where records were folded.
    pub folded: watch::Sender<u64>,
    /// Behind the last append of this life that was acknowledged.
    acked: AtomicU64,
    /// Events published in this life, and those that had been before.
    pub published: AtomicU64,
    pub duplicates: AtomicU64,
    /// Below it we have trimmed.
    pub trimmed: AtomicU64,
    /// Why nothing comes any more.
    ended: watch::Sender<Option<Error>>,
    /// Whether anything is said there: each event that is published asks.
    has_ended: AtomicBool,
}

/// What only the fold knows.
pub(super) struct Tail {
    pub next: Offset,
    /// The newest that counts.
    pub last: Stamp,
    topic: Option<Arc<TopicEntry>>,
    /// Windows with events that were not announced yet.
    pushed: Vec<Arc<Live>>,
}

impl Tail {
    pub fn new(next: Offset) -> Self {
        Self {
            next,
            last: Stamp::default(),
            topic: None,
            pushed: Vec::new(),
        }
    }

    /// The topic of a record; mostly that of the record before.
    fn topic(&mut self, lane: &Lane, heading: &Heading<'_>) -> Result<Arc<TopicEntry>, Unreadable> {
        let same = |entry: &&Arc<TopicEntry>| heading.is_of(&entry.topic);
        if let Some(entry) = self.topic.as_ref().filter(same) {
            return Ok(Arc::clone(entry));
        }
        let (namespace, name) = heading.names()?;
        let known = lane.topics.find(namespace, name);
        let entry = known.map_or_else(|| Ok(lane.topics.must(heading.to_topic()?)), Ok)?;
        self.topic = Some(Arc::clone(&entry));
        Ok(entry)
    }
}

impl Lane {
    /// Nothing is folded yet.
    pub fn new(
        log: Arc<dyn Log>,
        partition: Partition,
        bounds: Bounds,
        config: EventsConfig,
        count: Arc<TopicCount>,
    ) -> Self {
        Self {
            partition,
            log,
            born: Instant::now(),
            history: bounds.history,
            topics: Topics::new(bounds.start.0, count),
            order: Order::new(),
            ids: Mutex::new(Ids::new(config.id_window, config.max_ids)),
            past: Mutex::default(),
            folded: watch::Sender::new(bounds.start.0),
            acked: AtomicU64::new(0),
            published: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            trimmed: AtomicU64::new(bounds.start.0),
            ended: watch::Sender::new(None),
            has_ended: AtomicBool::new(false),
            config,
        }
    }

    // The fold.

    /// Reads on and folds what is there; waits until there is something. Errors: what ends the partition, or is worth another try.
    pub async fn follow(&self, tail: &mut Tail) -> Folding<()> {
        self.log.wait(self.partition, tail.next).await?;
        self.read_on(tail).await
    }

    /// Folds up to an offset, waiting for it.
    pub async fn read_to(&self, tail: &mut Tail, end: Offset) -> Folding<()> {
        while tail.next < end {
            let before = tail.next;
            self.read_on(tail).await?;
            if tail.next == before {
                self.log.wait(self.partition, before).await?;
            }
        }
        Ok(())
    }

    /// Reads on and folds what is there.
    pub async fn read_on(&self, tail: &mut Tail) -> Folding<()> {
        let read = match self.log.read(self.partition, tail.next, CHUNK).await {
            // The log has dropped what was not folded yet.
            Err(LogError::OutOfRange(bounds)) if tail.next < bounds.start => {
                tail.next = bounds.start;
                self.lose_below(bounds.start.0);
                return Ok(());
            }
            read => read?,
        };
        for record in &read.records {
            self.fold(tail, record)
                .map_err(|Unreadable(why)| LaneError::Unreadable(record.offset, why))?;
        }
        tail.next = read.next;
        self.folded.send_replace(tail.next.0);
        for live in tail.pushed.drain(..) {
            live.announce();
        }
        Ok(())
    }

    fn fold(&self, tail: &mut Tail, found: &LogRecord) -> Result<(), Unreadable> {
        let (offset, record) = (found.offset.0, &found.record);
        let foreign = || Unreadable("it was not written by this program".to_owned());
        let stamp = Stamp::of(record).ok_or_else(foreign)?;
        if stamp <= tail.last {
            self.past.lock().add_void(offset, None);
            return Ok(());
        }
        tail.last = stamp;
        self.past.lock().add(offset, stamp.writer);
        if is_marker(record) {
            self.order.tell(stamp, Folded::At(offset));
            return Ok(());
        }
        let heading = heading(record)?;
        let entry = tail.topic(self, &heading)?;
        if let Some(id) = heading.id {
            let place = (offset, stamp.writer, found.time);
            let first = self.ids.lock().fold(&entry, (heading.source, id), place);
            if let Some(first) = first {
                self.past.lock().add_void(offset, Some(first));
                self.order.tell(stamp, Folded::Repeats(first));
                return Ok(());
            }
        }
        let bytes = record.bytes() as u64;
        let mut held = entry.held.lock();
        let retention = held.retention.unwrap_or(self.config.retention);
        held.add(offset, found.time, bytes, retention);
        if let Some(live) = held.live() {
            // While the topic is held, so that a window that is made meanwhile begins behind it.
            if !live.push(Arc::new(self.stored(found, &heading, stamp.writer)?)) {
                held.let_go();
            }
            if tail
                .pushed
                .last()
                .is_none_or(|last| !Arc::ptr_eq(last, &live))
            {
                tail.pushed.push(live);
            }
        }
        drop(held);
        self.order.tell(stamp, Folded::At(offset));
        Ok(())
    }

    /// An event of a record that counts.
    fn stored(
        &self,
        found: &LogRecord,
        heading: &Heading<'_>,
        epoch: u64,
    ) -> Result<StoredEvent, Unreadable> {
        Ok(StoredEvent {
            event: read_event(&found.record, heading)?,
            offset: found.offset,
            time: found.time,
            cursor: Cursor {
                history: self.history,
                next: found.offset.next(),
                epoch,
            },
        })
    }

    /// The event of a record of the log, if it is one of a topic and counts.
    pub fn event_of(&self, topic: &Topic, found: &LogRecord) -> Result<Option<StoredEvent>, Error> {
        let unreadable = |Unreadable(why)| LaneError::Unreadable(found.offset, why).into();
        if is_marker(&found.record) {
            return Ok(None);
        }
        let heading = heading(&found.record).map_err(unreadable)?;
        if !heading.is_of(topic) || self.past.lock().is_void(found.offset.0) {
            return Ok(None);
        }
        let epoch = Stamp::of(&found.record).unwrap_or_default().writer;
        let stored = self.stored(found, &heading, epoch);
        stored.map(Some).map_err(unreadable)
    }

    // Places.

    /// Behind the newest record that is known to stand.
    pub fn end(&self) -> u64 {
        self.acked().max(*self.folded.borrow())
    }

    /// Behind the last append of this life that was acknowledged.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Acquire)
    }

    /// Whether everything that was acknowledged is folded.
    pub fn is_folded(&self) -> bool {
        *self.folded.borrow() >= self.acked()
    }

    /// An append was acknowledged.
    pub fn acknowledge(&self, end: Offset) {
        self.acked.fetch_max(end.0, Ordering::AcqRel);
    }

    /// A cursor of a place.
    pub fn cursor(&self, next: u64) -> Cursor {
        let next = Offset(next);
        let epoch = match self.past.lock().epoch_before(next) {
            // What was not folded yet is ours.
            _ if next.0 > *self.folded.borrow() => self.order.writer(),
            epoch => epoch.unwrap_or(0),
        };
        Cursor {
            history: self.history,
            next,
            epoch,
        }
    }

    /// Adds what it keeps and what was published.
    pub fn count(&self, status: &mut EventsStatus) {
        for entry in self.topics.all() {
            let held = entry.held.lock();
            status.topics += 1;
            status.events += held.events;
            status.bytes += held.bytes;
        }
        status.published += self.published.load(Ordering::Relaxed);
        status.duplicates += self.duplicates.load(Ordering::Relaxed);
    }

    // Retention.

    /// What a topic keeps.
    pub fn retention(&self, set: Option<TopicRetention>) -> TopicRetention {
        set.unwrap_or(self.config.retention)
    }

    /// The log has dropped, by itself, what is below an offset.
    pub fn lose_below(&self, start: u64) {
        if self.trimmed.fetch_max(start, Ordering::AcqRel) >= start {
            return;
        }
        for entry in self.topics.all() {
            entry.held.lock().lose_below(start);
        }
        self.past.lock().forget_below(start);
    }

    /// Drops what topics need not keep. Errors: of the log.
    pub async fn retain(&self, now: Time) -> Result<(), LogError> {
        let folded = *self.folded.borrow();
        let mut first = folded;
        for entry in self.topics.all() {
            let mut held = entry.held.lock();
            let retention = self.retention(held.retention);
            held.expire(retention, now);
            first = held.oldest().map_or(first, |(oldest, _)| first.min(oldest));
        }
        let window = self.config.id_window;
        self.topics.sweep(Time(now.0.saturating_sub(window.0)));
        if let Some(oldest) = self.ids.lock().oldest(now) {
            first = first.min(oldest);
        }
        let first = self.past.lock().trim_below(first);
        if first <= self.trimmed.load(Ordering::Acquire) {
            return Ok(());
        }
        // Before it is done, since readers must not take it for a loss.
        self.trimmed.fetch_max(first, Ordering::AcqRel);
        self.log.trim(self.partition, Offset(first)).await?;
        self.past.lock().forget_below(first);
        Ok(())
    }

    // The end.

    /// Nothing comes any more: readers and publishers are told why. The first reason stays.
    pub fn end_with(&self, error: Error) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(error);
            first
        });
        self.has_ended.store(true, Ordering::Release);
        self.order.hang_up();
    }

    /// Why nothing comes any more.
    pub fn ended(&self) -> Option<Error> {
        if !self.has_ended.load(Ordering::Acquire) {
            return None;
        }
        self.ended.borrow().clone()
    }

    /// Waits until nothing comes any more.
    pub async fn until_ended(&self) -> Error {
        let mut watched = self.ended.subscribe();
        let ended = watched.wait_for(Option::is_some).await;
        let error = ended.ok().and_then(|ended| ended.clone());
        error.unwrap_or_else(draining)
    }

    /// Waits until records up to `end` are folded. Errors: nothing comes any more.
    pub async fn until_folded(&self, end: u64) -> Result<(), Error> {
        let mut watched = self.folded.subscribe();
        tokio::select! {
            biased;
            _ = watched.wait_for(|folded| *folded >= end) => Ok(()),
            error = self.until_ended() => Err(error),
        }
    }
}

pub(super) fn is_marker(record: &Record) -> bool {
    // Its stamp stands first.
    let second = record.headers.iter().nth(1);
    second.is_some_and(|it| it.name == MARKER)
}

/// The backend is being closed.
pub(super) fn draining() -> Error {
    Error::new(ErrorCode::Draining, "the daemon is shutting down")
}

/// Why a fold did not get further.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    /// By the log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// By a record that another version has written, or something else.
    #[error("the record at offset {} cannot be read: {_1}", _0.0)]
    Unreadable(Offset, String),
}

/// What a fold answers.
pub(super) type Folding<T> = Result<T, LaneError>;

impl LaneError {
    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Log(LogError::Unavailable { .. } | LogError::OutOfRange(_))
        )
    }
}

impl From<LaneError> for Error {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Log(error) => error.into(),
            unreadable @ LaneError::Unreadable(..) => {
                Self::new(ErrorCode::Internal, unreadable.to_string())
            }
        }
    }
}
