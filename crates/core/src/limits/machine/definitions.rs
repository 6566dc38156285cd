//! Declaring, changing and forgetting limits, and acting on their buckets.

use super::super::bucket::Bucket;
use super::super::spec::LimitSpec;
use super::super::types::{
    Charge, DeleteLimit, LevelPolicy, LimitState, Outcome, ReportThrottled, ResetLimit, SetLimit,
    SpecSource,
};
use super::acquire::{Want, answer};
use super::requests::{Recall, Remembered, RequestKey, Rpc, digest, misplaced};
use super::store::{BucketId, LimitId, Store};
use super::{Machine, Ticket};
use crate::requests::First;
use crate::{Error, ErrorCode, Micros, Now, RequestId, Result, Time};
use std::hash::Hash;

impl Machine {
    /// Declares or changes a limit; tells whether it is new. See [`super::super::Limits::set_limit`].
    pub fn set_limit(&mut self, set: &SetLimit, now: Now) -> Result<(LimitState, bool)> {
        let first = self.once(
            Rpc::SetLimit,
            set.request_id.as_ref(),
            set,
            now,
            |machine| {
                let (limit, created) = machine.set_limit_once(set, now)?;
                Ok(Remembered::Set(limit, created))
            },
        )?;
        match first.0 {
            Remembered::Set(limit, created) => Ok((limit, created)),
            other => Err(misplaced(&other)),
        }
    }

    fn set_limit_once(&mut self, set: &SetLimit, now: Now) -> Result<(LimitState, bool)> {
        let found = self.store.find(&set.name);
        let id = if let Some(id) = found {
            id
        } else {
            self.check_limits(1)?;
            self.store
                .insert_limit(set.name.clone(), set.spec.clone(), set.source)
        };
        let limit = self.store.limit_mut(id);
        limit.spec = set.spec.clone();
        limit.overrides = set
            .overrides
            .iter()
            .map(|other| (other.key.clone(), other.spec.clone()))
            .collect();
        limit.source = set.source;
        limit.sharing = set.sharing;
        let buckets = self.buckets_of(id);
        for &bucket in &buckets {
            let spec = limit_spec(&self.store, bucket).clone();
            self.respec(bucket, &spec, set.level_policy, now);
        }
        self.end_hopeless(|machine, want| machine.store.entry(want).limit == id, now);
        self.serve(buckets, now);
        Ok((self.limit_state(id), found.is_none()))
    }

    fn buckets_of(&self, limit: LimitId) -> Vec<BucketId> {
        self.store.limit(limit).buckets().collect()
    }

    /// Puts one bucket under another spec.
    fn respec(&mut self, bucket: BucketId, spec: &LimitSpec, policy: LevelPolicy, now: Now) {
        let entry = self.store.entry_mut(bucket);
        if entry.is_idle_and_full(now) {
            // As good as none: what it becomes must not depend on when it would be swept.
            entry.bucket = Bucket::full(spec, now);
        } else {
            entry.bucket.change(spec, policy, now);
        }
        if policy == LevelPolicy::Refill {
            self.store.forgive(bucket);
        }
    }

    /// Brings a bucket of an inline limit under the spec in force. Tells whether it had another.
    pub(super) fn follow_spec(&mut self, bucket: BucketId, now: Now) -> bool {
        let spec = limit_spec(&self.store, bucket);
        if self.store.entry(bucket).bucket.has_spec(spec) {
            return false;
        }
        let spec = spec.clone();
        self.respec(bucket, &spec, LevelPolicy::KeepAmount, now);
        if self.store.entry(bucket).queue.is_some() {
            self.end_hopeless(|_, want| want == bucket, now);
            self.serve(vec![bucket], now);
        }
        true
    }

    /// Ends the waiting calls that can never be admitted to a bucket that `changed` picks.
    fn end_hopeless(&mut self, changed: impl Fn(&Self, BucketId) -> bool, now: Now) {
        let hopeless = |want: &Want| {
            changed(self, want.bucket)
                && want.amount > self.store.entry(want.bucket).bucket.capacity()
        };
        for ticket in self.waiting(hopeless) {
            self.end_never(ticket, now);
        }
    }

