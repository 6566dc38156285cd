//! Leases: granted, fed, ended.

use super::ended::End;
use super::line::Waiter;
use super::lookup::Found;
use super::{Due, Entries, Machine, Ticket, owned};
use crate::cache::entry::{Content, Entry, Hit, NewEntry, Version};
use crate::cache::options::{FetchOptions, StaleMode, Wait};
use crate::cache::types::{Appended, EndedBy, Failure, Filled, Landing, Lease, LeaseEnd, LeaseId};
use crate::{EntryKey, Error, ErrorCode, Now, Result, Time};
use bytes::Bytes;
use std::collections::VecDeque;
use std::result::Result as Either;

/// A key that is being computed.
#[derive(Debug)]
pub(super) struct Flight {
    pub lease: LeaseId,
    options: FetchOptions,
    expires: Time,
    deadline: Time,
    /// What has come of the value.
    pub bytes: Vec<u8>,
    /// Calls that wait, by arrival.
    pub line: VecDeque<Ticket>,
}

impl Flight {
    fn due(&self) -> Time {
        self.expires.min(self.deadline)
    }

    fn told(&self, now: Time) -> Lease {
        Lease {
            id: self.lease,
            ttl: self.due() - now,
            deadline: self.deadline - now,
        }
    }
}

/// What became of one key that is to be got or computed.
#[derive(Debug)]
pub enum Step {
    /// An entry, and the lease to compute it anew.
    Hit(Hit, Option<Lease>),
    /// Compute it.
    Lease(Lease),
    /// Wait in line.
    Waiting(Ticket),
    /// Somebody else computes it, and the caller does not wait.
    Busy,
    /// Its computation failed a moment ago.
    Failed(Failure),
}

impl Machine {
    /// An entry, a lease or a place in line. See [`crate::cache::Cache::begin`].
    pub fn begin(
        &mut self,
        entries: &dyn Entries,
        key: &EntryKey,
        (options, wait): (FetchOptions, Wait),
        now: Now,
    ) -> Result<Step> {
        self.advance(now);
        let found = self.look(entries, key, now.mono);
        let served = match &found {
            Found::Fresh(entry) if !options.refresh => Some((entry, now.mono >= entry.refresh_at)),
            Found::Stale(entry) if options.stale == StaleMode::WhileRevalidate => {
                Some((entry, true))
            }
            _ => None,
        };
        if let Some((entry, is_due)) = served {
            let refresh = is_due.then(|| self.refresh(key, options, now)).flatten();
            return Ok(Step::Hit(self.serve(entry, now.mono), refresh));
        }
        if let Some(failure) = self.remembered(key, now.mono) {
            let instead = found.usable(options.stale != StaleMode::Never);
            if let Some(entry) = instead {
                return Ok(Step::Hit(self.serve(&entry, now.mono), None));
            }
            self.ledger.failed += 1;
            return Ok(Step::Failed(failure));
        }
        if !self.flights.contains_key(key) {
            let lease = self.lease(key, options, now)?;
            self.ledger.misses += 1;
            return Ok(Step::Lease(lease));
        }
        let parts = match wait {
            Wait::No => {
                self.ledger.misses += 1;
                return Ok(Step::Busy);
            }
            Wait::Whole => false,
            Wait::Parts => true,
        };
        self.join(key, options, parts).map(Step::Waiting)
    }

    /// The lease to compute an entry anew while it is served, unless somebody does, it failed a moment ago,
    /// or there is no room for a lease.
    fn refresh(&mut self, key: &EntryKey, options: FetchOptions, now: Now) -> Option<Lease> {
        if self.flights.contains_key(key) || self.failures.contains_key(key) {
            return None;
        }
        self.lease(key, options, now).ok()
    }

    fn lease(&mut self, key: &EntryKey, options: FetchOptions, now: Now) -> Result<Lease> {
        let max = self.config.max_leases;
        if self.leases.len() >= max {
            let message = format!("{max} leases of this namespace are held");
            return Err(
                Error::new(ErrorCode::TooManyLeases, message).retry_after(options.lease_ttl)
            );
        }
        Ok(self.grant(key, options, VecDeque::new(), now))
    }

