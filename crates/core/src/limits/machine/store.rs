//! Limits and buckets: finding, making and dropping them.
//!
//! A bucket that is idle and full is as good as none, so buckets are made by their first charge and
//! dropped when they are idle and full again; no others are ever dropped. An inline limit lives as long
//! as it has buckets.

use super::super::bucket::Bucket;
use super::super::spec::LimitSpec;
use super::super::types::{Charge, Priority, Sharing, SpecSource};
use super::queue::{Caller, Queue};
use super::reservations::Taken;
use crate::{Error, ErrorCode, Key, Micros, Name, Now, Result, Time};
use slab::Slab;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

pub(super) type LimitId = usize;
pub(super) type BucketId = usize;

/// A limit's definition and where its buckets are.
#[derive(Debug)]
pub(super) struct Limit {
    pub name: Name,
    pub spec: LimitSpec,
    pub overrides: BTreeMap<Key, LimitSpec>,
    pub source: SpecSource,
    pub sharing: Sharing,
    /// Distinguishes this limit from a deleted one of the same name.
    pub life: u64,
    /// Charges of reservations that may still owe; an inline limit stays for them.
    pub pins: usize,
    /// How often some bucket was filled by decree.
    pub fills: u64,
    /// The last fill of a bucket that was dropped since: a new bucket of that key still goes by it.
    dropped_fill: u64,
    shared: Option<BucketId>,
    /// Ordered, so that a page of a million keys costs what it shows.
    keyed: BTreeMap<Key, BucketId>,
}

impl Limit {
    /// The spec for one key.
    pub fn spec_for(&self, key: &Key) -> &LimitSpec {
        self.overrides.get(key).unwrap_or(&self.spec)
    }

    pub fn bucket(&self, key: &Key) -> Option<BucketId> {
        if key.as_str().is_empty() {
            return self.shared;
        }
        self.keyed.get(key).copied()
    }

    pub fn buckets(&self) -> impl Iterator<Item = BucketId> + '_ {
        self.buckets_after(None)
    }

    /// The buckets of the keys after one, or all of them, by key.
    pub fn buckets_after(&self, key: Option<&Key>) -> impl Iterator<Item = BucketId> + '_ {
        // The shared bucket's key is empty, and thereby the first.
        let shared = self.shared.filter(|_| key.is_none());
        let after = key.map_or(Bound::Unbounded, Bound::Excluded);
        let keyed = self.keyed.range::<Key, _>((after, Bound::Unbounded));
        shared.into_iter().chain(keyed.map(|(_, bucket)| *bucket))
    }

    pub fn bucket_count(&self) -> usize {
        usize::from(self.shared.is_some()) + self.keyed.len()
    }
}

/// A bucket, its pause and who waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub bucket: Bucket,
    pub limit: LimitId,
    pub key: Key,
    /// Nothing is admitted before.
    pub paused_until: Time,
    /// Who waits for the bucket; `None` when nobody does.
    pub queue: Option<Box<Queue>>,
    /// When the head of the line is looked at again.
    pub wake: Option<Time>,
    /// Which of its limit's fills by decree was the last of this bucket: what was charged before it is
    /// forgiven, and not given back again.
    pub filled: u64,
}

impl Entry {
    /// Whether it is as good as none. Brings the bucket to the present.
    pub fn is_idle_and_full(&mut self, now: Now) -> bool {
        self.bucket.advance(now);
        self.bucket.is_full() && self.queue.is_none() && self.paused_until <= now.mono
    }

    /// The bucket, which has been brought to the present, or what it would be under another spec.
    pub fn under(&self, spec: &LimitSpec, now: Now) -> Cow<'_, Bucket> {
        let idle = self.queue.is_none() && self.paused_until <= now.mono;
        if idle && self.bucket.is_full() && !self.bucket.has_spec(spec) {
            return Cow::Owned(Bucket::full(spec, now));
        }
        self.bucket.under(spec, now)
    }

    /// Gives back up to `amount` units of a charge. Returns how many.
    pub fn give_back(&mut self, amount: i64, taken: &Taken) -> i64 {
        if self.is_forgiven(taken) && !self.bucket.holds_slots() {
            return 0;
        }
        self.bucket.give_back(amount, taken.hold, taken.at)
    }

    /// Gives back a charge that was never used. Returns how many units.
    pub fn take_back(&mut self, taken: &Taken, now: Now) -> i64 {
        if self.is_forgiven(taken) && !self.bucket.holds_slots() {
            return 0;
        }
        self.bucket.advance(now);
        self.bucket.take_back(taken.amount, taken.hold, taken.at)
    }

    /// Whether an earlier charge comes back together with the newest one.
    pub fn counts_with_newest(&self, earlier: &Taken) -> bool {
        !self.is_forgiven(earlier) && self.bucket.counts_with_newest(earlier.at)
    }

    fn is_forgiven(&self, taken: &Taken) -> bool {
        self.filled > taken.fills
    }

    /// Units that can be taken now, less than any while it is paused. Brings the bucket to the present.
    pub fn open_units(&mut self, now: Now) -> i64 {
        self.bucket.advance(now);
        if now.mono < self.paused_until {
            i64::MIN
        } else {
            self.bucket.available()
        }
    }

    /// Whether a call that came at the virtual time `since` lacks `amount`: the bucket is paused, holds
    /// too little, or others are served first.
    pub fn lacks(&mut self, amount: i64, caller: Caller<'_>, since: u64, now: Now) -> bool {
        let units = self.open_units(now);
        let queue = self.queue.as_ref();
        units < amount || queue.is_some_and(|queue| queue.goes_before(caller, since))
    }

    /// Units claimed by those who are served before a call of that priority that comes now.
    pub fn claimed_before(&self, priority: Priority) -> i64 {
        let queue = self.queue.as_ref();
        queue.map_or(0, |queue| queue.claimed_before(priority))
    }
}