    /// The waiting calls with a charge that `which` picks, in order of rank. A call may want a bucket
    /// without claiming it, so that looking at the buckets' lines is not enough.
    fn waiting(&self, which: impl Fn(&Want) -> bool) -> Vec<Ticket> {
        let waiters = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waiter.wants.iter().any(&which));
        waiters.map(|(ticket, _)| *ticket).collect()
    }

    fn end_never(&mut self, ticket: Ticket, now: Now) {
        let Some((waiter, freed)) = self.leave(ticket) else {
            return;
        };
        self.serve(freed, now);
        let (_, charges) = self.refusal(&waiter.wants, ticket.priority, now);
        self.decided.never += 1;
        let never = answer(Outcome::Never, charges);
        self.tell(ticket, waiter.request.as_ref(), Ok(never), now);
    }

    /// Forgets a limit; tells whether there was one. See [`super::super::Limits::delete_limit`].
    pub fn delete_limit(&mut self, delete: &DeleteLimit, now: Now) -> Result<bool> {
        let first = self.once(
            Rpc::DeleteLimit,
            delete.request_id.as_ref(),
            delete,
            now,
            |machine| Ok(Remembered::Deleted(machine.delete_limit_once(delete, now))),
        )?;
        match first.0 {
            Remembered::Deleted(deleted) => Ok(deleted),
            other => Err(misplaced(&other)),
        }
    }

    fn delete_limit_once(&mut self, delete: &DeleteLimit, now: Now) -> bool {
        let Some(id) = self.store.find(&delete.name) else {
            return false;
        };
        // Declared while it goes, so that it does not vanish with its last bucket.
        self.store.limit_mut(id).source = SpecSource::SetLimit;
        // All of them leave before anyone is served, so that none is granted what is going.
        let mut freed = Vec::new();
        for ticket in self.waiting(|want| self.store.entry(want.bucket).limit == id) {
            let Some((waiter, buckets)) = self.leave(ticket) else {
                continue;
            };
            freed.extend(buckets);
            let message = format!("limit {:?} was deleted", delete.name.as_str());
            let deleted = Error::new(ErrorCode::LimitDeleted, message);
            self.tell(ticket, waiter.request.as_ref(), Err(deleted), now);
        }
        for bucket in self.buckets_of(id) {
            self.store.remove_bucket(bucket);
        }
        self.store.remove_limit(id);
        self.serve(freed, now);
        true
    }

    /// Makes buckets full; tells how many. See [`super::super::Limits::reset_limit`].
    pub fn reset_limit(&mut self, reset: &ResetLimit, now: Now) -> Result<usize> {
        let first = self.once(
            Rpc::ResetLimit,
            reset.request_id.as_ref(),
            reset,
            now,
            |machine| machine.reset_limit_once(reset, now).map(Remembered::Reset),
        )?;
        match first.0 {
            Remembered::Reset(buckets) => Ok(buckets),
            other => Err(misplaced(&other)),
        }
    }

    fn reset_limit_once(&mut self, reset: &ResetLimit, now: Now) -> Result<usize> {
        let id = self.store.require(&reset.name)?;
        let mut buckets: Vec<BucketId> = match &reset.key {
            Some(key) => self.store.limit(id).bucket(key).into_iter().collect(),
            None => self.buckets_of(id),
        };
        buckets.retain(|bucket| !self.store.entry_mut(*bucket).is_idle_and_full(now));
        for &bucket in &buckets {
            let entry = self.store.entry_mut(bucket);
            entry.bucket = Bucket::full(&entry.bucket.spec(), now);
            entry.paused_until = Time(0);
            self.store.forgive(bucket);
        }
        let count = buckets.len();
        self.serve(buckets, now);
        Ok(count)
    }

    /// Pauses a bucket; tells for how long. See [`super::super::Limits::report_throttled`].
    pub fn report_throttled(&mut self, report: &ReportThrottled, now: Now) -> Result<Micros> {
        let id = report.request_id.as_ref();
        let first = self.once(Rpc::ReportThrottled, id, report, now, |machine| {
            machine
                .report_throttled_once(report, now)
                .map(Remembered::PausedUntil)
        })?;
        match first.0 {
            Remembered::PausedUntil(until) => Ok(until - now.mono),
            other => Err(misplaced(&other)),
        }
    }

    fn report_throttled_once(&mut self, report: &ReportThrottled, now: Now) -> Result<Time> {
        // Found as a charge would find it: declared, kept inline, or brought by the report.
        let mut charge = Charge::new(report.limit.clone(), report.key.clone(), 1)?;
        charge.spec.clone_from(&report.spec);
        let places = [self.store.locate(&charge)?];
        let bucket = self.place_all(&[charge], &places, now)?[0].bucket;
        let entry = self.store.entry_mut(bucket);
        entry.bucket.advance(now);
        entry.paused_until = entry.paused_until.max(now.mono + report.retry_after);
        if let Some(remaining) = report.remaining {
            entry.bucket.lower_to(remaining, now);
        }
        let until = entry.paused_until;
        self.serve(vec![bucket], now);
        Ok(until)
    }

    /// Brings the machine to the present and runs a mutation, unless its request id has been answered.
    pub(super) fn once<T: Hash>(
        &mut self,
        rpc: Rpc,
        id: Option<&RequestId>,
        body: &T,
        now: Now,
        mutate: impl FnOnce(&mut Self) -> Result<Remembered>,
    ) -> Result<First<Remembered>> {
        self.advance(now);
        let Some(id) = id else {
            return Ok(First(mutate(self)?, now.mono));
        };
        let (key, digest) = (RequestKey::new(rpc, id), digest(body));
        if let Recall::Answer(first) = self.requests.recall(&key, digest, now.mono)? {
            return Ok(first);
        }
        let answer = mutate(self)?;
        self.requests.start(key.clone(), digest, None);
        self.requests.finish(&key, answer.clone(), now.mono);
        Ok(First(answer, now.mono))
    }
}

/// The spec in force for a bucket.
fn limit_spec(store: &Store, bucket: BucketId) -> &LimitSpec {
    let entry = store.entry(bucket);
    store.limit(entry.limit).spec_for(&entry.key)
}