    /// Begins a flight.
    pub(super) fn grant(
        &mut self,
        key: &EntryKey,
        options: FetchOptions,
        line: VecDeque<Ticket>,
        now: Now,
    ) -> Lease {
        let lease = LeaseId(self.numbers.mint(now.wall.0));
        let flight = Flight {
            lease,
            options,
            expires: now.mono + options.lease_ttl,
            deadline: now.mono + options.compute_deadline,
            bytes: Vec::new(),
            line,
        };
        let told = flight.told(now.mono);
        self.due.insert((flight.due(), Due::Lease(lease)));
        self.leases.insert(lease, key.clone());
        self.flights.insert(key.clone(), flight);
        told
    }

    /// Takes a flight out, its lease ended.
    pub(super) fn end_flight(&mut self, key: &EntryKey, end: LeaseEnd) -> Option<Flight> {
        self.take_flight(key, End::Lost(end))
    }

    fn take_flight(&mut self, key: &EntryKey, end: End) -> Option<Flight> {
        let flight = self.flights.remove(key)?;
        self.leases.remove(&flight.lease);
        self.due.remove(&(flight.due(), Due::Lease(flight.lease)));
        self.fill_bytes -= flight.bytes.len();
        self.ended.note(flight.lease, end);
        Some(flight)
    }

    /// Ends a lease whose time is over.
    pub(super) fn expire(&mut self, lease: LeaseId, now: Now) {
        let Some(key) = self.leases.get(&lease).cloned() else {
            return;
        };
        let by_deadline = self
            .flights
            .get(&key)
            .is_some_and(|flight| flight.deadline <= flight.expires);
        let end = if by_deadline {
            LeaseEnd::Deadline
        } else {
            LeaseEnd::Expired
        };
        self.restart(&key, end, now);
    }

    fn held(&mut self, lease: LeaseId, now: Now) -> Either<(EntryKey, &mut Flight), LeaseEnd> {
        self.advance(now);
        let key = self.leases.get(&lease).cloned();
        let why = self.ended.why(lease);
        let key = key.ok_or(why)?;
        let flight = self.flights.get_mut(&key).ok_or(LeaseEnd::Unknown)?;
        Ok((key, flight))
    }

    /// Adds a part to a value. See [`crate::cache::Cache::append`].
    pub fn append(
        &mut self,
        lease: LeaseId,
        offset: usize,
        part: &Bytes,
        now: Now,
    ) -> Result<Either<Appended, LeaseEnd>> {
        let (max_value, max_fill) = (self.config.max_value_bytes, self.config.max_fill_bytes);
        let used = self.fill_bytes;
        let (key, flight) = match self.held(lease, now) {
            Ok(held) => held,
            Err(end) => return Ok(Err(end)),
        };
        let have = flight.bytes.len();
        if offset > have {
            let allowed = format!("must be at most the {have} bytes taken so far, is {offset}");
            return Err(Error::invalid("offset", allowed));
        }
        let known = have - offset;
        if part.len() <= known {
            return Ok(Ok(Appended { size: have }));
        }
        let new = &part[known..];
        if have + new.len() > max_value {
            let allowed = format!("a value must be at most {max_value} bytes");
            return Err(Error::invalid("part", allowed));
        }
        if used + new.len() > max_fill {
            let message = format!("{max_fill} bytes of unfinished values are held");
            let error = Error::new(ErrorCode::TooManyBytes, message);
            return Err(error.retry_after(flight.options.lease_ttl));
        }
        flight.bytes.extend_from_slice(new);
        let size = flight.bytes.len();
        self.fill_bytes += new.len();
        self.tell_part(&key);
        Ok(Ok(Appended { size }))
    }

