//! All locks of one namespace, decided without I/O: `(state, now, input) -> (state, effects)`.
//!
//! The machine guarantees, whatever the order of its inputs:
//! - a lock is held by one lease, or by shared ones, and an acquire takes all of its locks or none;
//! - a waiting call is granted before every later one that is in its way: one order of arrival rules
//!   all lines, so the earliest call is the first of each of its lines and waits for holders alone;
//! - a token is higher than all before it and than the floor that the machine began with;
//! - every collection it keeps has a bound in [`MachineConfig`].
//!
//! It leaves to its driver: the clock, secrets, calling [`Machine::advance`] no later than
//! [`Machine::next_due`], and carrying out [`Machine::take_effects`].
//!
//! Files: `table` who holds and awaits each lock, `acquire` taking and waiting, `leases` how they end,
//! `sessions`, `listing` looking, `requests` remembered request ids, `ended` remembered leases.

mod acquire;
mod ended;
mod leases;
mod listing;
mod requests;
mod sessions;
mod table;

#[cfg(test)]
mod tests;

use super::ids::{LeaseId, SessionKey, Token};
use super::types::{AcquiredLocks, LocksStatus, SessionNews};
use crate::{Error, ErrorCode, Micros, Name, Now, Result, Time};
use acquire::Waiter;
use ended::Ended;
use leases::Lease;
use requests::Requests;
use sessions::Session;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use table::Table;

/// Bounds and periods of a [`Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Locks held or waited for.
    pub max_locks: usize,
    /// Leases and sessions. Each waiting call counts, for it may come to make one.
    pub max_leases: usize,
    /// Calls waiting.
    pub max_waiters: usize,
    /// Request ids remembered, and ended leases: of these the oldest is forgotten at the bound.
    pub max_request_ids: usize,
    /// How long an answer is remembered under its request id, and an ended lease.
    pub request_window: Micros,
    /// How often the place of a session's waiting call is told, when it has changed.
    pub position_every: Micros,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            max_locks: 1_000_000,
            max_leases: 1_000_000,
            max_waiters: 16_384,
            max_request_ids: 100_000,
            request_window: Micros::from_secs(600),
            position_every: Micros::from_secs(1),
        }
    }
}

/// What a machine begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The history that its leases belong to.
    pub generation: u64,
    /// A token not below any that was given before.
    pub floor: Token,
    /// Nothing is granted before this time: leases of a former life may stand until then.
    pub grants_from: Time,
}

/// Names a waiting call by its arrival. Lower came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// What became of an acquire.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is decided.
    Done(AcquiredLocks),
    /// It waits at this place, from 1; [`Effects::answers`] will name it once.
    Waiting(Ticket, u32),
}

/// The end of a waiting call.
#[derive(Debug)]
pub struct Answer {
    /// Which call.
    pub ticket: Ticket,
    /// How it ended.
    pub result: Result<AcquiredLocks>,
    /// The lease that it made, for [`Machine::take_back`] when nobody is there to receive it.
    pub lease: Option<LeaseId>,
}

/// What the driver must carry out.
#[derive(Debug, Default)]
pub struct Effects {
    /// Waiting calls that have ended.
    pub answers: Vec<Answer>,
    /// Waiting calls of sessions whose place has changed.
    pub positions: Vec<(Ticket, u32)>,
    /// What the streams of sessions are to be told, in order.
    pub news: Vec<(SessionKey, SessionNews)>,
    /// Watched locks whose holders have changed.
    pub changed: Vec<Name>,
}

impl Effects {
    fn is_empty(&self) -> bool {
        self.answers.is_empty()
            && self.positions.is_empty()
            && self.news.is_empty()
            && self.changed.is_empty()
    }
}

/// What is due at a time. At one time, in this order: what frees before what grants, and a grant
/// before the deadline that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A lease of its own is over.
    Lease(u64),
    /// A session is over.
    Session(u64),
    /// Grants begin.
    Begin,
    /// A waiter's time is over.
    Deadline(Ticket),
    /// Places are told.
    Positions,
}

