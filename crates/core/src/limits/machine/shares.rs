//! Turns: how far each account has been served of one bucket, in one priority class.
//!
//! Start-time fair queueing (Goyal, Vin and Cheng, 1996). Every account has a *tag*: what it was served,
//! divided by its weight, on the bucket's own clock, its *virtual time*. The account with the lowest
//! start is served next. Two things differ from the paper. A tag belongs to an account and moves only
//! when a call is granted, so that calls that time out or are cancelled leave nothing behind, however
//! many they are. And a grant moves the virtual time by what it took over the weight of all accounts
//! that wait, so that a stream of accounts never seen before cannot hold it still and starve the others.
//!
//! All numbers are integers below 2^53, so that a store that computes in doubles can follow the same
//! rules. Tags end at 2^53 - 1, from where on calls are served in order of arrival: after 2^21 times the
//! capacity (2^33 units of a small one) were served without a moment in which nobody waited.

use super::super::fair::{Account, FairShare};
use std::collections::{BTreeSet, HashMap};

/// Where tags and virtual times end.
const MAX_TAG: u64 = (1 << 53) - 1;

/// Accounts without a waiting call whose tags are kept. Above, the lowest is forgotten: that account
/// starts again at the virtual time, a little before its turn.
const MAX_GONE: usize = 65_536;

/// What a capacity costs at weight 1.
const CAPACITY_COST: u64 = 1 << 32;

/// Capacities below count as this, so that even tags of tiny buckets last for years.
const MIN_CAPACITY: i64 = 4_096;

/// What an amount costs at weight 1.
pub(super) fn cost(amount: i64, capacity: i64) -> u64 {
    let (amount, capacity) = (
        u128::from(amount.unsigned_abs()),
        capacity.max(MIN_CAPACITY),
    );
    let cost = (amount * u128::from(CAPACITY_COST)).div_ceil(u128::from(capacity.unsigned_abs()));
    u64::try_from(cost).map_or(MAX_TAG, |cost| cost.min(MAX_TAG))
}

/// What a cost adds to the tag of an account of that weight.
pub(super) fn step(cost: u64, weight: u32) -> u64 {
    (cost / u64::from(weight)).max(1)
}

/// Adds to a tag.
pub(super) fn later(tag: u64, step: u64) -> u64 {
    tag.saturating_add(step).min(MAX_TAG)
}

/// The virtual time of a bucket in one class, and the tags of its accounts. Nothing is kept while nobody
/// of the class waits.
#[derive(Debug, Default)]
pub(super) struct Shares {
    time: u64,
    /// The sum over `waiting`.
    weight: u64,
    waiting: HashMap<Account, Share>,
    /// Tags after the virtual time, of accounts without a waiting call.
    gone: HashMap<Account, u64>,
    /// `gone`, the lowest first.
    gone_by_tag: BTreeSet<(u64, Account)>,
}

#[derive(Debug)]
struct Share {
    tag: u64,
    calls: usize,
    /// That of its newest call.
    weight: u32,
}

impl Shares {
    /// The virtual time.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How far an account has been served.
    pub fn tag(&self, account: &Account) -> u64 {
        let waiting = self.waiting.get(account).map(|share| share.tag);
        waiting
            .or_else(|| self.gone.get(account).copied())
            .unwrap_or(0)
    }

    /// Notes that a call begins to wait.
    pub fn enter(&mut self, fair: &FairShare) {
        let account = fair.account();
        self.weight += u64::from(fair.weight());
        if let Some(share) = self.waiting.get_mut(account) {
            self.weight -= u64::from(share.weight);
            share.calls += 1;
            share.weight = fair.weight();
            return;
        }
        let share = Share {
            tag: self.forget(account).unwrap_or(0),
            calls: 1,
            weight: fair.weight(),
        };
        self.waiting.insert(account.clone(), share);
    }

    /// Notes that a call waits no longer.
    pub fn leave(&mut self, account: &Account) {
        let Some(share) = self.waiting.get_mut(account) else {
            return;
        };
        share.calls -= 1;
        if share.calls > 0 {
            return;
        }
        let (tag, weight) = (share.tag, share.weight);
        self.waiting.remove(account);
        self.weight -= u64::from(weight);
        if self.waiting.is_empty() {
            *self = Self::default();
        } else {
            self.keep(account, tag);
        }
    }

    /// Counts a grant: of a call that waits, or that came while others did. `since` is the virtual time
    /// at which it came.
    pub fn serve(&mut self, fair: &FairShare, since: u64, cost: u64) {
        let account = fair.account();
        let start = self.tag(account).max(since);
        let tag = later(start, step(cost, fair.weight()));
        let mut weight = self.weight;
        if let Some(share) = self.waiting.get_mut(account) {
            share.tag = tag;
        } else {
            weight += u64::from(fair.weight());
            self.forget(account);
            self.keep(account, tag);
        }
        let passed = cost.div_ceil(weight).max(1);
        self.time = later(self.time, passed).max(start);
        while let Some((tag, account)) = self.gone_by_tag.pop_first() {
            if tag > self.time {
                self.gone_by_tag.insert((tag, account));
                break;
            }
            self.gone.remove(&account);
        }
    }

    /// Keeps the tag of an account without a waiting call, if it tells more than the virtual time.
    fn keep(&mut self, account: &Account, tag: u64) {
        if tag <= self.time {
            return;
        }
        self.gone.insert(account.clone(), tag);
        self.gone_by_tag.insert((tag, account.clone()));
        if self.gone.len() > MAX_GONE
            && let Some((_, lowest)) = self.gone_by_tag.pop_first()
        {
            self.gone.remove(&lowest);
        }
    }

    fn forget(&mut self, account: &Account) -> Option<u64> {
        let tag = self.gone.remove(account)?;
        self.gone_by_tag.remove(&(tag, account.clone()));
        Some(tag)
    }

    /// Panics when two parts contradict each other, or a bound is passed.
    #[cfg(test)]
    pub fn check(&self) {
        assert!(self.gone.len() <= MAX_GONE && self.gone.len() == self.gone_by_tag.len());
        let weights = self.waiting.values().map(|share| u64::from(share.weight));
        assert_eq!(self.weight, weights.sum());
        if let Some((lowest, account)) = self.gone_by_tag.first() {
            assert!(*lowest > self.time && self.gone.get(account) == Some(lowest));
            assert!(!self.waiting.contains_key(account));
        }
    }
}
