//! What a group's records amount to. Nothing but [`GroupFold::apply`] changes it, and nothing but the record decides how.

use super::record::{DeadReason, GroupPart, GroupRecord};
use crate::Time;
use std::collections::BTreeMap;

/// An event that is to be delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Deliveries so far.
    pub attempts: u32,
    /// Not before this, as wall-clock time.
    pub due: Time,
}

/// An event that is not delivered any more, until it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Deliveries so far.
    pub attempts: u32,
    /// Why.
    pub reason: DeadReason,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFold {
    floor: u64,
    /// Settled stretches above the floor: end by first, apart from each other.
    settled: BTreeMap<u64, u64>,
    retries: BTreeMap<u64, Retry>,
    dead: BTreeMap<u64, DeadLetter>,
}

impl GroupFold {
    /// A group that begins at an offset.
    #[must_use]
    pub fn new(floor: u64) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    /// The first offset that is not settled.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether an event is acknowledged or a dead letter. A replayed dead letter below the floor is not.
    #[must_use]
    pub fn is_settled(&self, offset: u64) -> bool {
        if self.retries.contains_key(&offset) {
            return false;
        }
        let before = self.settled.range(..=offset).next_back();
        offset < self.floor || before.is_some_and(|(_, end)| offset < *end)
    }

    /// Events that are to be delivered again, by offset.
    #[must_use]
    pub fn retries(&self) -> &BTreeMap<u64, Retry> {
        &self.retries
    }

    /// Dead letters, by offset.
    #[must_use]
    pub fn dead(&self) -> &BTreeMap<u64, DeadLetter> {
        &self.dead
    }

    /// How much is remembered above the floor: stretches, retries and dead letters.
    #[must_use]
    pub fn size(&self) -> usize {
        self.settled.len() + self.retries.len() + self.dead.len()
    }

    /// Takes a record over. Idempotent, and whatever stands already is not undone: a settled event becomes open again by
    /// a replay alone, and only a dead letter can be replayed.
    pub fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Done(stretches) => {
                for (first, end) in stretches {
                    self.settle(*first, *end);
                }
            }
            GroupRecord::Retry {
                offset,
                attempts,
                due,
            } => {
                let known = self.retries.get(offset).map_or(0, |retry| retry.attempts);
                if !self.is_settled(*offset) && *attempts >= known {
                    let retry = Retry {
                        attempts: *attempts,
                        due: *due,
                    };
                    self.retries.insert(*offset, retry);
                }
            }
            GroupRecord::Dead {
                offset,
                attempts,
                reason,
            } => {
                if !self.is_settled(*offset) {
                    let letter = DeadLetter {
                        attempts: *attempts,
                        reason: *reason,
                    };
                    self.settle(*offset, offset.saturating_add(1));
                    self.dead.insert(*offset, letter);
                }
            }
            GroupRecord::Replay { offset, due } => {
                if self.dead.remove(offset).is_some() {
                    let retry = Retry {
                        attempts: 0,
                        due: *due,
                    };
                    self.retries.insert(*offset, retry);
                }
            }
            GroupRecord::Gone { before } => self.trim(*before),
            GroupRecord::Part(part) => {
                self.settled.extend(part.settled.iter().copied());
                self.retries.extend(part.retries.iter().copied());
                self.dead.extend(part.dead.iter().copied());
            }
        }
    }

    /// What it remembers above the floor, in parts of at most so many things: to a fold of the same floor that remembers
    /// nothing yet, applying them brings it all.
    #[must_use]
    pub fn parts(&self, most: usize) -> Vec<GroupPart> {
        let most = most.max(1);
        let settled: Vec<_> = self
            .settled
            .iter()
            .map(|(first, end)| (*first, *end))
            .collect();
        let retries: Vec<_> = self
            .retries
            .iter()
            .map(|(at, retry)| (*at, *retry))
            .collect();
        let dead: Vec<_> = self
            .dead
            .iter()
            .map(|(at, letter)| (*at, *letter))
            .collect();
        let settled = settled.chunks(most).map(|some| GroupPart {
            settled: some.to_vec(),
            ..GroupPart::default()
        });
        let retries = retries.chunks(most).map(|some| GroupPart {
            retries: some.to_vec(),
            ..GroupPart::default()
        });
        let dead = dead.chunks(most).map(|some| GroupPart {
            dead: some.to_vec(),
            ..GroupPart::default()
        });
        settled.chain(retries).chain(dead).collect()
    }

    /// Whether something below an offset is remembered.
    #[must_use]
    pub fn is_anything_below(&self, offset: u64) -> bool {
        let below = |first: Option<&u64>| first.is_some_and(|first| *first < offset);
        self.floor < offset || below(self.retries.keys().next()) || below(self.dead.keys().next())
    }

    /// Events below an offset are gone: nothing of them is remembered.
    fn trim(&mut self, before: u64) {
        if before > self.floor {
            self.settle(self.floor, before);
        }
        self.retries = self.retries.split_off(&before);
        self.dead = self.dead.split_off(&before);
    }

    fn settle(&mut self, first: u64, end: u64) {
        let open: Vec<u64> = self.retries.range(first..end).map(|(it, _)| *it).collect();
        for offset in open {
            self.retries.remove(&offset);
        }
        let (mut first, mut end) = (first.max(self.floor), end);
        if first >= end {
            return;
        }
        // Join with what touches it.
        while let Some((&other, &other_end)) = self.settled.range(..=end).next_back() {
            if other_end < first {
                break;
            }
            self.settled.remove(&other);
            (first, end) = (first.min(other), end.max(other_end));
        }
        if first == self.floor {
            self.floor = end;
        } else {
            self.settled.insert(first, end);
        }
    }
}