/// All locks of one namespace.
#[derive(Debug)]
pub struct Machine {
    config: MachineConfig,
    start: Start,
    last_token: Token,
    table: Table,
    leases: HashMap<u64, Lease>,
    sessions: HashMap<u64, Session>,
    waiters: BTreeMap<Ticket, Waiter>,
    ended: Ended,
    requests: Requests,
    timers: BTreeSet<(Time, Timer)>,
    effects: Effects,
    /// Leases, sessions and arrivals are numbered together.
    numbers: u64,
    /// Places are due to be told.
    telling: bool,
    watched: HashMap<Name, usize>,
    decided: LocksStatus,
}

impl Machine {
    /// An empty namespace.
    #[must_use]
    pub fn new(config: MachineConfig, start: Start) -> Self {
        Self {
            config,
            start,
            last_token: start.floor,
            table: Table::default(),
            leases: HashMap::new(),
            sessions: HashMap::new(),
            waiters: BTreeMap::new(),
            ended: Ended::new(config.max_request_ids, config.request_window),
            requests: Requests::new(config.max_request_ids, config.request_window),
            timers: BTreeSet::new(),
            effects: Effects::default(),
            numbers: 0,
            telling: false,
            watched: HashMap::new(),
            decided: LocksStatus::default(),
        }
    }

    /// Carries out everything that is due at `now`. Every other method does this first.
    pub fn advance(&mut self, now: Now) {
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= now.mono
        {
            self.timers.pop_first();
            match timer {
                Timer::Lease(number) => self.expire_lease(number, now),
                Timer::Session(number) => self.expire_session(number, now),
                Timer::Begin => self.serve_all(now),
                Timer::Deadline(ticket) => self.time_out(ticket, now),
                Timer::Positions => self.tell_positions(now),
            }
        }
        self.requests.forget_old(now.mono);
        self.ended.forget_old(now.mono);
    }

    /// When something is due next, if anything is.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let memories = [self.requests.next_due(), self.ended.next_due()];
        timer
            .into_iter()
            .chain(memories.into_iter().flatten())
            .min()
    }

    /// What is to be carried out since the last call of this method; `None` when nothing is.
    pub fn take_effects(&mut self) -> Option<Effects> {
        (!self.effects.is_empty()).then(|| std::mem::take(&mut self.effects))
    }

    /// The highest token given, or the floor: that of the next machine of this name.
    #[must_use]
    pub fn last_token(&self) -> Token {
        self.last_token
    }

    /// Whether nothing is left that a new machine would not know as well. Counters and the last token are
    /// not counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
            && self.sessions.is_empty()
            && self.waiters.is_empty()
            && self.watched.is_empty()
            && self.ended.is_empty()
            && self.requests.is_empty()
    }

    /// How much state is kept and what was decided.
    #[must_use]
    pub fn status(&self) -> LocksStatus {
        LocksStatus {
            namespaces: 1,
            locks: self.table.len(),
            leases: self.leases.len(),
            sessions: self.sessions.len(),
            waiters: self.waiters.len(),
            request_ids: self.requests.len(),
            ..self.decided
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Refuses one more lease, session or waiting call above the bound.
    fn admit_lease(&self) -> Result<()> {
        let count = self.leases.len() + self.sessions.len() + self.waiters.len();
        if count < self.config.max_leases {
            return Ok(());
        }
        let message = format!("{count} leases, sessions and waiting calls are in this namespace");
        Err(full(ErrorCode::TooManyLeases, message))
    }

    fn changed(&mut self, name: &Name) {
        if self.watched.contains_key(name) && self.effects.changed.last() != Some(name) {
            self.effects.changed.push(name.clone());
        }
    }
}

/// The error of a bound that is reached.
fn full(code: ErrorCode, message: String) -> Error {
    Error::new(code, message).retry_after(Micros::from_secs(1))
}
