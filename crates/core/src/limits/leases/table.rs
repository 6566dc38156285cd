//! The leases of many buckets, and what is to be sent for them.

use super::demand::Demand;
use super::lease::Lease;
use super::suspects::Suspects;
use super::{Answer, Ask, BucketRef, Held, LeaseConfig, Return, Work};
use crate::Time;
use crate::limits::ChargeState;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// Passes on what is a hash already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The slices that a daemon holds in some namespaces.
///
/// Bounded: at most [`LeaseConfig::max_buckets`] buckets, four slices each (the store sees to that), and what is
/// to be sent for them.
pub struct Leases {
    pub(super) config: LeaseConfig,
    pub(super) by_hash: HashMap<u64, Lease, BuildHasherDefault<Hashed>>,
    pub(super) suspects: Suspects,
    pub(super) returns: Vec<Return>,
    asks: Vec<u64>,
    due: BTreeSet<(Time, u64)>,
    next_slice: u64,
    step: u64,
}

impl Leases {
    /// No leases. Slices are named `first`, `first + step` and so on: several tables of one process share no
    /// name when they count by their number.
    #[must_use]
    pub fn new(config: LeaseConfig, first: u64, step: u64) -> Self {
        Self {
            config,
            by_hash: HashMap::default(),
            suspects: Suspects::new(),
            returns: Vec::new(),
            asks: Vec::new(),
            due: BTreeSet::new(),
            next_slice: first,
            step,
        }
    }

    /// Whether there is something to be sent.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.asks.is_empty() || !self.returns.is_empty()
    }

    /// What is to be sent; it counts as sent now.
    pub fn take_work(&mut self, now: Time) -> Work {
        let mut asks = Vec::with_capacity(self.asks.len());
        for hash in std::mem::take(&mut self.asks) {
            let Some(lease) = self.by_hash.get_mut(&hash) else {
                continue;
            };
            lease.expire(now, &self.config, &mut self.returns);
            if let Some(ask) = lease.ask(now, self.next_slice, &self.config) {
                self.next_slice += self.step;
                asks.push(ask);
            }
        }
        Work {
            asks,
            returns: std::mem::take(&mut self.returns),
        }
    }

    /// Takes note of the answer to an ask.
    pub fn answered(&mut self, now: Time, ask: &Ask, answer: Answer) {
        if let Some(lease) = self.by_hash.get_mut(&ask.bucket.hash) {
            lease.answered(now, ask.slice, answer, &self.config, &mut self.returns);
            self.tick_one(now, ask.bucket.hash);
        }
    }

    /// An ask was sent and not answered, or may not have been sent.
    pub fn unanswered(&mut self, now: Time, ask: &Ask) {
        if let Some(lease) = self.by_hash.get_mut(&ask.bucket.hash) {
            lease.unanswered(now, ask.slice, &self.config, &mut self.returns);
        }
    }

    /// A return was not answered: it is sent again, as long as the store may know the slice.
    pub fn not_returned(&mut self, now: Time, again: Return) {
        if now < again.report.until {
            self.returns.push(again);
        }
    }

    /// The store has denied a charge of `amount`, as `state` says.
    pub fn denied(&mut self, now: Time, bucket: BucketRef<'_>, amount: i64, state: &ChargeState) {
        let Some(lease) = self.by_hash.get_mut(&bucket.hash) else {
            return;
        };
        if let (Some(wait), true) = (state.retry_after, lease.is(bucket)) {
            lease.learn(state);
            lease.denied(now, amount, now + wait, &self.config);
        }
    }

    /// The store wants the slices of a bucket back.
    pub fn recall(&mut self, now: Time, bucket: BucketRef<'_>) {
        if let Some(lease) = self.by_hash.get_mut(&bucket.hash) {
            lease.recall(now, &self.config, &mut self.returns);
        }
    }

    /// The store has got units back: what was refused may be asked for again.
    pub fn refill(&mut self, now: Time, bucket: BucketRef<'_>) {
        if let Some(lease) = self.by_hash.get_mut(&bucket.hash) {
            lease.refill(now);
        }
    }

    /// What was refused anywhere may be asked for again: being told may have been missed.
    pub fn refill_all(&mut self, now: Time) {
        for lease in self.by_hash.values_mut() {
            lease.refill(now);
        }
    }

    /// Gives everything back: this daemon stops, or may have missed a recall.
    pub fn recall_all(&mut self, now: Time) {
        for lease in self.by_hash.values_mut() {
            lease.recall(now, &self.config, &mut self.returns);
        }
    }

    /// Forgets everything: in the store's new history, or another life of this daemon, no slice stands.
    pub fn void(&mut self) {
        self.by_hash.clear();
        self.due.clear();
        self.asks.clear();
        self.returns.clear();
    }

    /// When [`Leases::tick`] is to be called, at the latest.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Gives back what is not spent in time, and forgets what is not used.
    pub fn tick(&mut self, now: Time) {
        while let Some(&(at, hash)) = self.due.first()
            && at <= now
        {
            self.tick_one(now, hash);
        }
    }

    /// Puts units back that were held for a call that was denied; those whose slice has ended stay spent.
    pub fn release(&mut self, held: &Held) {
        self.end_hold(held, true);
    }

    /// The call for which units were held was granted, or may have been.
    pub fn keep(&mut self, held: &Held) {
        self.end_hold(held, false);
    }

    fn end_hold(&mut self, held: &Held, put_back: bool) {
        for part in &held.parts {
            if let Some(lease) = self.by_hash.get_mut(&part.hash) {
                lease.end_hold(*part, put_back);
            }
        }
    }

    /// Units of a bucket that this daemon holds.
    #[must_use]
    pub fn left(&self, bucket: BucketRef<'_>) -> i64 {
        let lease = self.by_hash.get(&bucket.hash);
        lease
            .filter(|lease| lease.is(bucket))
            .map_or(0, Lease::left)
    }

    /// Slices held here, and the units left in them, those of slices that have just ended included.
    #[must_use]
    pub fn held(&self) -> (usize, i64) {
        self.by_hash.values().fold((0, 0), |(count, units), lease| {
            (count + lease.slices(), units + lease.left())
        })
    }

    /// Buckets with leases here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    pub(super) fn begin(&mut self, now: Time, bucket: BucketRef<'_>, demand: Demand) -> bool {
        if self.by_hash.len() >= self.config.max_buckets {
            return false;
        }
        let lease = Lease::new(bucket, demand, now);
        self.due.insert((lease.due, bucket.hash));
        self.by_hash.insert(bucket.hash, lease);
        true
    }

    pub(super) fn queue_ask(&mut self, hash: u64) {
        if let Some(lease) = self.by_hash.get_mut(&hash)
            && !lease.queued
        {
            lease.queued = true;
            self.asks.push(hash);
        }
    }

    fn tick_one(&mut self, now: Time, hash: u64) {
        let Some(lease) = self.by_hash.get_mut(&hash) else {
            self.due.retain(|(_, other)| *other != hash);
            return;
        };
        self.due.remove(&(lease.due, hash));
        match lease.tick(now, &self.config, &mut self.returns) {
            Some(due) => {
                lease.due = due;
                self.due.insert((due, hash));
            }
            None => {
                self.by_hash.remove(&hash);
            }
        }
    }
}
