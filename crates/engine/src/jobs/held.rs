//! Bytes of jobs in memory, so that they need not be read from the log. Where that keeps nothing they stand here alone.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use trellis_core::jobs::{JobId, JobMap, Part};

/// Bytes that all partitions may hold together.
pub(super) struct Budget {
    most: usize,
    held: AtomicUsize,
    /// For so many there was no room; 0 once there is.
    lacking: AtomicUsize,
    /// There was none for somebody: whoever has what can be forgotten looks for it.
    pub wanted: Notify,
}

impl Budget {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            held: AtomicUsize::new(0),
            lacking: AtomicUsize::new(0),
            wanted: Notify::new(),
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.held.load(Ordering::Relaxed).saturating_add(bytes) <= self.most
    }
}

/// See the module.
pub(super) struct Held {
    payloads: JobMap<Bytes>,
    left: JobMap<Bytes>,
    /// By their numbers.
    chunks: JobMap<Vec<(u64, Bytes)>>,
    bytes: usize,
    /// In which these bytes count.
    budget: Arc<Budget>,
    /// Nothing else has them.
    alone: bool,
}

/// What bytes take beside themselves.
const OVERHEAD: usize = 64;

/// The part of the budget without which it is nearly full.
const NEAR: usize = 16;

impl Held {
    pub fn new(budget: Arc<Budget>, alone: bool) -> Self {
        Self {
            payloads: JobMap::default(),
            left: JobMap::default(),
            chunks: JobMap::default(),
            bytes: 0,
            budget,
            alone,
        }
    }

    /// Whether so many more can be promised a place.
    pub fn has_room(&self, bytes: usize) -> bool {
        !self.alone || self.budget.has_room(bytes + OVERHEAD)
    }

    /// Bytes are about to come.
    pub fn promise(&self, bytes: usize) {
        self.budget.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They have come, or never will.
    pub fn redeem(&self, bytes: usize) {
        self.budget.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// There was no room for so many: all partitions look for it.
    pub fn want_room(&self, bytes: usize) {
        // One that takes most of the budget must not empty it for as long as it is refused.
        let bytes = bytes.min(self.budget.most / 2);
        self.budget.lacking.fetch_max(bytes, Ordering::Relaxed);
        self.budget.wanted.notify_waiters();
    }

    /// Whether new jobs are about to be refused for want of room, or one was.
    pub fn is_nearly_full(&self) -> bool {
        let lacking = self.budget.lacking.load(Ordering::Relaxed);
        let full = !self.has_room(lacking.max(self.budget.most / NEAR));
        if lacking > 0 && !full {
            self.budget.lacking.store(0, Ordering::Relaxed);
        }
        full
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes bytes in, in place of those before, if there is room, or if nothing else has them.
    pub fn put(&mut self, job: JobId, part: Part, data: &Bytes) {
        let size = data.len() + OVERHEAD;
        if data.is_empty() || !self.alone && !self.budget.has_room(size) {
            self.remove(job, part);
            return;
        }
        self.bytes += size;
        self.budget.held.fetch_add(size, Ordering::Relaxed);
        let data = data.clone();
        let before = match part {
            Part::Payload => self.payloads.insert(job, data),
            Part::Left => self.left.insert(job, data),
            Part::Chunk(number) => {
                // None has the number of another.
                self.chunks.entry(job).or_default().push((number, data));
                None
            }
        };
        self.give_up(before.iter());
    }

    pub fn get(&self, job: JobId, part: Part) -> Option<Bytes> {
        let found = match part {
            Part::Payload => self.payloads.get(&job),
            Part::Left => self.left.get(&job),
            Part::Chunk(number) => {
                let mut chunks = self.chunks.get(&job)?.iter();
                chunks.find(|(at, _)| *at == number).map(|(_, data)| data)
            }
        };
        found.cloned()
    }

    /// Lets go of a payload, or of what is left.
    pub fn remove(&mut self, job: JobId, part: Part) {
        let gone = match part {
            Part::Payload => self.payloads.remove(&job),
            Part::Left => self.left.remove(&job),
            Part::Chunk(_) => None,
        };
        self.give_up(gone.iter());
    }

    pub fn remove_chunks(&mut self, job: JobId) {
        if self.chunks.is_empty() {
            return;
        }
        let gone = self.chunks.remove(&job).unwrap_or_default();
        self.give_up(gone.iter().map(|(_, data)| data));
    }

    fn give_up<'a>(&mut self, gone: impl Iterator<Item = &'a Bytes>) {
        for data in gone {
            let size = data.len() + OVERHEAD;
            self.bytes -= size;
            self.budget.held.fetch_sub(size, Ordering::Relaxed);
        }
    }
}
