//! The leases of one bucket: its slices, the ask under way, and what is known of the store.

use super::demand::Demand;
use super::suspects::HOT;
use super::{Answer, Ask, BucketName, BucketRef, LeaseConfig, Part, Report, Return, Rule};
use crate::limits::{ChargeState, LimitSpec, SpecSource};
use crate::{Micros, Time, same_text};
use smallvec::SmallVec;
use std::sync::Arc;

/// How long nobody may have asked before the bucket's leases are forgotten.
const FORGET_AFTER: Micros = Micros::from_secs(2);

/// Units that may be spent until a time.
#[derive(Clone, Copy, Debug)]
struct Slice {
    id: u64,
    left: i64,
    /// Taken for calls that are not decided yet: spent or put back.
    held: i64,
    /// Until when it counts as one that lasts.
    fresh_until: Time,
    /// When what is left of it is given back.
    return_at: Time,
    until: Time,
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    slice: u64,
    need: i64,
    sent: Time,
    /// Slices were recalled since: one that it brings goes back at once.
    recalled: bool,
}

/// Charges of this size or more are denied for a while.
#[derive(Clone, Copy, Debug)]
struct Denial {
    size: i64,
    until: Time,
    /// When they may be admitted.
    ready: Time,
}

/// What a charge meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The slices hold enough.
    Covered,
    /// The store has refused as much until then.
    Denied(Time),
    /// Another slice may serve it.
    Short,
    /// The store decides.
    Exact,
}

pub(super) struct Lease {
    pub(super) name: Arc<BucketName>,
    pub(super) demand: Demand,
    /// When it is to be looked at without a call; its place in the table's order.
    pub(super) due: Time,
    /// It stands in the table's list of asks.
    pub(super) queued: bool,
    /// The need of those who wait for a slice; 0: none.
    needed: i64,
    /// By when they end.
    slices: SmallVec<[Slice; 4]>,
    /// What the store is to be told of slices that are spent.
    ended: SmallVec<[Report; 4]>,
    asking: Option<Asking>,
    denial: Option<Denial>,
    exact_until: Time,
    share: i64,
    share_until: Time,
    /// At how many units the next slice is asked for.
    low_water: i64,
    level: i64,
    spec: Option<(LimitSpec, SpecSource)>,
    spent_at: Time,
    seen_at: Time,
}

impl Lease {
    pub(super) fn new(bucket: BucketRef<'_>, demand: Demand, now: Time) -> Self {
        let name = BucketName {
            hash: bucket.hash,
            namespace: bucket.namespace.into(),
            limit: bucket.limit.into(),
            key: bucket.key.into(),
        };
        Self {
            name: Arc::new(name),
            demand,
            due: now + FORGET_AFTER,
            queued: false,
            needed: 0,
            slices: SmallVec::new(),
            ended: SmallVec::new(),
            asking: None,
            denial: None,
            exact_until: Time(0),
            share: i64::MAX,
            share_until: Time(0),
            low_water: 0,
            level: 0,
            spec: None,
            spent_at: now,
            seen_at: now,
        }
    }

    pub(super) fn is(&self, bucket: BucketRef<'_>) -> bool {
        same_text(&self.name.limit, bucket.limit)
            && same_text(&self.name.key, bucket.key)
            && same_text(&self.name.namespace, bucket.namespace)
    }

    /// Whether a charge that brings `spec` can go by the slices: it must not change the spec in force.
    pub(super) fn goes_by(&self, spec: Option<&LimitSpec>, required: bool) -> bool {
        match (spec, &self.spec) {
            (Some(spec), Some((in_force, source))) => {
                spec == in_force || (*source != SpecSource::Inline && !required)
            }
            _ => true,
        }
    }

    /// Takes note of a call.
    pub(super) fn see(&mut self, now: Time, amount: i64, config: &LeaseConfig) {
        self.seen_at = now;
        self.demand.add(now, amount, config.horizon);
    }

    /// Takes out the slices that have ended: nothing of them may be spent.
    pub(super) fn expire(&mut self, now: Time, config: &LeaseConfig, returns: &mut Vec<Return>) {
        while let Some(first) = self.slices.first()
            && first.until <= now
        {
            let slice = self.slices.remove(0);
            self.end(slice, config, returns);
        }
    }

    /// What a charge of `amount` meets. Call [`Lease::expire`] first.
    pub(super) fn look(&mut self, now: Time, amount: i64, config: &LeaseConfig) -> Look {
        let left = self.left();
        if left >= amount {
            return Look::Covered;
        }
        if let Some(denial) = self.denial
            && now < denial.until
            && amount >= denial.size
        {
            return Look::Denied(denial.ready);
        }
        if now < self.exact_until || (now < self.share_until && amount > self.share) {
            return Look::Exact;
        }
        let is_hot = self.demand.calls(now, config.horizon) >= HOT;
        if self.asking.is_none() && !is_hot {
            return Look::Exact;
        }
        Look::Short
    }

