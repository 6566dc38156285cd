//! A reader of a topic: from the window of those who follow where that reaches, else from the log.
//!
//! A slow reader costs nobody anything but itself: the window moves on without it, and it reads the log.

use super::lane::{CHUNK, Lane};
use super::live::{Live, LiveBounds, Taken};
use super::topics::TopicEntry;
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use trellis_core::events::{Filter, GapReason, Heard, Position, Room, StoredEvent, Subscription};
use trellis_core::log::{LogError, Offset};
use trellis_core::{Result, Scope};

/// So many readers of a topic are told of each event by itself.
const FEW: u32 = 8;

/// How much longer each reader lets all of them wait between two looks, and how long they wait at most.
const PACE_EACH: Duration = Duration::from_micros(100);
const SLOWEST: Duration = Duration::from_millis(10);

/// Which events a reader wants, and how many of them.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub filter: &'a Filter,
    pub room: Room,
}

impl Wanted<'_> {
    /// The first that are wanted, as far as there is room, and where to go on: `None` if nothing was looked at.
    pub fn take<'b>(
        self,
        events: impl Iterator<Item = (&'b Arc<StoredEvent>, usize)>,
    ) -> (Vec<Arc<StoredEvent>>, Option<u64>) {
        let (most, _) = events.size_hint();
        let mut taken = Vec::with_capacity(most.min(self.room.events));
        let (mut sum, mut next) = (0, None);
        for (event, bytes) in events {
            if self.filter.wants(&event.event) {
                let full = taken.len() >= self.room.events || sum + bytes > self.room.bytes;
                if full && !taken.is_empty() {
                    break;
                }
                sum += bytes;
                taken.push(Arc::clone(event));
            }
            next = Some(event.offset.next().0);
        }
        (taken, next)
    }
}

/// See the module.
pub(super) struct Reader {
    pub lane: Arc<Lane>,
    pub entry: Arc<TopicEntry>,
    filter: Filter,
    live: Arc<Live>,
    changes: watch::Receiver<u64>,
    /// See [`phase`].
    phase: Duration,
    /// Everything before it was told or filtered out.
    place: u64,
    gap: Option<GapReason>,
    told_caught_up: bool,
    /// Read from the log and not told yet, with their bytes.
    chunk: VecDeque<(Arc<StoredEvent>, usize)>,
    chunk_end: u64,
}

/// The window of a topic: it has what is folded from now on.
fn follow(lane: &Lane, entry: &TopicEntry) -> Arc<Live> {
    let bounds = LiveBounds {
        events: lane.config.live_events,
        bytes: lane.config.live_bytes,
    };
    let folded = *lane.folded.borrow();
    entry.held.lock().follow(folded, bounds)
}

/// Puts a reader's moments behind those of the readers that are there.
fn phase(live: &Live) -> Duration {
    let others = u32::try_from(live.readers()).unwrap_or(u32::MAX);
    PACE_EACH.saturating_mul(others)
}

/// Where a reader was.
pub(super) struct Spot {
    lane: Arc<Lane>,
    live: Arc<Live>,
    place: u64,
}

impl Spot {
    /// Whether nothing stands behind it.
    pub fn is_caught_up(&self) -> bool {
        self.lane.is_folded() && !self.live.has_behind(self.place)
    }
}

impl Reader {
    /// Begins at a place, behind a gap if there is one.
    pub fn new(
        lane: Arc<Lane>,
        entry: Arc<TopicEntry>,
        filter: Filter,
        (place, gap): (u64, Option<GapReason>),
    ) -> Self {
        let live = follow(&lane, &entry);
        Self {
            phase: phase(&live),
            changes: live.changes(),
            lane,
            entry,
            filter,
            live,
            place,
            gap,
            told_caught_up: false,
            chunk: VecDeque::new(),
            chunk_end: place,
        }
    }

    /// Where it is now.
    pub fn spot(&self) -> Spot {
        Spot {
            lane: Arc::clone(&self.lane),
            live: Arc::clone(&self.live),
            place: self.place,
        }
    }

    /// See [`Subscription::next`]. State changes only with an answer or with what is read, so dropping it loses nothing.
    pub async fn next(&mut self, room: Room) -> Result<Heard> {
        loop {
            if let Some(error) = self.lane.ended() {
                return Err(error);
            }
            if let Some(reason) = self.gap.take() {
                return Ok(Heard::Gap(reason));
            }
            let start = self.entry.held.lock().start;
            if self.place < start {
                self.skip_to(start);
                return Ok(Heard::Gap(GapReason::Retention));
            }
            if let Some(events) = self.take_chunk(room) {
                return Ok(Heard::Events(events));
            }
            // Before the window is looked at: what is folded is in it.
            let folded = *self.lane.folded.borrow();
            self.changes.mark_unchanged();
            let filter = &self.filter;
            match self.live.take(self.place, Wanted { filter, room }) {
                Taken::Events(events, next) => {
                    self.place = next;
                    return Ok(Heard::Events(events));
                }
                Taken::Nothing => {
                    self.place = self.place.max(folded);
                    if folded < self.lane.acked() {
                        self.lane.until_folded(self.lane.acked()).await?;
                    } else if self.told_caught_up {
                        self.wait().await?;
                        self.keep_pace().await;
                    } else {
                        self.told_caught_up = true;
                        return Ok(Heard::CaughtUp);
                    }
                }
                Taken::Behind => {
                    self.told_caught_up = false;
                    self.read_chunk().await?;
                }
            }
        }
    }