/// Where a charge goes, before anything is changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub limit: Option<LimitId>,
    pub bucket: Option<BucketId>,
    pub source: SpecSource,
    /// The charge's inline spec differs from the one that was in force.
    pub replaces: bool,
}

/// All limits and buckets of a namespace.
#[derive(Debug, Default)]
pub(super) struct Store {
    names: HashMap<Name, LimitId>,
    pub limits: Slab<Limit>,
    pub buckets: Slab<Entry>,
    /// Where the next sweep goes on.
    cursor: usize,
    lives: u64,
    /// A sweep is scheduled.
    pub sweeping: bool,
}

impl Store {
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    pub fn limit_count(&self) -> usize {
        self.limits.len()
    }

    pub fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    pub fn find(&self, name: &Name) -> Option<LimitId> {
        self.names.get(name).copied()
    }

    /// The limit of that name, or what to do about its absence.
    pub fn require(&self, name: &Name) -> Result<LimitId> {
        self.find(name).ok_or_else(|| {
            Error::new(
                ErrorCode::LimitNotFound,
                format!(
                    "no limit {name:?}: declare it with SetLimit; an inline one is forgotten while \
                     its buckets are idle and full",
                    name = name.as_str()
                ),
            )
        })
    }

    pub fn limit(&self, id: LimitId) -> &Limit {
        &self.limits[id]
    }