    /// Someone waits for a slice that serves `amount`. Tells whether an ask is to be made.
    pub(super) fn need(&mut self, amount: i64) -> bool {
        if self.asking.is_some() {
            return false;
        }
        let need = amount - self.left();
        self.needed = if self.needed == 0 {
            need
        } else {
            self.needed.min(need)
        };
        true
    }

    /// Takes units of a charge that is [`Look::Covered`].
    pub(super) fn spend(&mut self, now: Time, amount: i64) {
        self.take(now, amount, |_, _| {});
    }

    /// As [`Lease::spend`], for a call that is not decided yet.
    pub(super) fn hold(&mut self, now: Time, amount: i64, parts: &mut SmallVec<[Part; 4]>) {
        let hash = self.name.hash;
        self.take(now, amount, |slice, units| {
            slice.held += units;
            let slice = slice.id;
            parts.push(Part { hash, slice, units });
        });
    }

    fn take(&mut self, now: Time, amount: i64, mut taken: impl FnMut(&mut Slice, i64)) {
        let mut missing = amount;
        for slice in &mut self.slices {
            let units = missing.min(slice.left);
            if units > 0 {
                slice.left -= units;
                missing -= units;
                taken(slice, units);
            }
        }
        debug_assert_eq!(missing, 0, "only a covered charge is taken");
        self.spent_at = now;
    }

    /// Ends a hold: its units are spent, or `put_back`. Where the slice has ended they stay spent.
    pub(super) fn end_hold(&mut self, part: Part, put_back: bool) {
        if let Some(slice) = self.slices.iter_mut().find(|slice| slice.id == part.slice) {
            slice.held -= part.units;
            slice.left += if put_back { part.units } else { 0 };
        }
    }

    /// Whether the next slice is to be asked for, before this one is spent.
    pub(super) fn runs_low(&mut self, now: Time, config: &LeaseConfig) -> bool {
        if self.asking.is_some() || self.queued || now < self.exact_until {
            return false;
        }
        let usable = self.slices.iter().filter(|slice| slice.fresh_until > now);
        let usable: i64 = usable.map(|slice| slice.left).sum();
        usable <= self.low_water
            && self.denial.is_none_or(|denial| denial.until <= now)
            && self.demand.calls(now, config.horizon) >= HOT
    }

    /// Makes the ask, named `slice`; it counts as sent now.
    pub(super) fn ask(&mut self, now: Time, slice: u64, config: &LeaseConfig) -> Option<Ask> {
        self.queued = false;
        if self.asking.is_some() || now < self.exact_until {
            return None;
        }
        let need = std::mem::take(&mut self.needed).max(1);
        let mut reports: Vec<Report> = self.ended.drain(..).collect();
        self.slices.retain(|slice| {
            let spent = slice.left == 0 && slice.held == 0;
            reports.push(slice.report(spent, config));
            !spent
        });
        let demand = self.demand.units(now, config.horizon);
        let per_second = i128::from(demand) * 1_000_000 / i128::from(config.horizon.0.max(1));
        let wanted = demand.saturating_sub(self.left()).max(need).max(HOT);
        self.asking = Some(Asking {
            slice,
            need,
            sent: now,
            recalled: false,
        });
        Some(Ask {
            bucket: BucketName::clone(&self.name),
            slice,
            wanted,
            need,
            demand: i64::try_from(per_second).unwrap_or(i64::MAX),
            reports,
        })
    }

    /// Takes note of the answer to an ask.
    pub(super) fn answered(
        &mut self,
        now: Time,
        slice: u64,
        answer: Answer,
        config: &LeaseConfig,
        returns: &mut Vec<Return>,
    ) {
        let Some(asking) = self.asking.take_if(|asking| asking.slice == slice) else {
            // Given up before: it was given back, whatever it is.
            return;
        };
        self.level = answer.level;
        self.spec = answer.spec.or_else(|| self.spec.take());
        self.share = answer.share;
        self.share_until = now + config.exact_for;
        self.denial = None;
        match answer.rule {
            Rule::Exact => self.exact_until = now + config.exact_for,
            Rule::NotNow => self.exact_until = answer.again.unwrap_or(now + config.horizon),
            Rule::Given if answer.granted > 0 => {
                let size = 1;
                self.denial = answer.again.map(|again| Denial::until(size, again));
                self.low_water = answer.granted / 4;
            }
            Rule::Given => match answer.again {
                Some(again) => self.denial = Some(Denial::until(asking.need, again)),
                None => self.share = self.share.min(asking.need - 1),
            },
        }
        if answer.granted > 0 {
            let until = asking.sent + answer.ttl;
            let ahead = config.return_ahead.0.min(answer.ttl.0 / 8);
            let slice = Slice {
                id: slice,
                left: answer.granted,
                held: 0,
                fresh_until: Time(until.0 - answer.ttl.0 / 4),
                return_at: Time(until.0 - ahead),
                until,
            };
            if asking.recalled || slice.until <= now {
                self.end(slice, config, returns);
            } else {
                let later = |other: &Slice| other.until <= slice.until;
                let place = self.slices.iter().take_while(|other| later(other)).count();
                self.slices.insert(place, slice);
                self.spent_at = now;
            }
        }
    }

