//! Deciding hot limits here, out of slices of the store: what the rules of
//! [`trellis_core::limits::leases`] say is carried out, each namespace behind one lock of many.
//!
//! Leased are calls that the store need not remember: without a request id, a reservation, slots, or a dry run.
//! A call whose charges are all covered is decided in the call itself. One that is short waits for the answer
//! of the one ask under way, a round trip for all who wait. One of leased and exact parts holds the leased
//! ones, then runs one script for the rest: denied puts them back, anything else keeps them spent.

use super::RedisLimits;
use super::acquire::Attempt;
use crate::Session;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use trellis_core::limits::leases::{
    Ask, BucketRef, Held, LeaseConfig, Leases, Return, Verdict, Wanted, Work,
};
use trellis_core::limits::{AcquireRequest, Acquired, ChargeState, LimitSpec, Mode, Outcome};
use trellis_core::{Clock, ErrorCode, Result, Scope, Time};

/// Locks. A namespace is behind one of them, so that a call takes one.
const SHARDS: u64 = 64;

/// How often a call waits for an ask before it goes to the store by itself.
const JOINS: usize = 8;

/// Limits known to hold slots, per lock; above it they are found out again.
const MAX_SLOT_LIMITS: usize = 4_096;

/// All slices of this daemon.
pub(super) struct Leasing {
    clock: Arc<dyn Clock>,
    hasher: foldhash::quality::RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// In which the slices were granted.
    session: Mutex<Option<Session>>,
    /// Told when something is to be sent.
    pub(super) work: Notify,
    /// Calls decided here altogether.
    decided: AtomicU64,
}

struct Shard {
    leases: Leases,
    /// Told, by bucket, when its ask is answered.
    joined: HashMap<u64, Arc<Notify>>,
    /// Limits with slots.
    slots: HashSet<u64>,
}

/// What is decided here of a call.
pub(super) enum Decided {
    /// All of it.
    Done(Acquired),
    /// Nothing yet: decide again when this is told.
    Join(OwnedNotified),
    /// What is held; the rest is the store's.
    Mixed(Holding),
    /// Nothing: all of it is the store's.
    Exact,
}

/// Units held for a call that the store decides on. They stay spent unless they are put back.
pub(super) struct Holding {
    leasing: Arc<Leasing>,
    shard: usize,
    held: Held,
    over: bool,
}

impl Holding {
    fn put_back(mut self) {
        self.over = true;
        let mut shard = self.leasing.shards[self.shard].lock();
        shard.leases.release(&self.held);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if !self.over {
            let mut shard = self.leasing.shards[self.shard].lock();
            shard.leases.keep(&self.held);
        }
    }
}

impl Leasing {
    pub(super) fn new(config: LeaseConfig, clock: Arc<dyn Clock>) -> Self {
        let shard = |number| {
            Mutex::new(Shard {
                leases: Leases::new(config, number, SHARDS),
                joined: HashMap::new(),
                slots: HashSet::new(),
            })
        };
        Self {
            clock,
            hasher: foldhash::quality::RandomState::default(),
            shards: (1..=SHARDS).map(shard).collect(),
            session: Mutex::new(None),
            work: Notify::new(),
            decided: AtomicU64::new(0),
        }
    }

    fn shard_of(&self, namespace: &str) -> usize {
        usize::try_from(self.hasher.hash_one(namespace) % SHARDS).unwrap_or(0)
    }

