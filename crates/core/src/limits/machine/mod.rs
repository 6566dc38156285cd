//! All limits of one namespace, decided without I/O: `(state, now, input) -> (state, answers)`.
//!
//! The machine guarantees, whatever the order of its inputs:
//! - a bucket never admits more than its spec allows, and an acquire takes all of its charges or none;
//! - a denied, failed, cancelled or dry call changes no level;
//! - waiting calls are served by class, within a class fair keys by turns, within a key by arrival;
//! - every collection it keeps has a bound in [`MachineConfig`].
//!
//! It leaves to its driver: the clock, calling [`Machine::advance`] no later than
//! [`Machine::next_due`], and handing [`Machine::take_answers`] to the callers that wait.
//!
//! Files: `store` limits and buckets, `acquire` charging, `estimate` what a refused call is told, `line`
//! waiting, `standing` what is in a call's way, `queue` who waits for one bucket, `shares` whose turn it
//! is, `reservations`, `definitions` declaring and changing, `listing` looking, `requests` remembered
//! request ids.

mod acquire;
mod definitions;
mod estimate;
mod line;
mod listing;
mod queue;
mod requests;
mod reservations;
mod shares;
mod standing;
mod store;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::types::{Acquired, LimitsStatus, Priority};
use crate::{Micros, Now, Result, Time};
use line::Waiter;
use requests::{RequestKey, Requests};
use reservations::{Reservation, Taken};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use store::{BucketId, Store};

/// Bounds and periods of a [`Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Limits, declared and inline.
    pub max_limits: usize,
    /// Buckets; idle full ones are dropped, no others.
    pub max_buckets: usize,
    /// Calls waiting.
    pub max_waiters: usize,
    /// Reservations open or remembered. Each waiting call counts, for it may come to make one.
    pub max_reservations: usize,
    /// Request ids remembered.
    pub max_request_ids: usize,
    /// How long a waiter that is short of one limit lets others pass on its other limits.
    pub hold_after: Micros,
    /// How long an answer is remembered under its request id.
    pub request_window: Micros,
    /// How long a settled or expired reservation is remembered.
    pub settle_window: Micros,
    /// How long slots are held when the caller does not say.
    pub default_reservation_ttl: Micros,
    /// How often idle full buckets are looked for.
    pub sweep_every: Micros,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            max_limits: 100_000,
            max_buckets: 1_000_000,
            max_waiters: 16_384,
            max_reservations: 1_000_000,
            max_request_ids: 100_000,
            hold_after: Micros::from_millis(100),
            request_window: Micros::from_secs(600),
            settle_window: Micros::from_secs(600),
            default_reservation_ttl: Micros::from_secs(60),
            sweep_every: Micros::from_secs(1),
        }
    }
}

/// Names a waiting call by its class and its arrival. Lower came first, or is of a better class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    priority: Priority,
    arrival: u64,
}

/// What became of an acquire.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is decided.
    Done(Acquired),
    /// It waits; [`Machine::take_answers`] will name it once.
    Waiting(Ticket),
}

/// The end of a waiting call.
#[derive(Debug)]
pub struct Answer {
    /// Which call.
    pub ticket: Ticket,
    /// How it ended.
    pub result: Result<Acquired>,
    /// What it took, so that it can be given back when nobody is there to receive it.
    pub receipt: Option<Receipt>,
}

/// What a granted waiting call took; see [`Machine::take_back`].
#[derive(Clone, Debug)]
pub struct Receipt {
    taken: Vec<Taken>,
    reservation: Option<u64>,
    request: Option<RequestKey>,
}

/// What is due at a time. At one time, in this order: what frees before what grants, and a grant
/// before the deadline that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A reservation's time is over.
    Expire(u64),
    /// The head of a bucket's line may be served.
    Wake(BucketId),
    /// A waiter begins to hold all of its buckets.
    Hold(Ticket),
    /// A waiter's time is over.
    Deadline(Ticket),
    /// A reservation is forgotten.
    Forget(u64),
    /// Idle full buckets are dropped.
    Sweep,
}

/// All limits of one namespace.
#[derive(Debug)]
pub struct Machine {
    config: MachineConfig,
    store: Store,
    waiters: BTreeMap<Ticket, Waiter>,
    reservations: HashMap<u64, Reservation>,
    requests: Requests,
    timers: BTreeSet<(Time, Timer)>,
    answers: Vec<Answer>,
    arrivals: u64,
    /// Distinguishes this machine's reservations from those of a former life.
    epoch: u64,
    minted: u64,
    decided: LimitsStatus,
    /// Looks at waiting calls.
    #[cfg(test)]
    looks: usize,
}

impl Machine {
    /// An empty namespace. `epoch` must differ from that of every former machine of the same name: a
    /// random number will do.
    #[must_use]
    pub fn new(config: MachineConfig, epoch: u64) -> Self {
        Self {
            config,
            store: Store::default(),
            waiters: BTreeMap::new(),
            reservations: HashMap::new(),
            requests: Requests::new(config.max_request_ids, config.request_window),
            timers: BTreeSet::new(),
            answers: Vec::new(),
            arrivals: 0,
            epoch,
            minted: 0,
            decided: LimitsStatus::default(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Carries out everything that is due at `now`. Every other method does this first.
    pub fn advance(&mut self, now: Now) {
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= now.mono
        {
            self.timers.pop_first();
            match timer {
                Timer::Expire(id) => self.expire_reservation(id, now),
                Timer::Wake(bucket) => self.wake(bucket, now),
                Timer::Hold(ticket) => self.hold(ticket, now),
                Timer::Deadline(ticket) => self.time_out(ticket, now),
                Timer::Forget(id) => self.forget_reservation(id),
                Timer::Sweep => self.sweep(now),
            }
        }
        self.requests.forget_old(now.mono);
    }

    /// When something is due next, if anything is.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.requests.next_due()).min()
    }

    /// The waiting calls that have ended since the last call of this method.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    /// Whether nothing is left that a new machine would not know as well. Counters are not counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
            && self.waiters.is_empty()
            && self.reservations.is_empty()
            && self.requests.is_empty()
    }

    /// How much state is kept and what was decided.
    #[must_use]
    pub fn status(&self) -> LimitsStatus {
        LimitsStatus {
            namespaces: 1,
            limits: self.store.limit_count(),
            buckets: self.store.bucket_count(),
            waiters: self.waiters.len(),
            reservations: self.reservations.len(),
            request_ids: self.requests.len(),
            ..self.decided
        }
    }

    fn next_ticket(&mut self, priority: Priority) -> Ticket {
        self.arrivals += 1;
        Ticket {
            priority,
            arrival: self.arrivals,
        }
    }

    /// Drops idle full buckets, a bounded number at a time.
    fn sweep(&mut self, now: Now) {
        self.store.sweep(now, SWEEP_BUDGET);
        self.store.sweeping = false;
        self.schedule_sweep(now);
    }

    fn schedule_sweep(&mut self, now: Now) {
        if !self.store.sweeping && self.store.bucket_count() > 0 {
            self.store.sweeping = true;
            self.timers
                .insert((now.mono + self.config.sweep_every, Timer::Sweep));
        }
    }
}

/// Buckets looked at in one sweep: a pause of well under a millisecond.
const SWEEP_BUDGET: usize = 4_096;