    /// Nobody knows what became of an ask: whatever it was granted goes back.
    pub(super) fn unanswered(
        &mut self,
        now: Time,
        slice: u64,
        config: &LeaseConfig,
        returns: &mut Vec<Return>,
    ) {
        if self
            .asking
            .take_if(|asking| asking.slice == slice)
            .is_some()
        {
            self.exact_until = now + config.horizon;
            returns.push(self.give_back(Report {
                slice,
                left: None,
                done: true,
                until: now + config.ttl + config.margin,
            }));
        }
    }

    /// Gives every slice back; one that is under way as soon as it comes.
    pub(super) fn recall(&mut self, now: Time, config: &LeaseConfig, returns: &mut Vec<Return>) {
        if let Some(asking) = &mut self.asking {
            asking.recalled = true;
        }
        self.exact_until = now + config.horizon;
        for slice in std::mem::take(&mut self.slices) {
            self.end(slice, config, returns);
        }
        self.flush(returns);
    }

    /// The store has denied a charge of `amount` until `ready`. What comes back meanwhile is not told to those
    /// who did not ask for a slice, so this is believed for a short time only.
    pub(super) fn denied(&mut self, now: Time, amount: i64, ready: Time, config: &LeaseConfig) {
        let until = ready.min(now + Micros(config.horizon.0 / 2));
        let has_larger = |denial: Denial| denial.until <= now || denial.size > amount;
        if self.denial.is_none_or(has_larger) {
            let size = amount;
            self.denial = Some(Denial { size, until, ready });
        }
    }

    /// Whoever was denied may ask again.
    pub(super) fn refill(&mut self, now: Time) {
        self.denial = None;
        self.share_until = now;
    }

    /// Gives back what is not spent in time. Tells when to look again; `None` when nothing is left to look at.
    pub(super) fn tick(
        &mut self,
        now: Time,
        config: &LeaseConfig,
        returns: &mut Vec<Return>,
    ) -> Option<Time> {
        let is_idle = self.spent_at + config.idle_after <= now;
        let ends = |slice: &Slice| is_idle || slice.return_at <= now;
        while let Some(first) = self.slices.first()
            && ends(first)
        {
            let slice = self.slices.remove(0);
            self.end(slice, config, returns);
        }
        if self.slices.is_empty() && is_idle {
            self.flush(returns);
        }
        let Some(first) = self.slices.first() else {
            let forget_at = self.seen_at + FORGET_AFTER;
            let over = forget_at <= now && self.asking.is_none();
            return (!over).then(|| forget_at.max(now + config.horizon));
        };
        Some(first.return_at.min(self.spent_at + config.idle_after))
    }

    /// What a charge has met.
    pub(super) fn state(&self, retry_after: Option<Micros>) -> Option<ChargeState> {
        let (spec, source) = self.spec.clone()?;
        Some(ChargeState {
            remaining: self.level.saturating_add(self.left()),
            retry_after,
            spec,
            source,
            spec_replaced: false,
        })
    }

    /// Takes note of a spec that the store has told.
    pub(super) fn learn(&mut self, state: &ChargeState) {
        if self.spec.is_none() {
            self.spec = Some((state.spec.clone(), state.source));
        }
        self.level = state.remaining;
    }

    pub(super) fn knows_spec(&self) -> bool {
        self.spec.is_some()
    }

    pub(super) fn left(&self) -> i64 {
        self.slices.iter().map(|slice| slice.left).sum()
    }

    pub(super) fn slices(&self) -> usize {
        self.slices.len()
    }

    fn end(&mut self, slice: Slice, config: &LeaseConfig, returns: &mut Vec<Return>) {
        let report = slice.report(true, config);
        if slice.left > 0 {
            returns.push(self.give_back(report));
        } else {
            self.ended.push(report);
        }
    }

    fn flush(&mut self, returns: &mut Vec<Return>) {
        for report in std::mem::take(&mut self.ended) {
            returns.push(self.give_back(report));
        }
    }

    fn give_back(&self, report: Report) -> Return {
        Return {
            bucket: self.name.clone(),
            report,
        }
    }
}

impl Denial {
    fn until(size: i64, until: Time) -> Self {
        Self {
            size,
            until,
            ready: until,
        }
    }
}

impl Slice {
    /// What is held may yet be put back, unless the slice is done with.
    fn report(&self, done: bool, config: &LeaseConfig) -> Report {
        let held = if done { 0 } else { self.held };
        Report {
            slice: self.id,
            left: Some(self.left + held),
            done,
            until: self.until + config.margin,
        }
    }
}
