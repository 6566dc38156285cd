//! Looking at limits and buckets without changing them.

use super::super::bucket::Bucket;
use super::super::types::{BucketState, KeyOverride, LimitState, ListBuckets, ListLimits};
use super::Machine;
use super::store::{BucketId, LimitId};
use crate::{Key, Micros, Name, Now, Result};
use std::borrow::Cow;

impl Machine {
    /// The state of one bucket. See [`super::super::Limits::peek`].
    pub fn peek(&mut self, limit: &Name, key: &Key, now: Now) -> Result<BucketState> {
        self.advance(now);
        let id = self.store.require(limit)?;
        if let Some(bucket) = self.store.limit(id).bucket(key) {
            self.store.entry_mut(bucket).bucket.advance(now);
        }
        Ok(self.bucket_state(id, key, now))
    }

    /// The state of a bucket that has been brought to the present.
    fn bucket_state(&self, id: LimitId, key: &Key, now: Now) -> BucketState {
        let limit = self.store.limit(id);
        let spec = limit.spec_for(key);
        let entry = limit.bucket(key).map(|bucket| self.store.entry(bucket));
        let bucket = entry.map_or_else(
            || Cow::Owned(Bucket::full(spec, now)),
            |entry| entry.under(spec, now),
        );
        let paused = entry.map_or(Micros::ZERO, |entry| entry.paused_until - now.mono);
        let queue = entry.and_then(|entry| entry.queue.as_ref());
        BucketState {
            limit: limit.name.clone(),
            key: key.clone(),
            spec: bucket.spec(),
            source: limit.source,
            remaining: bucket.available(),
            capacity: bucket.capacity(),
            full_after: bucket.ready_at(bucket.capacity(), now) - now.mono,
            paused_for: (paused > Micros::ZERO).then_some(paused),
            waiters: queue.map_or(0, |queue| queue.len()),
            sharing: limit.sharing,
            slices: 0,
            stranded: 0,
            overshoot: 0,
        }
    }

    pub(super) fn limit_state(&self, id: LimitId) -> LimitState {
        let limit = self.store.limit(id);
        let overrides = limit.overrides.iter();
        LimitState {
            name: limit.name.clone(),
            spec: limit.spec.clone(),
            overrides: overrides
                .map(|(key, spec)| KeyOverride {
                    key: key.clone(),
                    spec: spec.clone(),
                })
                .collect(),
            source: limit.source,
            buckets: limit.bucket_count(),
            sharing: limit.sharing,
        }
    }

    /// A page of limits, and whether there are more. See [`super::super::Limits::list_limits`].
    pub fn list_limits(&mut self, list: &ListLimits, now: Now) -> (Vec<LimitState>, bool) {
        self.advance(now);
        let names = self.store.limits().map(|limit| &limit.name);
        let (names, more) = page(names, list.after.as_ref(), list.page_size);
        let ids = names.into_iter().filter_map(|name| self.store.find(name));
        (ids.map(|id| self.limit_state(id)).collect(), more)
    }

    /// A page of a limit's live buckets, and whether there are more. See
    /// [`super::super::Limits::list_buckets`].
    pub fn list_buckets(
        &mut self,
        list: &ListBuckets,
        now: Now,
    ) -> Result<(Vec<BucketState>, bool)> {
        self.advance(now);
        let id = self.store.require(&list.limit)?;
        let mut live = Vec::new();
        let mut after = list.after.clone();
        // Idle full buckets are passed over; sweeps see to it that there are few.
        while live.len() <= list.page_size {
            let limit = self.store.limit(id);
            let next = limit.buckets_after(after.as_ref()).take(list.page_size + 1);
            let next: Vec<BucketId> = next.collect();
            let Some(newest) = next.last() else { break };
            after = Some(self.store.entry(*newest).key.clone());
            let is_live = |bucket: &BucketId| !self.store.entry_mut(*bucket).is_idle_and_full(now);
            live.extend(next.into_iter().filter(is_live));
        }
        let more = live.len() > list.page_size;
        live.truncate(list.page_size);
        let keys = live.iter().map(|bucket| &self.store.entry(*bucket).key);
        Ok((
            keys.map(|key| self.bucket_state(id, key, now)).collect(),
            more,
        ))
    }
}

/// The first `size` names after `after` in order, and whether there are more.
fn page<'a, T: Ord + 'a>(
    names: impl Iterator<Item = &'a T>,
    after: Option<&T>,
    size: usize,
) -> (Vec<&'a T>, bool) {
    let mut names: Vec<&T> = names
        .filter(|name| after.is_none_or(|after| *name > after))
        .collect();
    let more = names.len() > size;
    if more && size > 0 {
        names.select_nth_unstable(size - 1);
    }
    names.truncate(size);
    names.sort_unstable();
    (names, more)
}
