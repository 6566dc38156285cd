//! What readers of the log must know of records that were folded.

use super::ids::First;
use std::collections::VecDeque;
use trellis_core::log::Offset;

/// Void records that are remembered. There are none but copies that a log behind a network makes, and repeats of an id that
/// raced with the first.
const MOST_VOIDS: usize = 100_000;

/// A record that does not count.
#[derive(Clone, Copy)]
struct Void {
    offset: u64,
    /// The event that it repeats by its id.
    first: Option<u64>,
}

/// Bounded: epochs by the lives of a log that are still in it, voids by [`MOST_VOIDS`].
#[derive(Default)]
pub(super) struct Past {
    /// In the order of the log.
    voids: VecDeque<Void>,
    /// Where the records of each life begin.
    epochs: VecDeque<(u64, u64)>,
    /// The newest record that counts.
    last: u64,
}

impl Past {
    /// A record that does not count.
    pub fn add_void(&mut self, offset: u64, first: Option<First>) {
        if self.voids.len() >= MOST_VOIDS {
            self.voids.pop_front();
        }
        let first = first.map(|first| first.offset);
        self.voids.push_back(Void { offset, first });
    }

    /// A record that counts.
    pub fn add(&mut self, offset: u64, writer: u64) {
        if self.epochs.back().is_none_or(|(_, last)| *last != writer) {
            self.epochs.push_back((offset, writer));
        }
        self.last = offset;
    }

    /// Whether a record does not count.
    pub fn is_void(&self, offset: u64) -> bool {
        let found = self.voids.binary_search_by_key(&offset, |it| it.offset);
        found.is_ok()
    }

    /// The epoch of the record before an offset, where one is known.
    pub fn epoch_before(&self, next: Offset) -> Option<u64> {
        let behind = self.epochs.partition_point(|(first, _)| *first < next.0);
        let before = behind.checked_sub(1)?;
        self.epochs.get(before).map(|(_, writer)| *writer)
    }

    /// Up to where the log can be trimmed of what lies below `before`, so that whoever folds what is left finds the same records
    /// void: the newest record stays, and no repeat outlives its first.
    pub fn trim_below(&self, before: u64) -> u64 {
        let mut before = before.min(self.last);
        for void in self.voids.iter().rev() {
            if let Some(first) = void.first
                && first < before
                && before <= void.offset
            {
                before = first;
            }
        }
        before
    }

    /// The log has dropped what is below an offset.
    pub fn forget_below(&mut self, start: u64) {
        while self.voids.front().is_some_and(|it| it.offset < start) {
            self.voids.pop_front();
        }
        while self.epochs.get(1).is_some_and(|(first, _)| *first < start) {
            self.epochs.pop_front();
        }
    }
}
