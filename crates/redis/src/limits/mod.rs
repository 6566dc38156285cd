//! Limits on Redis: one script per operation, the same answers as the machine in memory.
//!
//! Every method of the port is one call of one script, which decides by the store's time and state alone, so
//! all daemons together are one backend. What a script tells besides its answer, the ends of waiting calls
//! and when to look at a line again, is handed to the callers and to [`RedisLimitsTask`].
//!
//! Files: `wire` and `convert` shapes, `scripts`, `failure` errors, `call` one call of a script, `heir` what
//! becomes of its answer without a caller, `acquire` acquiring and waiting, `leasing` deciding hot limits here and
//! `slices` what that takes of the store, `seats` the calls that wait here, `looks` when to look again, `port` the
//! rest of the port; `book` and `reassert` what is told to a store that may have lost data; `task` what time and
//! other daemons bring, `leaving` taking back, `again` calls that the store has forgotten, `declared` calls that
//! miss a limit of the configuration, `joining` repeats of calls that wait, `merge` what was spent apart, `house`
//! housekeeping.

mod acquire;
mod again;
mod book;
mod call;
mod convert;
mod declared;
pub(crate) mod failure;
mod heir;
mod house;
mod joining;
mod leasing;
mod leaving;
mod looks;
mod merge;
mod port;
mod reassert;
mod scripts;
mod seats;
mod slices;
mod task;
mod wire;

use crate::{Membership, Store};
pub(crate) use convert::{spec, spec_of};
use leasing::Leasing;
use looks::Looks;
use parking_lot::Mutex;
use seats::Seats;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
pub use task::RedisLimitsTask;
use tokio::sync::{Notify, watch};
use trellis_core::limits::leases::LeaseConfig;
use trellis_core::limits::{LimitsStatus, MachineConfig, Outcome};
use trellis_core::{Clock, Micros, Time};
pub(crate) use wire::Spec;

/// Bounds of limits on Redis; equal on all daemons.
#[derive(Clone, Copy, Debug)]
pub struct RedisLimitsConfig {
    /// Bounds and periods of each namespace.
    pub machine: MachineConfig,
    /// Namespaces.
    pub max_namespaces: usize,
    /// Slices of hot limits.
    pub leases: LeaseConfig,
    /// What a bucket counts as that nobody knows after the store may have lost data.
    pub after_loss: AfterLoss,
}

/// What a bucket counts as that neither the store nor any daemon knows after a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterLoss {
    /// Full at once.
    #[default]
    Full = 0,
    /// Nothing is admitted for `death_after`, in which the daemons tell what they know; then it is full.
    Known = 1,
    /// Empty when the generation began.
    Empty = 2,
}

/// Limits that all daemons on one Redis share.
pub struct RedisLimits {
    /// For calls that outlive their callers.
    me: Weak<Self>,
    store: Store,
    membership: Membership,
    clock: Arc<dyn Clock>,
    config: RedisLimitsConfig,
    /// Before the name of a daemon: its mailbox.
    mailbox: String,
    tickets: AtomicU64,
    seats: Arc<Seats>,
    looks: Mutex<Looks>,
    /// Namespaces in which the ends of waiting calls may have been lost.
    doubted: Mutex<HashSet<String>>,
    /// Told when the next look may have come nearer, or something is in doubt.
    sooner: Notify,
    /// Told when the store may have forgotten calls that wait here.
    forgotten: Notify,
    /// Told when a joined call has ended, or may have.
    joined: Notify,
    /// Told when slices that a call of this daemon waits for have come back.
    returned: Notify,
    leasing: Arc<Leasing>,
    /// The generation in which the daemon's own limits were declared last, once somebody declares them.
    declared: OnceLock<watch::Receiver<Option<u64>>>,
    book: book::Book,
    /// The generation that was told what the book knows of earlier ones; one caller at a time tells it.
    told: AtomicU64,
    telling: tokio::sync::Mutex<()>,
    decided: Decided,
    /// Units above the limits, as merges have shown.
    overshoot: AtomicU64,
    /// What sweeps have counted, by namespace.
    counted: Mutex<HashMap<String, LimitsStatus>>,
}

#[derive(Default)]
struct Decided {
    granted: AtomicU64,
    denied: AtomicU64,
    never: AtomicU64,
    timed_out: AtomicU64,
}

impl Decided {
    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Granted(_) => &self.granted,
            Outcome::Denied(_) => &self.denied,
            Outcome::Never => &self.never,
            Outcome::TimedOut { .. } => &self.timed_out,
            Outcome::Lost => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl RedisLimits {
    /// Limits on a store, and the task without which nobody who waits is served.
    #[must_use]
    pub fn open(
        store: Store,
        membership: Membership,
        config: RedisLimitsConfig,
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, RedisLimitsTask) {
        let limits = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            mailbox: store.keys().mailbox(""),
            leasing: Arc::new(Leasing::new(config.leases, clock.clone())),
            returned: Notify::new(),
            declared: OnceLock::new(),
            store,
            membership,
            clock,
            config,
            tickets: AtomicU64::new(0),
            seats: Arc::default(),
            looks: Mutex::default(),
            doubted: Mutex::default(),
            sooner: Notify::new(),
            forgotten: Notify::new(),
            joined: Notify::new(),
            decided: Decided::default(),
            overshoot: AtomicU64::new(0),
            book: book::Book::default(),
            told: AtomicU64::new(0),
            telling: tokio::sync::Mutex::new(()),
            counted: Mutex::default(),
        });
        let task = RedisLimitsTask::new(limits.clone());
        (limits, task)
    }

    /// A time of the store on this daemon's clock, given a reading of the store's clock that has come by now.
    /// Never early: the store is at least as far as the reading.
    fn local_time(&self, at: u64, store_now: u64) -> Time {
        self.clock.mono() + Micros(at.saturating_sub(store_now))
    }

    fn total_status(&self) -> LimitsStatus {
        let mut total = LimitsStatus::default();
        let counted = self.counted.lock();
        total.namespaces = counted.len();
        for status in counted.values() {
            total.limits += status.limits;
            total.buckets += status.buckets;
            total.waiters += status.waiters;
            total.reservations += status.reservations;
            total.request_ids += status.request_ids;
        }
        total.granted = self.decided.granted.load(Ordering::Relaxed);
        total.denied = self.decided.denied.load(Ordering::Relaxed);
        total.never = self.decided.never.load(Ordering::Relaxed);
        total.timed_out = self.decided.timed_out.load(Ordering::Relaxed);
        total.overshoot = self.overshoot.load(Ordering::Relaxed);
        (total.leased, total.slices, total.slice_units) = self.leasing.figures();
        total
    }
}
