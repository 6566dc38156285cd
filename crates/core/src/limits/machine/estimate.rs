//! What a call that is not admitted is told: how long until it can be, and what each charge met.

use super::super::bucket::Bucket;
use super::super::types::{Charge, ChargeState, Priority, SpecSource};
use super::Machine;
use super::acquire::Want;
use super::store::{Entry, Place};
use crate::{Micros, Now, Time};
use std::borrow::Cow;

impl Machine {
    pub(super) fn charge_state(&self, want: &Want, retry_after: Option<Micros>) -> ChargeState {
        let entry = self.store.entry(want.bucket);
        ChargeState {
            remaining: entry.bucket.available(),
            retry_after,
            spec: entry.bucket.spec(),
            source: self.store.limit(entry.limit).source,
            spec_replaced: want.replaced,
        }
    }

    /// Why a call of that priority cannot be admitted now: how long until it can, and what each
    /// charge met.
    pub(super) fn refusal(
        &mut self,
        wants: &[Want],
        priority: Priority,
        now: Now,
    ) -> (Micros, Vec<ChargeState>) {
        // The first charge that is blocked may have ended the look at the others.
        for want in wants {
            self.store.entry_mut(want.bucket).bucket.advance(now);
        }
        let mut longest = Micros::TICK;
        let charges = wants.iter().map(|want| {
            let entry = self.store.entry(want.bucket);
            let wait = self.wait_at(&entry.bucket, entry, (want.amount, priority), now);
            longest = longest.max(wait.unwrap_or(Micros::ZERO));
            self.charge_state(want, wait)
        });
        let charges = charges.collect();
        (longest, charges)
    }

    /// How long until a charge fits, after those that claim the bucket before it; `None` when it does
    /// now, or never.
    /// Exact when nobody does; otherwise never too long, as it takes the claims for one.
    /// `bucket` is the entry's own, or a copy of it under another spec.
    fn wait_at(
        &self,
        bucket: &Bucket,
        entry: &Entry,
        (amount, priority): (i64, Priority),
        now: Now,
    ) -> Option<Micros> {
        if amount > bucket.capacity() {
            return None;
        }
        let claimed = entry.claimed_before(priority);
        let mut ready = bucket
            .ready_at(amount.saturating_add(claimed), now)
            .max(entry.paused_until);
        if claimed > 0 {
            ready = ready
                .max(self.head_ready(entry, now))
                .max(now.mono + Micros::TICK);
        }
        (ready > now.mono).then(|| ready - now.mono)
    }

    /// When everything that the head of the line wants is there.
    fn head_ready(&self, entry: &Entry, now: Now) -> Time {
        let head = entry.queue.as_ref().and_then(|queue| queue.head());
        let waiter = head.and_then(|head| self.waiters.get(&head));
        let ready = |want: &Want| self.ready_at(want, now);
        waiter
            .and_then(|waiter| waiter.wants.iter().map(ready).max())
            .unwrap_or(now.mono)
    }

    /// When what a call wants of a bucket is there, if nobody else takes it.
    pub(super) fn ready_at(&self, want: &Want, now: Now) -> Time {
        let entry = self.store.entry(want.bucket);
        let ready = entry.bucket.ready_at(want.amount, now);
        ready.max(entry.paused_until)
    }

    /// What an acquire would meet now, without changing anything: how long until it could be admitted
    /// (`None`: now), and each charge.
    pub(super) fn preview(
        &mut self,
        charges: &[Charge],
        places: &[Place],
        priority: Priority,
        now: Now,
    ) -> (Option<Micros>, Vec<ChargeState>) {
        for id in places.iter().filter_map(|place| place.bucket) {
            self.store.entry_mut(id).bucket.advance(now);
        }
        let mut longest = None;
        let states = charges.iter().zip(places).map(|(charge, place)| {
            let spec = self.store.spec_at(*place, charge);
            let mut wait = None;
            let mut replaces = place.replaces;
            let bucket = match place.bucket {
                None => Cow::Owned(Bucket::full(spec, now)),
                Some(id) => {
                    let entry = self.store.entry(id);
                    replaces |= charge.spec.is_some() && !entry.bucket.has_spec(spec);
                    let bucket = entry.under(spec, now);
                    wait = self.wait_at(&bucket, entry, (charge.amount(), priority), now);
                    bucket
                }
            };
            longest = longest.max(wait);
            ChargeState {
                remaining: bucket.available(),
                retry_after: wait,
                spec: spec.clone(),
                source: place.source,
                spec_replaced: replaces && place.source == SpecSource::Inline,
            }
        });
        let states = states.collect();
        (longest, states)
    }
}
