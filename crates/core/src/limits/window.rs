//! The sliding window: at most `amount` in any half-open interval of length `period`.
//!
//! Charges are counted in sub-windows. A sub-window opens with its first charge, takes those of the
//! next `period / SUB_WINDOWS`, and its units come back together one period after its *last* charge.
//! So no unit comes back early, whatever the interval one looks at; a unit comes back at most one
//! sub-window late; and a burst at one instant comes back after exactly one period. At most
//! `SUB_WINDOWS + 2` sub-windows are ever kept.

use super::spec::{SUB_WINDOWS, WindowSpec};
use crate::{Micros, Time};
use std::collections::VecDeque;

#[derive(Clone, Debug, PartialEq, Eq)]
struct SubWindow {
    first: Time,
    last: Time,
    used: i64,
}

/// A sliding window and what was used in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowBucket {
    pub(super) spec: WindowSpec,
    sub_windows: VecDeque<SubWindow>,
    /// The sum over `sub_windows`; above the amount while there is debt.
    used: i64,
}

impl WindowBucket {
    /// A window of which `available` units are unused, the others used now.
    pub(super) fn new(spec: WindowSpec, available: i64, now: Time) -> Self {
        let used = spec.amount.saturating_sub(available).max(0);
        let mut bucket = Self {
            spec,
            sub_windows: VecDeque::new(),
            used: 0,
        };
        if used > 0 {
            bucket.take(used, now);
        }
        bucket
    }

    /// The same window under another spec: what was used stays used.
    pub(super) fn respec(&self, spec: WindowSpec) -> Self {
        Self {
            spec,
            sub_windows: self.sub_windows.clone(),
            used: self.used,
        }
    }

    /// The same window under another spec: the available share stays the same, rounded down.
    pub(super) fn rescale(&self, spec: WindowSpec, available: i64) -> Self {
        let used = spec.amount.saturating_sub(available).max(0);
        let (new, old) = (i128::from(spec.amount), i128::from(self.spec.amount));
        let mut sub_windows = self.sub_windows.clone();
        let mut rest = used;
        for sub_window in &mut sub_windows {
            let scaled = i128::from(sub_window.used) * new / old;
            sub_window.used = i64::try_from(scaled).unwrap_or(i64::MAX).min(rest);
            rest -= sub_window.used;
        }
        if let Some(newest) = sub_windows.back_mut() {
            newest.used += rest;
        }
        Self {
            spec,
            sub_windows,
            used,
        }
    }

