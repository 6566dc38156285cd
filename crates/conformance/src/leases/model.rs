//! The store's rules in their shortest form: no fairness, no lines, one bucket.

use super::{Granted, SliceStore};
use std::collections::BTreeMap;
use trellis_core::limits::LimitSpec;
use trellis_core::limits::leases::{Ask, LeaseConfig, Report, Rule};

/// For how long no slice is granted after a recall.
const LULL: u64 = 1_000_000;

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Slices are closed when the holder's time is over by the store's clock, without the margin and by half.
    ClosesEarly,
    /// What comes back is credited again, as if a doubled message counted.
    CreditsTwice,
    /// What is refilled is not held back by open slices.
    RefillsOverSlices,
    /// A closed slice becomes room for the time before it was closed.
    ClosesBeforeRefill,
    /// A window counts a slice as used when it was granted.
    CountsFromGrant,
    /// A closed slice is given back instead of being spent.
    GivesBackTheDead,
}

#[derive(Clone, Copy, Debug)]
struct Slice {
    daemon: usize,
    units: i64,
    /// In a window, where it is counted.
    part: usize,
    close_at: u64,
}

/// A store of one bucket.
pub struct Model {
    spec: LimitSpec,
    fault: Option<Fault>,
    /// A rate's level in units times period, and when it was so.
    level: i128,
    at: u64,
    /// A window's charges: when they count as used, units.
    parts: Vec<(u64, i64)>,
    slices: BTreeMap<u64, Slice>,
    recall: u64,
    recalled: Vec<usize>,
}

impl Model {
    /// A full bucket of a rate or a window.
    #[must_use]
    pub fn new(spec: LimitSpec, fault: Option<Fault>) -> Self {
        let level = match &spec {
            LimitSpec::Rate(rate) => i128::from(rate.burst()) * i128::from(rate.period().0),
            _ => 0,
        };
        Self {
            spec,
            fault,
            level,
            at: 0,
            parts: Vec::new(),
            slices: BTreeMap::new(),
            recall: 0,
            recalled: Vec::new(),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn open(&self) -> i64 {
        self.slices.values().map(|slice| slice.units).sum()
    }

    fn refill(&mut self, now: u64) {
        if let LimitSpec::Rate(rate) = &self.spec {
            let open = if self.is(Fault::RefillsOverSlices) {
                0
            } else {
                self.open()
            };
            let period = i128::from(rate.period().0);
            let most = i128::from(rate.burst() - open) * period;
            let gained = i128::from(rate.amount()) * i128::from(now.saturating_sub(self.at));
            self.level = self.level.max((self.level + gained).min(most));
            self.at = now.max(self.at);
        }
    }

    fn advance(&mut self, now: u64) {
        let mut due: Vec<(u64, u64)> = self
            .slices
            .iter()
            .map(|(id, it)| (it.close_at, *id))
            .collect();
        due.retain(|(close_at, _)| *close_at <= now);
        due.sort_unstable();
        for (close_at, id) in due {
            if !self.is(Fault::ClosesBeforeRefill) {
                self.refill(close_at);
            }
            let slice = self.slices.remove(&id);
            if let (true, Some(slice)) = (self.is(Fault::GivesBackTheDead), slice) {
                self.credit(slice, slice.units);
            }
        }
        self.refill(now);
    }

    fn available(&self, now: u64) -> i64 {
        match &self.spec {
            LimitSpec::Rate(rate) => {
                i64::try_from(self.level.div_euclid(i128::from(rate.period().0))).unwrap_or(0)
            }
            LimitSpec::Window(window) => {
                let counts = |(used_at, _): &&(u64, i64)| used_at + window.period().0 > now;
                let used: i64 = self
                    .parts
                    .iter()
                    .filter(counts)
                    .map(|(_, units)| units)
                    .sum();
                window.amount() - used
            }
            _ => 0,
        }
    }

    fn take(&mut self, used_at: u64, units: i64) -> usize {
        if let LimitSpec::Rate(rate) = &self.spec {
            self.level -= i128::from(units) * i128::from(rate.period().0);
            return 0;
        }
        self.parts.push((used_at, units));
        self.parts.len() - 1
    }

    fn credit(&mut self, slice: Slice, units: i64) {
        match &self.spec {
            LimitSpec::Rate(rate) => {
                let period = i128::from(rate.period().0);
                let most = i128::from(rate.burst() - self.open()) * period;
                let more = i128::from(units) * period;
                self.level = self.level.max((self.level + more).min(most));
            }
            _ => self.parts[slice.part].1 -= units,
        }
    }

    fn report(&mut self, daemon: usize, report: Report) {
        let Some(slice) = self.slices.get(&report.slice).copied() else {
            return;
        };
        if slice.daemon != daemon {
            return;
        }
        let left = report
            .left
            .map_or(slice.units, |left| left.min(slice.units));
        if !report.done {
            if let Some(slice) = self.slices.get_mut(&report.slice) {
                slice.units = left;
            }
            return;
        }
        self.slices.remove(&report.slice);
        self.credit(slice, left);
        if self.is(Fault::CreditsTwice) {
            self.credit(slice, left);
        }
    }

    fn recall(&mut self, now: u64) {
        if self.recall <= now {
            self.recalled
                .extend(self.slices.values().map(|slice| slice.daemon));
        }
        let last = self.slices.values().map(|slice| slice.close_at).max();
        self.recall = last.unwrap_or(now).max(now) + LULL;
    }
}

impl SliceStore for Model {
    fn lease(&mut self, now: u64, daemon: usize, ask: &Ask, config: &LeaseConfig) -> Granted {
        self.advance(now);
        for report in &ask.reports {
            self.report(daemon, *report);
        }
        let level = self.available(now).max(0);
        let mut answer = Granted {
            units: 0,
            again: Some(now + 20_000),
            level,
            share: i64::MAX,
            rule: Rule::Given,
            ttl: config.ttl.0,
        };
        let units = ask.wanted.min(level);
        if self.recall > now {
            answer.rule = Rule::NotNow;
            answer.again = Some(self.recall);
        } else if units >= ask.need && !self.slices.contains_key(&ask.slice) {
            let close_at = if self.is(Fault::ClosesEarly) {
                now + config.ttl.0 / 2
            } else {
                now + config.ttl.0 + config.margin.0
            };
            let used_at = if self.is(Fault::CountsFromGrant) {
                now
            } else {
                close_at
            };
            let part = self.take(used_at, units);
            let slice = Slice {
                daemon,
                units,
                part,
                close_at,
            };
            self.slices.insert(ask.slice, slice);
            answer.units = units;
            answer.again = None;
        }
        answer
    }

    fn give_back(&mut self, now: u64, daemon: usize, report: Report) {
        self.advance(now);
        self.report(daemon, report);
    }

    fn charge(&mut self, now: u64, _: usize, amount: i64) -> bool {
        self.advance(now);
        let available = self.available(now);
        if available >= amount {
            self.take(now, amount);
            return true;
        }
        if amount <= available + self.open() {
            self.recall(now);
        }
        false
    }

    fn recalled(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.recalled)
    }

    fn missing(&mut self, now: u64) -> i64 {
        self.advance(now);
        self.spec.capacity() - self.available(now)
    }
}
