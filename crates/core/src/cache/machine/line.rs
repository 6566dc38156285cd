//! Calls that wait for a flight, and what they are told.

use super::flights::Flight;
use super::{Machine, Ticket};
use crate::cache::entry::{Entry, Source};
use crate::cache::options::{FetchOptions, StaleMode};
use crate::cache::types::{Landing, LeaseEnd, LeaseId, Progress};
use crate::{EntryKey, Error, ErrorCode, Micros, Now, Result, Time};
use bytes::Bytes;

/// The most of a value that is told at once.
const PART_BYTES: usize = 1024 * 1024;

/// When a call that found no room in line may try again.
const RETRY: Micros = Micros::from_millis(100);

/// A call that waits, or that has not received its end.
#[derive(Debug)]
pub(super) struct Waiter {
    key: EntryKey,
    options: FetchOptions,
    parts: bool,
    /// Bytes of the value that it was told.
    told: usize,
    restarted: Option<LeaseEnd>,
    end: Option<Landing>,
}

impl Waiter {
    pub fn stale_mode(&self) -> StaleMode {
        self.options.stale
    }
}

impl Machine {
    pub(super) fn join(
        &mut self,
        key: &EntryKey,
        options: FetchOptions,
        parts: bool,
    ) -> Result<Ticket> {
        let max = self.config.max_waiters;
        if self.waiters.len() >= max {
            let message = format!("{max} calls of this namespace wait");
            return Err(Error::new(ErrorCode::TooManyWaiters, message).retry_after(RETRY));
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        if let Some(flight) = self.flights.get_mut(key) {
            flight.line.push_back(ticket);
            if parts && !flight.bytes.is_empty() {
                self.woken.push(ticket);
            }
        }
        self.waiters.insert(
            ticket,
            Waiter {
                key: key.clone(),
                options,
                parts,
                told: 0,
                restarted: None,
                end: None,
            },
        );
        Ok(ticket)
    }

    /// What a call learns next; `None` while there is nothing new. The end is told once.
    pub fn take(&mut self, ticket: Ticket, now: Now) -> Option<Progress> {
        self.advance(now);
        let waiter = self.waiters.get_mut(&ticket)?;
        if let Some(end) = waiter.end.take() {
            self.waiters.remove(&ticket);
            return Some(Progress::Ended(end));
        }
        if let Some(reason) = waiter.restarted.take() {
            return Some(Progress::Restarted(reason));
        }
        if !waiter.parts {
            return None;
        }
        let flight = self.flights.get(&waiter.key)?;
        let rest = flight.bytes.get(waiter.told..)?;
        let part = &rest[..rest.len().min(PART_BYTES)];
        waiter.told += part.len();
        (!part.is_empty()).then(|| Progress::Part(Bytes::copy_from_slice(part)))
    }

    /// A call leaves. What it has not received is undone: a lease goes to the next in line.
    pub fn leave(&mut self, ticket: Ticket, now: Now) {
        self.advance(now);
        let Some(waiter) = self.waiters.remove(&ticket) else {
            return;
        };
        match waiter.end {
            Some(Landing::Lease(lease)) => {
                self.give_up(lease.id, now);
            }
            Some(_) => {}
            None => {
                if let Some(flight) = self.flights.get_mut(&waiter.key) {
                    flight.line.retain(|other| *other != ticket);
                }
            }
        }
    }

    /// Ends a lease whose holder is gone, if it is held.
    pub fn give_up(&mut self, lease: LeaseId, now: Now) {
        if let Some(key) = self.leases.get(&lease).cloned() {
            debug_assert!(self.flights.contains_key(&key), "a lease has a flight");
            self.restart(&key, LeaseEnd::GivenUp, now);
        }
    }

    /// The tickets of calls that have something to take, since the last time.
    pub fn take_woken(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.woken)
    }

    /// Ends a flight's lease without a value: the first in line gets a new one, the others are told.
    pub(super) fn restart(&mut self, key: &EntryKey, reason: LeaseEnd, now: Now) {
        let Some(flight) = self.end_flight(key, reason) else {
            return;
        };
        let mut line = flight.line;
        let Some(first) = line.pop_front() else {
            return;
        };
        for ticket in &line {
            if let Some(waiter) = self.waiters.get_mut(ticket) {
                waiter.told = 0;
                waiter.restarted = Some(reason);
                self.woken.push(*ticket);
            }
        }
        let Some(options) = self.waiters.get(&first).map(|waiter| waiter.options) else {
            return;
        };
        let lease = self.grant(key, options, line, now);
        self.ledger.misses += 1;
        self.land(first, Landing::Lease(lease));
    }

    pub(super) fn land(&mut self, ticket: Ticket, landing: Landing) {
        if let Some(waiter) = self.waiters.get_mut(&ticket) {
            waiter.end = Some(landing);
            self.woken.push(ticket);
        }
    }

    /// Gives a value to everybody in line.
    pub(super) fn land_value(&mut self, flight: Flight, entry: &Entry, now: Time) {
        let waiters = flight.line.len();
        self.ledger.coalesced += u64::try_from(waiters).unwrap_or(u64::MAX);
        self.ledger.saved_by_coalescing.add(entry.cost, waiters);
        for ticket in flight.line {
            let mut hit = entry.told(Source::Coalesced, now);
            if hit.source == Source::Stale {
                // A TTL of no time: the value is as fresh as a value can be.
                hit.source = Source::Coalesced;
            }
            self.land(ticket, Landing::Value(hit));
        }
    }

    /// Wakes those in line who want parts.
    pub(super) fn tell_part(&mut self, key: &EntryKey) {
        let Some(flight) = self.flights.get(key) else {
            return;
        };
        let wants = |ticket: &&Ticket| self.waiters.get(ticket).is_some_and(|one| one.parts);
        self.woken.extend(flight.line.iter().filter(wants));
    }
}