    pub fn limit_mut(&mut self, id: LimitId) -> &mut Limit {
        &mut self.limits[id]
    }

    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.limits.iter().map(|(_, limit)| limit)
    }

    pub fn entry(&self, id: BucketId) -> &Entry {
        &self.buckets[id]
    }

    pub fn entry_mut(&mut self, id: BucketId) -> &mut Entry {
        &mut self.buckets[id]
    }

    /// Whether the bucket still exists.
    pub fn contains(&self, id: BucketId) -> bool {
        self.buckets.contains(id)
    }

    /// Finds the limit and bucket of a charge and checks its spec. Changes nothing.
    pub fn locate(&self, charge: &Charge) -> Result<Place> {
        let Some(id) = self.find(&charge.limit) else {
            if charge.spec.is_none() {
                let name = charge.limit.as_str();
                let message = format!(
                    "no limit {name:?}: declare it with SetLimit, or send a spec with the charge"
                );
                return Err(Error::new(ErrorCode::LimitNotFound, message));
            }
            let source = SpecSource::Inline;
            return Ok(Place {
                limit: None,
                bucket: None,
                source,
                replaces: false,
            });
        };
        let limit = &self.limits[id];
        let bucket = limit.bucket(&charge.key);
        let in_force = limit.spec_for(&charge.key);
        let differs = charge.spec.as_ref().is_some_and(|spec| spec != in_force);
        let declared = limit.source != SpecSource::Inline;
        if declared && differs && charge.require_spec {
            return Err(Error::new(
                ErrorCode::SpecMismatch,
                format!(
                    "limit {:?} is declared with another spec; drop require_spec to go by it",
                    charge.limit.as_str()
                ),
            ));
        }
        Ok(Place {
            limit: Some(id),
            bucket,
            source: limit.source,
            replaces: differs && !declared,
        })
    }

    /// The spec that will be in force for a charge at that place.
    pub fn spec_at<'a>(&'a self, place: Place, charge: &'a Charge) -> &'a LimitSpec {
        match (place.limit, &charge.spec) {
            (Some(id), Some(_)) if !place.replaces => self.limits[id].spec_for(&charge.key),
            (_, Some(spec)) => spec,
            (Some(id), None) => self.limits[id].spec_for(&charge.key),
            (None, None) => unreachable!("locate refuses an unknown limit without a spec"),
        }
    }

    pub fn insert_limit(&mut self, name: Name, spec: LimitSpec, source: SpecSource) -> LimitId {
        self.lives += 1;
        let limit = Limit {
            name: name.clone(),
            spec,
            overrides: BTreeMap::new(),
            source,
            sharing: Sharing::default(),
            life: self.lives,
            pins: 0,
            fills: 0,
            dropped_fill: 0,
            shared: None,
            keyed: BTreeMap::new(),
        };
        let id = self.limits.insert(limit);
        self.names.insert(name, id);
        id
    }

    /// The bucket of a limit for a key, made full when there is none.
    pub fn bucket_or_full(&mut self, limit: LimitId, key: &Key, now: Now) -> BucketId {
        if let Some(bucket) = self.limits[limit].bucket(key) {
            return bucket;
        }
        let bucket = self.buckets.insert(Entry {
            bucket: Bucket::full(self.limits[limit].spec_for(key), now),
            limit,
            key: key.clone(),
            paused_until: Time(0),
            queue: None,
            wake: None,
            filled: self.limits[limit].dropped_fill,
        });
        let limit = &mut self.limits[limit];
        if key.as_str().is_empty() {
            limit.shared = Some(bucket);
        } else {
            limit.keyed.insert(key.clone(), bucket);
        }
        bucket
    }

    /// Notes that a bucket was filled by decree.
    pub fn forgive(&mut self, id: BucketId) {
        let entry = &mut self.buckets[id];
        let limit = &mut self.limits[entry.limit];
        limit.fills += 1;
        entry.filled = limit.fills;
    }

    /// Forgets a bucket, and its limit with the last bucket of an inline one.
    pub fn remove_bucket(&mut self, id: BucketId) {
        let entry = self.buckets.remove(id);
        let limit = &mut self.limits[entry.limit];
        limit.dropped_fill = limit.dropped_fill.max(entry.filled);
        if entry.key.as_str().is_empty() {
            limit.shared = None;
        } else {
            limit.keyed.remove(&entry.key);
        }
        self.drop_unused(entry.limit);
    }

    /// Forgets an inline limit that has no bucket and owes none.
    fn drop_unused(&mut self, id: LimitId) {
        let limit = &self.limits[id];
        if limit.source == SpecSource::Inline && limit.bucket_count() == 0 && limit.pins == 0 {
            self.remove_limit(id);
        }
    }

    /// The limit that a charge was taken from; `None` when it was deleted since.
    pub fn limit_of(&self, taken: &Taken) -> Option<LimitId> {
        self.find(&taken.limit)
            .filter(|id| self.limits[*id].life == taken.life)
    }

    /// The bucket that a charge was taken from, if it was not dropped since.
    pub fn bucket_of(&self, taken: &Taken) -> Option<BucketId> {
        self.limits[self.limit_of(taken)?].bucket(&taken.key)
    }

    /// Keeps the limits of these charges until [`Store::unpin`].
    pub fn pin(&mut self, taken: &[Taken]) {
        for taken in taken {
            if let Some(id) = self.limit_of(taken) {
                self.limits[id].pins += 1;
            }
        }
    }

    pub fn unpin(&mut self, taken: &[Taken]) {
        for taken in taken {
            if let Some(id) = self.limit_of(taken) {
                self.limits[id].pins -= 1;
                self.drop_unused(id);
            }
        }
    }

    /// Forgets a limit whose buckets are gone.
    pub fn remove_limit(&mut self, id: LimitId) {
        let limit = self.limits.remove(id);
        self.names.remove(&limit.name);
    }

    /// Looks at up to `budget` places for buckets, going round, and drops those that are idle and
    /// full. Empty places count too: after a flood of keys there are many.
    pub fn sweep(&mut self, now: Now, budget: usize) {
        let places = self.buckets.capacity();
        for _ in 0..budget.min(places) {
            let id = self.cursor % places;
            self.cursor = id + 1;
            let entry = self.buckets.get_mut(id);
            if entry.is_some_and(|entry| entry.is_idle_and_full(now)) {
                self.remove_bucket(id);
            }
        }
    }

    /// Makes sure that `more` buckets fit below `max`, dropping idle full ones if need be.
    pub fn make_room(&mut self, more: usize, max: usize, now: Now) -> Result<()> {
        if self.buckets.len() + more > max {
            self.sweep(now, ROOM_BUDGET + more);
        }
        self.check_room(more, max)
    }

    /// Refuses `more` buckets above `max`.
    pub fn check_room(&self, more: usize, max: usize) -> Result<()> {
        if self.buckets.len() + more > max {
            return Err(Error::new(
                ErrorCode::TooManyBuckets,
                format!("{max} buckets are in use; raise limits.max_buckets or use fewer keys"),
            )
            .retry_after(Micros::from_secs(1)));
        }
        Ok(())
    }
}

/// Buckets looked at to make room for one acquire, so that a flood of keys stays cheap to refuse.
const ROOM_BUDGET: usize = 64;
