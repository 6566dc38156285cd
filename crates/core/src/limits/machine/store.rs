//! Limits and buckets: finding, making and dropping them.
//!
//! A bucket that is idle and full is as good as none, so buckets are made by their first charge and
//! dropped when they are idle and full again; no others are ever dropped. An inline limit lives as long
//! as it has buckets.

use super::super::bucket::Bucket;
use super::super::spec::LimitSpec;
use super::super::types::{Charge, SpecSource};
use super::Ticket;
use crate::{Error, ErrorCode, Key, Micros, Name, Now, Result, Time};
use slab::Slab;
use std::collections::{BTreeMap, HashMap};

pub(super) type LimitId = usize;
pub(super) type BucketId = usize;

/// A limit's definition and where its buckets are.
#[derive(Debug)]
pub(super) struct Limit {
    pub name: Name,
    pub spec: LimitSpec,
    pub overrides: BTreeMap<Key, LimitSpec>,
    pub source: SpecSource,
    shared: Option<BucketId>,
    keyed: Option<Box<HashMap<Key, BucketId>>>,
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
        self.keyed.as_ref()?.get(key).copied()
    }

    pub fn buckets(&self) -> impl Iterator<Item = BucketId> + '_ {
        self.shared
            .into_iter()
            .chain(self.keyed.iter().flat_map(|keyed| keyed.values().copied()))
    }

    pub fn bucket_count(&self) -> usize {
        usize::from(self.shared.is_some()) + self.keyed.as_ref().map_or(0, |keyed| keyed.len())
    }
}

/// A bucket, its pause and its line.
#[derive(Debug)]
pub(super) struct Entry {
    pub bucket: Bucket,
    pub limit: LimitId,
    pub key: Key,
    /// Nothing is admitted before.
    pub paused_until: Time,
    /// Who claims the bucket; `None` when nobody waits.
    pub line: Option<Box<Line>>,
    /// When the head of the line is looked at again.
    pub wake: Option<Time>,
    /// Waiting calls that want the bucket, whether they claim it or not.
    pub wanted: usize,
}

impl Entry {
    fn is_idle_and_full(&mut self, now: Now) -> bool {
        self.bucket.advance(now);
        self.bucket.is_full() && self.wanted == 0 && self.paused_until <= now.mono
    }

    /// The head of the line.
    pub fn head(&self) -> Option<Ticket> {
        self.line.as_ref()?.claims.keys().next().copied()
    }

    /// Units claimed by those who rank before `ticket`.
    pub fn claimed_before(&self, ticket: Ticket) -> i64 {
        let Some(line) = &self.line else { return 0 };
        if line
            .claims
            .keys()
            .next_back()
            .is_some_and(|last| *last < ticket)
        {
            return line.claimed;
        }
        line.claims.range(..ticket).map(|(_, amount)| amount).sum()
    }
}

/// The claims on a bucket, by rank.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub claims: BTreeMap<Ticket, i64>,
    /// The sum over `claims`.
    pub claimed: i64,
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
    limits: Slab<Limit>,
    buckets: Slab<Entry>,
    /// Where the next sweep goes on.
    cursor: usize,
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
                    "no limit {name:?}: declare it with SetLimit, or send a spec with the charge",
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
                self.require(&charge.limit)?;
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
        let limit = Limit {
            name: name.clone(),
            spec,
            overrides: BTreeMap::new(),
            source,
            shared: None,
            keyed: None,
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
            line: None,
            wake: None,
            wanted: 0,
        });
        let limit = &mut self.limits[limit];
        if key.as_str().is_empty() {
            limit.shared = Some(bucket);
        } else {
            limit
                .keyed
                .get_or_insert_default()
                .insert(key.clone(), bucket);
        }
        bucket
    }

    /// Forgets a bucket, and its limit with the last bucket of an inline one.
    pub fn remove_bucket(&mut self, id: BucketId) {
        let entry = self.buckets.remove(id);
        let limit = &mut self.limits[entry.limit];
        if entry.key.as_str().is_empty() {
            limit.shared = None;
        } else if let Some(keyed) = &mut limit.keyed {
            keyed.remove(&entry.key);
            if keyed.is_empty() {
                limit.keyed = None;
            }
        }
        if limit.source == SpecSource::Inline && limit.bucket_count() == 0 {
            self.remove_limit(entry.limit);
        }
    }

    /// Forgets a limit whose buckets are gone.
    pub fn remove_limit(&mut self, id: LimitId) {
        let limit = self.limits.remove(id);
        self.names.remove(&limit.name);
    }

    /// Looks at up to `budget` buckets, going round, and drops those that are idle and full.
    pub fn sweep(&mut self, now: Now, budget: usize) {
        for _ in 0..budget.min(self.buckets.len()) {
            let next = self.next_bucket();
            let Some(id) = next else { return };
            self.cursor = id + 1;
            if self.buckets[id].is_idle_and_full(now) {
                self.remove_bucket(id);
            }
        }
    }

    fn next_bucket(&mut self) -> Option<BucketId> {
        let end = self.buckets.capacity();
        let found = (self.cursor..end).find(|id| self.buckets.contains(*id));
        found.or_else(|| {
            self.cursor = 0;
            (0..end).find(|id| self.buckets.contains(*id))
        })
    }

    /// Makes sure that `more` buckets fit below `max`, dropping idle full ones if need be.
    pub fn make_room(&mut self, more: usize, max: usize, now: Now) -> Result<()> {
        if self.buckets.len() + more > max {
            self.sweep(now, ROOM_BUDGET + more);
        }
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
