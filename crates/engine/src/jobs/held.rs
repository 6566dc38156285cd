//! Bytes of jobs in memory, so that they need not be read from the log. Where that keeps nothing they stand here alone.

use bytes::Bytes;
use std::collections::HashMap;
use trellis_core::jobs::{JobId, Part};

/// See the module.
pub(super) struct Held {
    parts: HashMap<(JobId, Part), Bytes>,
    /// The chunks in them, by their jobs.
    chunks: HashMap<JobId, Vec<u64>>,
    bytes: usize,
    most: usize,
    /// Nothing else has them.
    alone: bool,
}

/// What bytes take beside themselves.
const OVERHEAD: usize = 64;

impl Held {
    pub fn new(most: usize, alone: bool) -> Self {
        Self {
            parts: HashMap::new(),
            chunks: HashMap::new(),
            bytes: 0,
            most,
            alone,
        }
    }

    /// Whether so many more can be promised a place.
    pub fn has_room(&self, bytes: usize) -> bool {
        !self.alone || self.bytes + bytes + OVERHEAD <= self.most
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes bytes in, in place of those before, if there is room, or if nothing else has them.
    pub fn put(&mut self, job: JobId, part: Part, data: &Bytes) {
        self.remove(job, part);
        let size = data.len() + OVERHEAD;
        if !data.is_empty() && (self.alone || self.bytes + size <= self.most) {
            self.bytes += size;
            self.parts.insert((job, part), data.clone());
            if let Part::Chunk(number) = part {
                self.chunks.entry(job).or_default().push(number);
            }
        }
    }

    pub fn get(&self, job: JobId, part: Part) -> Option<Bytes> {
        self.parts.get(&(job, part)).cloned()
    }

    pub fn remove(&mut self, job: JobId, part: Part) {
        if let Some(data) = self.parts.remove(&(job, part)) {
            self.bytes -= data.len() + OVERHEAD;
        }
    }

    pub fn remove_chunks(&mut self, job: JobId) {
        for number in self.chunks.remove(&job).unwrap_or_default() {
            self.remove(job, Part::Chunk(number));
        }
    }
}
