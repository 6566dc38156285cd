//! Computing once, decided: the leases, waiting calls, failures and clears of one namespace.
//!
//! A *flight* is a key that is being computed: the lease, what has come of the value, and the line of
//! calls that wait. There is a flight exactly while there is a lease. Whatever ends a lease without a value
//! gives a new one to the first in line, or ends the flight where nobody waits.
//!
//! Entries are not here but in [`Entries`], which may throw any of them out at any time. Whether one is
//! fresh, stale, past its time or cleared is decided here at each look, whatever they do about it.
//! Every method first carries out what is due, so that answers do not depend on how punctually a driver calls
//! [`Machine::advance`].
//!
//! The machine never waits. A call that must is a [`Ticket`]; [`Machine::take_woken`] tells the tickets for
//! which [`Machine::take`] has something new.

mod ended;
mod fences;
mod flights;
mod generations;
mod line;
mod lookup;

use super::entry::{Content, Entry, Hit, NewEntry, Policy, Source, Version};
use super::fence::Fence;
use super::types::{
    ClearTarget, Deleted, Failure, LeaseEnd, LeaseId, Ledger, Precondition, Written,
};
use crate::{EntryKey, Error, Micros, Now, Result, Time};
use bytes::Bytes;
use ended::Ended;
use fences::Fences;
use flights::Flight;
use generations::Generations;
use line::Waiter;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use flights::Step;

/// Where a namespace's entries are. It may refuse or throw out any entry at any time.
pub trait Entries {
    /// The entry under a key, however old.
    fn get(&self, key: &EntryKey) -> Option<Arc<Entry>>;

    /// Puts an entry in the place of a former one.
    fn put(&self, key: &EntryKey, entry: Arc<Entry>);

    /// Throws an entry out.
    fn remove(&self, key: &EntryKey);
}

/// Bounds of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Bytes of a value.
    pub max_value_bytes: usize,
    /// Leases held at a time.
    pub max_leases: usize,
    /// Calls waiting at a time.
    pub max_waiters: usize,
    /// Bytes of values that leases have sent in parts.
    pub max_fill_bytes: usize,
    /// Failures remembered; above it, failures are told and not remembered.
    pub max_failures: usize,
    /// Clears of tags remembered by their tags.
    pub max_tags: usize,
    /// Locks whose highest fencing token is remembered; above it, the lowest is forgotten, and locks that are not remembered
    /// need at least that one.
    pub max_fences: usize,
    /// How fresh entries are told: kept by this daemon alone, or shared.
    pub fresh: Source,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            max_value_bytes: 8 * 1024 * 1024,
            max_leases: 10_000,
            max_waiters: 10_000,
            max_fill_bytes: 64 * 1024 * 1024,
            max_failures: 1_024,
            max_tags: 10_000,
            max_fences: 10_000,
            fresh: Source::Local,
        }
    }
}

/// A call's place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a machine holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineStatus {
    /// Leases held.
    pub leases: usize,
    /// Calls that wait, those included that have not received their end.
    pub waiters: usize,
    /// Bytes of values that are being sent.
    pub fill_bytes: usize,
    /// Failures remembered.
    pub failures: usize,
    /// Clears of tags remembered.
    pub tags: usize,
}

#[derive(Clone, Debug)]
struct Remembered {
    failure: Failure,
    until: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Lease(LeaseId),
    Failure(EntryKey),
}

/// The single flight of one namespace.
pub struct Machine {
    config: MachineConfig,
    numbers: Generations,
    fences: Fences,
    flights: HashMap<EntryKey, Flight>,
    /// The key of each lease.
    leases: HashMap<LeaseId, EntryKey>,
    ended: Ended,
    waiters: HashMap<Ticket, Waiter>,
    last_ticket: u64,
    woken: Vec<Ticket>,
    failures: HashMap<EntryKey, Remembered>,
    due: BTreeSet<(Time, Due)>,
    fill_bytes: usize,
    ledger: Ledger,
    /// State of the jitter's random sequence.
    seed: u64,
}

impl Machine {
    /// An empty namespace. `last` is the highest number that its name has ever seen, 0 for none; `seed`
    /// starts the sequence of jitters.
    #[must_use]
    pub fn new(config: MachineConfig, last: u64, seed: u64) -> Self {
        Self {
            config,
            numbers: Generations::after(last),
            fences: Fences::default(),
            flights: HashMap::new(),
            leases: HashMap::new(),
            ended: Ended::default(),
            waiters: HashMap::new(),
            last_ticket: 0,
            woken: Vec::new(),
            failures: HashMap::new(),
            due: BTreeSet::new(),
            fill_bytes: 0,
            ledger: Ledger::default(),
            seed,
        }
    }

    /// The entry under a key.
    pub fn get(
        &mut self,
        entries: &dyn Entries,
        key: &EntryKey,
        allow_stale: bool,
        now: Now,
    ) -> Option<Hit> {
        self.advance(now);
        let found = self.look(entries, key, now.mono);
        if let Some(entry) = found.usable(allow_stale) {
            return Some(self.serve(&entry, now.mono));
        }
        self.ledger.misses += 1;
        None
    }