    /// Forgets the sub-windows that are past at `now`.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some(oldest) = self.sub_windows.front()
            && oldest.last + self.spec.period <= now
        {
            self.used = self.used.saturating_sub(oldest.used);
            self.sub_windows.pop_front();
        }
    }

    /// Units available. Call [`WindowBucket::expire`] first.
    pub(super) fn available(&self) -> i64 {
        self.spec.amount.saturating_sub(self.used)
    }

    /// The first time at which `need` units are available, when nothing is taken. `need` may exceed
    /// the amount: then whole periods pass until the last of several takers is served.
    pub(super) fn ready_at(&self, need: i64, now: Time) -> Time {
        let rounds = (need - 1) / self.spec.amount;
        let need = need - rounds * self.spec.amount;
        let rounds = Micros(self.spec.period.0.saturating_mul(rounds.unsigned_abs()));
        let mut available = self.available();
        if available >= need {
            return now + rounds;
        }
        let ready = self.sub_windows.iter().find_map(|sub_window| {
            available = available.saturating_add(sub_window.used);
            (available >= need).then_some(sub_window.last + self.spec.period)
        });
        ready.unwrap_or(now + self.spec.period) + rounds
    }

    /// Takes `amount` units, into debt if need be.
    pub(super) fn take(&mut self, amount: i64, now: Time) {
        self.used = self.used.saturating_add(amount);
        let width = Micros(self.spec.period.0 / SUB_WINDOWS);
        match self.sub_windows.back_mut() {
            Some(newest) if now < newest.first + width || now == newest.last => {
                newest.last = now;
                newest.used = newest.used.saturating_add(amount);
            }
            _ => self.sub_windows.push_back(SubWindow {
                first: now,
                last: now,
                used: amount,
            }),
        }
    }

    /// Whether the newest sub-window had begun by then.
    pub(super) fn is_in_newest(&self, time: Time) -> bool {
        let newest = self.sub_windows.back();
        newest.is_some_and(|newest| newest.first <= time)
    }

    /// Gives back up to `amount` units taken at `taken_at`: none when that sub-window is past, for
    /// they have come back already. Returns how many.
    pub(super) fn give_back(&mut self, amount: i64, taken_at: Time) -> i64 {
        let holder = self
            .sub_windows
            .iter_mut()
            .rev()
            .find(|sub_window| sub_window.first <= taken_at && taken_at <= sub_window.last);
        let Some(sub_window) = holder else { return 0 };
        let given = amount.min(sub_window.used).max(0);
        sub_window.used -= given;
        self.used -= given;
        given
    }

    /// Counts units as used now until at most `level` are available; never makes more available.
    pub(super) fn lower_to(&mut self, level: i64, now: Time) {
        let excess = self.available().saturating_sub(level);
        if excess > 0 {
            self.take(excess, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_interval_of_one_period_ever_holds_more_than_the_amount(
            steps in prop::collection::vec((0..400_u64, 1..6_i64), 1..400),
        ) {
            let (amount, period) = (10, 6_000);
            let mut bucket =
                WindowBucket::new(WindowSpec::new(amount, Micros(period)).unwrap(), amount, Time(0));
            let mut admitted: Vec<(u64, i64)> = Vec::new();
            let mut at = 0;
            for (step, want) in steps {
                at += step;
                bucket.expire(Time(at));
                let in_period: i64 =
                    admitted.iter().filter(|(then, _)| then + period > at).map(|(_, n)| n).sum();
                // Late by at most one sub-window: what is older than that must be back.
                let late: i64 = admitted
                    .iter()
                    .filter(|(then, _)| then + period + period / SUB_WINDOWS > at)
                    .map(|(_, n)| n)
                    .sum();
                prop_assert!(bucket.available() <= amount - in_period);
                prop_assert!(bucket.available() >= amount - late);
                prop_assert!(bucket.sub_windows.len() as u64 <= SUB_WINDOWS + 2);
                if bucket.available() >= want {
                    bucket.take(want, Time(at));
                    admitted.push((at, want));
                } else {
                    let ready = bucket.ready_at(want, Time(at));
                    let (mut then, mut before) = (bucket.clone(), bucket.clone());
                    then.expire(ready);
                    before.expire(Time(ready.0 - 1));
                    prop_assert!(then.available() >= want && before.available() < want);
                }
            }
        }
    }

    #[test]
    fn a_burst_at_one_instant_comes_back_after_exactly_one_period() {
        let spec = WindowSpec::new(100, Micros::from_secs(60)).unwrap();
        let mut bucket = WindowBucket::new(spec, 100, Time(7));
        bucket.take(100, Time(7));
        assert_eq!(bucket.ready_at(1, Time(7)), Time(60_000_007));
        bucket.expire(Time(60_000_006));
        assert_eq!(bucket.available(), 0);
        bucket.expire(Time(60_000_007));
        assert_eq!(bucket.available(), 100);
    }

    #[test]
    fn a_refund_does_not_reach_into_another_window() {
        let spec = WindowSpec::new(10, Micros::from_secs(60)).unwrap();
        let mut bucket = WindowBucket::new(spec, 10, Time(0));
        bucket.take(10, Time(0));
        bucket.expire(Time(60_000_000));
        bucket.take(4, Time(60_000_000));
        assert_eq!(bucket.give_back(10, Time(0)), 0);
        assert_eq!(bucket.available(), 6);
        assert_eq!(bucket.give_back(10, Time(60_000_000)), 4);
    }
}