    fn bucket<'a>(&self, namespace: &'a str, limit: &'a str, key: &'a str) -> BucketRef<'a> {
        BucketRef {
            hash: self.hasher.hash_one((namespace, limit, key)),
            namespace,
            limit,
            key,
        }
    }

    /// Calls decided here altogether, slices held, and units left in them.
    pub(super) fn figures(&self) -> (u64, usize, i64) {
        let held = self.shards.iter().map(|shard| shard.lock().leases.held());
        let (slices, units) = held.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (self.decided.load(Ordering::Relaxed), slices, units)
    }

    /// Decides a call as far as slices allow. `first`: it was not seen here before.
    pub(super) fn decide(self: &Arc<Self>, request: &AcquireRequest, first: bool) -> Decided {
        let namespace = request.namespace.as_str();
        let charges: smallvec::SmallVec<[Wanted<'_>; 4]> = request
            .charges
            .iter()
            .map(|charge| Wanted {
                bucket: self.bucket(namespace, charge.limit.as_str(), charge.key.as_str()),
                amount: charge.amount(),
                spec: charge.spec.as_ref(),
                require_spec: charge.require_spec,
            })
            .collect();
        let index = self.shard_of(namespace);
        let mut shard = self.shards[index].lock();
        let holds_slots = |limit: &str| shard.slots.contains(&self.hasher.hash_one(limit));
        if !shard.slots.is_empty() && charges.iter().any(|one| holds_slots(one.bucket.limit)) {
            return Decided::Exact;
        }
        // Read under the lock: a slice is over the moment its time is, however long the lock took.
        let now = self.clock.mono();
        let waits = request.mode != Mode::Try;
        let verdict = shard.leases.decide(now, &charges, waits, first);
        let decided = match verdict {
            Verdict::Granted(charges) => done(Outcome::Granted(None), charges),
            Verdict::Denied(wait, charges) => done(Outcome::Denied(wait), charges),
            Verdict::Join(short) => {
                let told = shard.joined.entry(charges[short].bucket.hash).or_default();
                Decided::Join(told.clone().notified_owned())
            }
            Verdict::Mixed(held) => Decided::Mixed(Holding {
                leasing: self.clone(),
                shard: index,
                held,
                over: false,
            }),
            Verdict::Exact => Decided::Exact,
        };
        let news = shard.leases.has_work();
        drop(shard);
        if news {
            self.work.notify_one();
        }
        if matches!(decided, Decided::Done(_)) {
            self.decided.fetch_add(1, Ordering::Relaxed);
        }
        decided
    }

    /// Takes note of what the store has denied, that it need not be asked again so soon.
    fn note_denied(&self, request: &AcquireRequest, states: &[ChargeState]) {
        let namespace = request.namespace.as_str();
        self.change(self.shard_of(namespace), |leases, now| {
            for (charge, state) in request.charges.iter().zip(states) {
                let (limit, key) = (charge.limit.as_str(), charge.key.as_str());
                leases.denied(
                    now,
                    self.bucket(namespace, limit, key),
                    charge.amount(),
                    state,
                );
            }
        });
    }

    /// Takes note of limits that hold slots: calls that charge them make reservations.
    fn note_slots(&self, request: &AcquireRequest, states: &[ChargeState]) {
        for (charge, state) in request.charges.iter().zip(states) {
            if matches!(state.spec, LimitSpec::Concurrency(_)) {
                let mut shard = self.shards[self.shard_of(request.namespace.as_str())].lock();
                if shard.slots.len() >= MAX_SLOT_LIMITS {
                    shard.slots.clear();
                }
                let limit = self.hasher.hash_one(charge.limit.as_str());
                shard.slots.insert(limit);
            }
        }
    }

    /// The store is attached to: what was granted in another history, or to a former life of this daemon, is void.
    pub(super) fn attached(&self, session: Option<Session>) {
        let Some(session) = session else { return };
        let mut known = self.session.lock();
        let void = known.is_some_and(|known| !known.continues_in(&session));
        *known = Some(session);
        if void {
            self.all(|leases, _| leases.void());
        }
    }

    /// What is to be sent, of all namespaces.
    pub(super) fn take_work(&self) -> Work {
        let mut work = Work::default();
        for shard in &self.shards {
            let mut shard = shard.lock();
            if shard.leases.has_work() {
                let more = shard.leases.take_work(self.clock.mono());
                work.asks.extend(more.asks);
                work.returns.extend(more.returns);
            }
        }
        work
    }

    /// Gives back what is due; tells when the next is.
    pub(super) fn tick(&self) -> Option<Time> {
        let mut next: Option<Time> = None;
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.leases.tick(self.clock.mono());
            let due = shard.leases.next_due();
            next = [next, due].into_iter().flatten().min();
            if shard.leases.has_work() {
                self.work.notify_one();
            }
        }
        next
    }

    /// Hands over how an ask has ended, and tells those who waited for it.
    pub(super) fn ended(&self, ask: &Ask, end: impl FnOnce(&mut Leases, Time)) {
        let shard = self.shard_of(&ask.bucket.namespace);
        self.change(shard, end);
        if let Some(joined) = self.shards[shard].lock().joined.remove(&ask.bucket.hash) {
            joined.notify_waiters();
        }
    }

    /// A return was not answered.
    pub(super) fn not_returned(&self, one: Return) {
        let shard = self.shard_of(&one.bucket.namespace);
        self.change(shard, |leases, now| leases.not_returned(now, one));
    }

    /// The store wants the slices of a bucket back.
    pub(super) fn recall(&self, namespace: &str, limit: &str, key: &str) {
        let bucket = self.bucket(namespace, limit, key);
        self.change(self.shard_of(namespace), |leases, now| {
            leases.recall(now, bucket);
        });
    }

    /// What was refused may be asked for again.
    pub(super) fn refill(&self, namespace: &str, limit: &str, key: &str) {
        let bucket = self.bucket(namespace, limit, key);
        self.change(self.shard_of(namespace), |leases, now| {
            leases.refill(now, bucket);
        });
    }

    /// Does something to the leases of every namespace.
    pub(super) fn all(&self, mut change: impl FnMut(&mut Leases, Time)) {
        for shard in 0..self.shards.len() {
            self.change(shard, &mut change);
        }
    }

    /// Units of a bucket that this daemon holds.
    pub(super) fn left(&self, namespace: &str, limit: &str, key: &str) -> i64 {
        let shard = self.shards[self.shard_of(namespace)].lock();
        shard.leases.left(self.bucket(namespace, limit, key))
    }

    fn change(&self, shard: usize, change: impl FnOnce(&mut Leases, Time)) {
        let mut shard = self.shards[shard].lock();
        change(&mut shard.leases, self.clock.mono());
        let news = shard.leases.has_work();
        drop(shard);
        if news {
            self.work.notify_one();
        }
    }
}

