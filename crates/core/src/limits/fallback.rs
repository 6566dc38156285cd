//! Going on without the shared store: the share that a daemon spends, what it brings back, how it does.

use super::spec::LimitSpec;
use crate::{Key, Micros, Name, Namespace, Result, Time};
use async_trait::async_trait;
use std::sync::Arc;

/// What a daemon took of a bucket on its own while the shared store was away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Where the limit lives.
    pub namespace: Namespace,
    /// The limit.
    pub limit: Name,
    /// The bucket of it.
    pub key: Key,
    /// Units, at least 1.
    pub amount: i64,
    /// The limit's spec, should the store know it no more.
    pub spec: LimitSpec,
    /// How long from now slots are held; nothing else looks at it.
    pub held_for: Micros,
}

/// How a daemon does that goes on without its shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackStatus {
    /// Since when calls go to this daemon's own limits, and why; `None` while they are shared.
    pub outage: Option<(Time, Arc<str>)>,
    /// The part of each limit that this daemon spends, or would spend, while the store is away; `None` where it
    /// spends nothing.
    pub share: Option<Share>,
    /// How often calls have begun to go to this daemon's own limits.
    pub outages: u64,
    /// Acquires decided there.
    pub decisions: u64,
    /// Buckets of which the store does not know yet what was spent.
    pub unmerged_buckets: usize,
    /// Units spent of them.
    pub unmerged_units: i64,
}

/// An equal part of something: which of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0 to below `count`.
    pub index: u64,
    /// How many there are, at least 1.
    pub count: u64,
}

impl Share {
    /// The part of a whole amount: equal for all, and what cannot be divided goes to the first ones.
    #[must_use]
    pub fn of(self, amount: i64) -> i64 {
        let (index, count) = (self.index, self.count.max(1));
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let extra = i64::try_from(index).is_ok_and(|index| index < amount.rem_euclid(count));
        amount.div_euclid(count) + i64::from(extra)
    }
}

/// Brings what was spent apart back into the shared store.
#[async_trait]
pub trait Reconcile: Send + Sync {
    /// Takes these amounts, at most a capacity of each bucket and into debt if need be; all of one namespace. Slots
    /// are held for as long as they say.
    ///
    /// Atomic, and once for each `batch`, a name never used before for anything else: a repeat changes nothing.
    async fn merge(&self, batch: &str, spent: &[Spent]) -> Result<()>;
}