    /// Ends a lease with its value. See [`crate::cache::Cache::fill`].
    pub fn fill(
        &mut self,
        entries: &dyn Entries,
        lease: LeaseId,
        (new, keep): (&NewEntry, bool),
        now: Now,
    ) -> Result<Either<Filled, LeaseEnd>> {
        let max = self.config.max_value_bytes;
        let (key, flight) = match self.held(lease, now) {
            Ok(held) => held,
            Err(end) => return Ok(self.refilled(lease, end)),
        };
        let have = flight.bytes.len();
        if new.content == Content::Negative && have > 0 {
            let allowed = "parts of a value were sent, so there is one";
            return Err(Error::invalid("negative", allowed));
        }
        let size = have + new.content.len();
        if size > max {
            let allowed = format!("a value must be at most {max} bytes, is {size}");
            return Err(Error::invalid("value", allowed));
        }
        self.check_fence(new.fence.as_ref())?;
        if self.numbers.hide(Version(lease.0), &new.policy.tags) {
            self.ledger.fills_refused += 1;
            self.restart(&key, LeaseEnd::Cleared, now);
            return Ok(Err(LeaseEnd::Cleared));
        }
        let waiters = self.flights.get(&key).map_or(0, |flight| flight.line.len());
        let version = Version(self.numbers.mint(now.wall.0));
        let filled = Filled { version, waiters };
        let Some(mut flight) = self.take_flight(&key, End::Filled(filled)) else {
            return Ok(Err(LeaseEnd::Unknown));
        };
        let content = whole(std::mem::take(&mut flight.bytes), &new.content);
        let numbers = (version, Version(lease.0));
        let entry: std::sync::Arc<Entry> = if keep {
            self.put_entry(entries, &key, (content, new), numbers, now.mono)
        } else {
            self.entry(content, new, numbers, now.mono).into()
        };
        self.ledger.fills += u64::from(keep);
        self.forget_failure(&key);
        self.land_value(flight, &entry, now.mono);
        Ok(Ok(filled))
    }

    /// The answer to a fill of a lease that is not held.
    fn refilled(&mut self, lease: LeaseId, end: LeaseEnd) -> Either<Filled, LeaseEnd> {
        if let Some(End::Filled(filled)) = self.ended.find(lease) {
            return Ok(filled);
        }
        self.ledger.fills_refused += 1;
        Err(end)
    }

    /// Ends a lease without a value. See [`crate::cache::Cache::fail`].
    pub fn fail(
        &mut self,
        entries: &dyn Entries,
        lease: LeaseId,
        by: &EndedBy,
        now: Now,
    ) -> Either<Option<Hit>, LeaseEnd> {
        let (key, flight) = match self.held(lease, now) {
            Ok(held) => held,
            Err(end) => {
                return match (self.ended.find(lease), by) {
                    (Some(End::Failed), EndedBy::Failing(_))
                    | (Some(End::Lost(LeaseEnd::GivenUp)), EndedBy::GivingUp) => Ok(None),
                    _ => Err(end),
                };
            }
        };
        let mode = flight.options.stale;
        let EndedBy::Failing(failure) = by else {
            self.restart(&key, LeaseEnd::GivenUp, now);
            return Ok(None);
        };
        let Some(flight) = self.take_flight(&key, End::Failed) else {
            return Err(LeaseEnd::Unknown);
        };
        self.remember(&key, failure, now.mono);
        let instead = self.look(entries, &key, now.mono).usable(true);
        for ticket in flight.line {
            let mode = self.waiters.get(&ticket).map(Waiter::stale_mode);
            let entry = instead.as_ref().filter(|_| allows_stale(mode));
            let landing = if let Some(entry) = entry {
                Landing::Value(self.serve(entry, now.mono))
            } else {
                self.ledger.failed += 1;
                Landing::Failed(failure.clone())
            };
            self.land(ticket, landing);
        }
        let instead = instead.filter(|_| allows_stale(Some(mode)));
        Ok(instead.map(|entry| self.serve(&entry, now.mono)))
    }

    /// Keeps a lease. See [`crate::cache::Cache::renew`].
    pub fn renew(&mut self, lease: LeaseId, now: Now) -> Either<Lease, LeaseEnd> {
        let (_, flight) = self.held(lease, now)?;
        let former = flight.due();
        flight.expires = now.mono + flight.options.lease_ttl;
        let (due, told) = (flight.due(), flight.told(now.mono));
        self.due.remove(&(former, Due::Lease(lease)));
        self.due.insert((due, Due::Lease(lease)));
        Ok(told)
    }
}

fn allows_stale(mode: Option<StaleMode>) -> bool {
    matches!(mode, Some(StaleMode::OnError | StaleMode::WhileRevalidate))
}

/// The parts sent, followed by the last one.
fn whole(mut sent: Vec<u8>, last: &Content) -> Content {
    let Content::Value(value) = last else {
        return Content::Negative;
    };
    if sent.is_empty() {
        return owned(last);
    }
    sent.extend_from_slice(value);
    Content::Value(Bytes::from(sent.into_boxed_slice()))
}