fn done(outcome: Outcome, charges: Vec<ChargeState>) -> Decided {
    Decided::Done(Acquired {
        outcome,
        charges,
        scope: Scope::Shared,
    })
}

/// Whether the store need not remember a call.
pub(super) fn may_be_leased(request: &AcquireRequest) -> bool {
    let has_slots = |spec: &LimitSpec| matches!(spec, LimitSpec::Concurrency(_));
    request.request_id.is_none()
        && request.reservation_ttl.is_none()
        && !request.dry_run
        && !request
            .charges
            .iter()
            .any(|charge| charge.spec.as_ref().is_some_and(has_slots))
}

impl RedisLimits {
    /// Goes on with a call that is not decided yet.
    pub(super) async fn acquire_leased(
        self: Arc<Self>,
        request: Arc<AcquireRequest>,
        mut decided: Decided,
    ) -> Result<Acquired> {
        for _ in 0..JOINS {
            match decided {
                Decided::Done(acquired) => {
                    self.decided.count(&acquired.outcome);
                    return Ok(acquired);
                }
                Decided::Join(answered) => {
                    // An ask is answered within the store timeout, or taken for unanswered.
                    let _ = tokio::time::timeout(2 * self.store.timeout(), answered).await;
                }
                Decided::Mixed(holding) => {
                    return match self.acquire_rest(&request, holding).await? {
                        Some(acquired) => {
                            self.decided.count(&acquired.outcome);
                            Ok(acquired)
                        }
                        None => self.acquire_all(request).await,
                    };
                }
                Decided::Exact => break,
            }
            decided = self.leasing.decide(&request, false);
        }
        drop(decided);
        let acquired = self.clone().acquire_all(request.clone()).await?;
        if matches!(acquired.outcome, Outcome::Denied(_)) {
            self.leasing.note_denied(&request, &acquired.charges);
        }
        Ok(acquired)
    }

    /// Has the store decide on what is not held; `None`: on all of the call instead.
    async fn acquire_rest(
        &self,
        request: &AcquireRequest,
        holding: Holding,
    ) -> Result<Option<Acquired>> {
        let is_held = |index: usize| holding.held.charges.iter().any(|(at, _)| *at == index);
        let exact: Vec<usize> = (0..request.charges.len())
            .filter(|index| !is_held(*index))
            .collect();
        let rest = Arc::new(AcquireRequest {
            charges: exact
                .iter()
                .map(|at| request.charges[*at].clone())
                .collect(),
            mode: Mode::Try,
            ..request.clone()
        });
        let (mut acquired, at) = match self.attempt(&rest).await {
            Ok(Attempt::Decided { acquired, at }) => (acquired, at),
            Ok(_) => return Ok(None),
            Err(error) => {
                if error.code != ErrorCode::OutcomeUnknown {
                    holding.put_back();
                }
                return Err(error);
            }
        };
        match acquired.outcome {
            Outcome::Granted(None) => {
                acquired.charges = merged(request, &holding.held, acquired.charges, false);
                Ok(Some(acquired))
            }
            Outcome::Granted(Some(_)) => {
                self.leasing.note_slots(&rest, &acquired.charges);
                self.undo(&rest, &acquired, at);
                holding.put_back();
                Ok(None)
            }
            _ if request.mode != Mode::Try => {
                holding.put_back();
                Ok(None)
            }
            _ => {
                acquired.charges = merged(request, &holding.held, acquired.charges, true);
                holding.put_back();
                Ok(Some(acquired))
            }
        }
    }
}

/// What each charge has met, in the order of the request. `denied`: what is held is put back.
fn merged(
    request: &AcquireRequest,
    held: &Held,
    rest: Vec<ChargeState>,
    denied: bool,
) -> Vec<ChargeState> {
    let mut held = held.charges.iter().peekable();
    let mut rest = rest.into_iter();
    let mut all = Vec::with_capacity(request.charges.len());
    for (index, charge) in request.charges.iter().enumerate() {
        match held.next_if(|(at, _)| *at == index) {
            Some((_, state)) => {
                let mut state = state.clone();
                state.remaining += if denied { charge.amount() } else { 0 };
                all.push(state);
            }
            None => all.extend(rest.next()),
        }
    }
    all
}