    /// Keeps an entry. See [`super::Cache::set`].
    pub fn set(
        &mut self,
        entries: &dyn Entries,
        key: &EntryKey,
        entry: &NewEntry,
        precondition: Precondition,
        now: Now,
    ) -> Result<Written> {
        self.advance(now);
        self.check_size(entry.content.len(), "value")?;
        self.check_fence(entry.fence.as_ref())?;
        if let Err(actual) = self.meets(entries, key, precondition, now.mono) {
            return Ok(Written::Mismatch(actual));
        }
        let version = Version(self.numbers.mint(now.wall.0));
        let content = owned(&entry.content);
        let kept = self.put_entry(entries, key, (content, entry), (version, version), now.mono);
        self.forget_failure(key);
        self.ledger.sets += 1;
        if let Some(flight) = self.end_flight(key, LeaseEnd::Replaced) {
            self.land_value(flight, &kept, now.mono);
        }
        Ok(Written::Stored(version))
    }

    /// Forgets an entry. See [`super::Cache::delete`].
    pub fn delete(
        &mut self,
        entries: &dyn Entries,
        key: &EntryKey,
        precondition: Precondition,
        now: Now,
    ) -> Deleted {
        self.advance(now);
        if let Err(actual) = self.meets(entries, key, precondition, now.mono) {
            return Deleted::Mismatch(actual);
        }
        let was_there = self.look(entries, key, now.mono).usable(true).is_some();
        entries.remove(key);
        self.forget_failure(key);
        self.restart(key, LeaseEnd::Deleted, now);
        if was_there {
            Deleted::Gone
        } else {
            Deleted::Absent
        }
    }

    /// Hides entries; tells the clear's number. See [`super::Cache::clear`].
    pub fn clear(&mut self, target: &ClearTarget, now: Now) -> u64 {
        self.advance(now);
        match target {
            ClearTarget::Tag(tag) => self
                .numbers
                .clear_tag(tag, self.config.max_tags, now.wall.0),
            ClearTarget::All => {
                let number = self.numbers.clear_all(now.wall.0);
                for (key, failed) in std::mem::take(&mut self.failures) {
                    self.due.remove(&(failed.until, Due::Failure(key)));
                }
                let mut keys: Vec<_> = self.flights.keys().cloned().collect();
                keys.sort_unstable();
                for key in keys {
                    self.restart(&key, LeaseEnd::Cleared, now);
                }
                number
            }
        }
    }

    /// Carries out what is due: leases whose time is over, failures that are forgotten.
    pub fn advance(&mut self, now: Now) {
        while let Some((at, _)) = self.due.first()
            && *at <= now.mono
        {
            let Some((_, due)) = self.due.pop_first() else {
                return;
            };
            match due {
                Due::Failure(key) => {
                    self.failures.remove(&key);
                }
                Due::Lease(lease) => self.expire(lease, now),
            }
        }
    }

    /// When there is something to carry out next.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What happened.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The highest number given out, for [`Machine::new`].
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.numbers.last()
    }

    /// What is held.
    #[must_use]
    pub fn status(&self) -> MachineStatus {
        MachineStatus {
            leases: self.leases.len(),
            waiters: self.waiters.len(),
            fill_bytes: self.fill_bytes,
            failures: self.failures.len(),
            tags: self.numbers.tags(),
        }
    }

    /// Whether nothing would be lost with this machine while there are no entries, but the ledger.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let under_way = !self.flights.is_empty() || !self.waiters.is_empty();
        !under_way && self.failures.is_empty() && self.fences.is_empty()
    }

    /// Refuses a write under a lock that was granted to somebody else since; takes note of the token of another.
    fn check_fence(&mut self, fence: Option<&Fence>) -> Result<()> {
        let Some(fence) = fence else { return Ok(()) };
        let passed = self.fences.pass(fence, self.config.max_fences);
        passed.map_err(Fence::refused)
    }

    fn check_size(&self, size: usize, field: &str) -> Result<()> {
        let max = self.config.max_value_bytes;
        if size > max {
            let allowed = format!("a value must be at most {max} bytes, is {size}");
            return Err(Error::invalid(field, allowed));
        }
        Ok(())
    }

    /// Keeps an entry; the numbers are its version and as of which it counts as made.
    fn put_entry(
        &mut self,
        entries: &dyn Entries,
        key: &EntryKey,
        (content, new): (Content, &NewEntry),
        (version, as_of): (Version, Version),
        now: Time,
    ) -> Arc<Entry> {
        let entry = Arc::new(self.entry(content, new, (version, as_of), now));
        entries.put(key, Arc::clone(&entry));
        entry
    }

    fn entry(
        &mut self,
        content: Content,
        new: &NewEntry,
        (version, as_of): (Version, Version),
        now: Time,
    ) -> Entry {
        let policy = &new.policy;
        let fresh_until = now + self.jittered(policy);
        Entry {
            content,
            content_type: Arc::clone(&new.content_type),
            cost: new.cost,
            version,
            as_of,
            written: now,
            fresh_until,
            stale_until: fresh_until + policy.stale_for,
            refresh_at: policy.refresh_after.map_or(Time::NEVER, |age| now + age),
            tags: Arc::clone(&policy.tags),
        }
    }

    /// A TTL less a random part of its jitter.
    fn jittered(&mut self, policy: &Policy) -> Micros {
        if policy.jitter == Micros::ZERO {
            return policy.ttl;
        }
        // SplitMix64, by Steele, Lea and Flood (2014).
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut random = self.seed;
        random = (random ^ (random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        random ^= random >> 31;
        Micros(
            policy
                .ttl
                .0
                .saturating_sub(random % policy.jitter.0.saturating_add(1)),
        )
    }
}

/// A value in memory of its own: what arrives is often a slice of a whole message, which it would keep alive.
fn owned(content: &Content) -> Content {
    match content {
        Content::Value(value) => Content::Value(Bytes::copy_from_slice(value)),
        Content::Negative => Content::Negative,
    }
}
