//! Who holds each lock and who awaits it.
//!
//! A lock that is neither held nor awaited is not in the table.

use super::super::ids::Token;
use super::super::types::{LockMode, LockTarget};
use super::Ticket;
use crate::Name;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A lock in use.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The leases that hold it, in order of their grants and so of their numbers.
    pub holders: Vec<u64>,
    /// How they do.
    pub mode: LockMode,
    /// Under which token; of the last holders while nobody holds it.
    pub token: Token,
    /// Who awaits it, first come first.
    pub line: BTreeMap<Ticket, LockMode>,
}

impl Entry {
    /// Whether a call may hold the lock now: neither a holder nor an earlier call is in its way.
    /// A call without a ticket comes after all.
    fn admits(&self, mode: LockMode, ticket: Option<Ticket>) -> bool {
        let free = self.holders.is_empty() || self.mode.goes_with(mode);
        let end = ticket.map_or(Bound::Unbounded, Bound::Excluded);
        let mut earlier = self.line.range((Bound::Unbounded, end));
        free && earlier.all(|(_, other)| other.goes_with(mode))
    }

    fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.line.is_empty()
    }
}

/// The locks of a namespace that are in use.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<Name, Entry>);

impl Table {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, name: &Name) -> Option<&Entry> {
        self.0.get(name)
    }

    /// Locks in use after a name, in order.
    pub fn after(&self, name: Option<&Name>) -> impl Iterator<Item = (&Name, &Entry)> {
        let start = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range::<Name, _>((start, Bound::Unbounded))
    }

    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// How many locks would come into use with these.
    pub fn missing(&self, targets: &[LockTarget]) -> usize {
        let missing = targets.iter().filter(|it| !self.0.contains_key(&it.name));
        missing.count()
    }

    /// Whether a call may hold all of these now. See [`Entry::admits`].
    pub fn admits(&self, targets: &[LockTarget], ticket: Option<Ticket>) -> bool {
        let mut entries = targets.iter().map(|it| (self.0.get(&it.name), it.mode));
        entries.all(|(entry, mode)| entry.is_none_or(|entry| entry.admits(mode, ticket)))
    }

    /// Whether any of these is to be held by nobody else before.
    pub fn any_free(&self, targets: &[LockTarget]) -> bool {
        let is_free = |it: &LockTarget| self.0.get(&it.name).is_none_or(|it| it.holders.is_empty());
        targets.iter().any(is_free)
    }

    /// Makes a lease hold a lock; returns the token. A free lock is held under `minted`.
    pub fn hold(&mut self, target: &LockTarget, lease: u64, minted: Token) -> Token {
        let entry = self.0.entry(target.name.clone()).or_default();
        if entry.holders.is_empty() {
            (entry.mode, entry.token) = (target.mode, minted);
        }
        entry.holders.push(lease);
        entry.token
    }

    /// Ends a hold.
    pub fn free(&mut self, name: &Name, lease: u64) {
        self.change(name, |entry| {
            if let Ok(place) = entry.holders.binary_search(&lease) {
                entry.holders.remove(place);
            }
        });
    }

    pub fn join(&mut self, targets: &[LockTarget], ticket: Ticket) {
        for target in targets {
            let entry = self.0.entry(target.name.clone()).or_default();
            entry.line.insert(ticket, target.mode);
        }
    }

    pub fn leave(&mut self, targets: &[LockTarget], ticket: Ticket) {
        for target in targets {
            self.change(&target.name, |entry| {
                entry.line.remove(&ticket);
            });
        }
    }

    fn change(&mut self, name: &Name, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.0.get_mut(name) {
            change(entry);
            if entry.is_unused() {
                self.0.remove(name);
            }
        }
    }

    /// The first in a line after a ticket.
    pub fn next_in_line(&self, name: &Name, after: Option<Ticket>) -> Option<(Ticket, LockMode)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut line = self.0.get(name)?.line.range((start, Bound::Unbounded));
        line.next().map(|(ticket, mode)| (*ticket, *mode))
    }

    /// Whether no call can be let in whatever its place: the lock is held, and not shared.
    pub fn is_shut(&self, name: &Name) -> bool {
        let entry = self.0.get(name);
        entry.is_some_and(|it| !it.holders.is_empty() && it.mode == LockMode::Exclusive)
    }

    /// The place behind the longest of these lines, from 1.
    pub fn last_place(&self, targets: &[LockTarget]) -> u32 {
        let lines = targets.iter().filter_map(|it| self.0.get(&it.name));
        let longest = lines.map(|entry| entry.line.len()).max().unwrap_or(0);
        place(longest)
    }

    /// The place of a call in the longest of its lines, from 1.
    pub fn place(&self, targets: &[LockTarget], ticket: Ticket) -> u32 {
        let lines = targets.iter().filter_map(|it| self.0.get(&it.name));
        let ahead = lines.map(|entry| entry.line.range(..ticket).count());
        place(ahead.max().unwrap_or(0))
    }

    /// The leases that hold those of these that do not admit a call.
    pub fn in_the_way(
        &self,
        targets: &[LockTarget],
        ticket: Option<Ticket>,
    ) -> impl Iterator<Item = u64> {
        let entries = targets.iter().filter_map(move |target| {
            let entry = self.0.get(&target.name)?;
            (!entry.admits(target.mode, ticket)).then_some(&entry.holders)
        });
        entries.flatten().copied()
    }
}

fn place(ahead: usize) -> u32 {
    u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1)
}