    fn skip_to(&mut self, place: u64) {
        self.place = place;
        self.chunk.clear();
        self.chunk_end = place;
    }

    async fn wait(&mut self) -> Result<()> {
        tokio::select! {
            biased;
            error = self.lane.until_ended() => Err(error),
            // The window lives as long as its readers.
            _ = self.changes.changed() => Ok(()),
        }
    }

    /// Where many follow a topic, each takes what has come at moments of its own, further apart the more they are: else an
    /// event for each of them at a time would keep the processor from those who publish.
    async fn keep_pace(&self) {
        let readers = u32::try_from(self.live.readers()).unwrap_or(u32::MAX);
        if readers > FEW {
            let pace = PACE_EACH.saturating_mul(readers).min(SLOWEST);
            let since = (self.lane.born.elapsed() + self.phase).as_nanos() % pace.as_nanos();
            let passed = Duration::from_nanos(u64::try_from(since).unwrap_or(0));
            sleep(pace.saturating_sub(passed)).await;
        }
    }

    /// What was read and is wanted.
    fn take_chunk(&mut self, room: Room) -> Option<Vec<Arc<StoredEvent>>> {
        let filter = &self.filter;
        let events = self.chunk.iter().map(|(event, bytes)| (event, *bytes));
        let (taken, next) = Wanted { filter, room }.take(events);
        if let Some(next) = next {
            self.place = next;
            let told = |(event, _): &(Arc<StoredEvent>, usize)| event.offset.0 < next;
            self.chunk.drain(..self.chunk.partition_point(told));
        }
        if self.chunk.is_empty() {
            self.place = self.place.max(self.chunk_end);
        }
        Some(taken).filter(|taken| !taken.is_empty())
    }

    /// Reads on where the window does not reach.
    async fn read_chunk(&mut self) -> Result<()> {
        let folded = *self.lane.folded.borrow();
        let near = folded.saturating_sub(self.place) <= self.lane.config.live_events as u64;
        if near && self.live.is_let_go() {
            self.live = follow(&self.lane, &self.entry);
            (self.phase, self.changes) = (phase(&self.live), self.live.changes());
            // It may have what comes next.
            return Ok(());
        }
        if self.place >= folded {
            // The window begins behind what is being folded now.
            return self.lane.until_folded(self.place + 1).await;
        }
        let (log, partition) = (&self.lane.log, self.lane.partition);
        let from = Offset(self.place);
        let read = match log.read(partition, from, CHUNK).await {
            Err(LogError::OutOfRange(bounds)) if from < bounds.start => {
                self.passed_over(bounds.start.0);
                return Ok(());
            }
            Err(LogError::OutOfRange(_)) => {
                // Of late; it was read once.
                log.wait(partition, from).await?;
                return Ok(());
            }
            read => read?,
        };
        let mut chunk = VecDeque::with_capacity(read.records.len());
        // What is not folded yet may be void.
        for record in read.records.iter().filter(|it| it.offset.0 < folded) {
            if let Some(event) = self.lane.event_of(&self.entry.topic, record)? {
                let bytes = event.event.bytes();
                chunk.push_back((Arc::new(event), bytes));
            }
        }
        self.chunk = chunk;
        self.chunk_end = read.next.0.min(folded);
        Ok(())
    }

    /// The log starts behind the reader's place. What we have trimmed was not of this topic, or the topic's start says so.
    fn passed_over(&mut self, start: u64) {
        if start > self.lane.trimmed.load(Ordering::Acquire) {
            self.lane.lose_below(start);
            self.gap = Some(GapReason::Retention);
        }
        self.skip_to(start);
    }
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self, room: Room) -> Result<Heard> {
        Self::next(self, room).await
    }

    fn position(&self) -> Position {
        let folded = *self.lane.folded.borrow();
        // What was folded is in the window; so what was folded since is not of this topic.
        let behind = self.live.has_behind(self.place) || !self.chunk.is_empty();
        let place = if behind {
            self.place
        } else {
            self.place.max(folded)
        };
        Position {
            cursor: self.lane.cursor(place),
            behind: self.lane.end().saturating_sub(place),
        }
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }
}
