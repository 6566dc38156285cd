//! How much is asked for here, lately: a sliding count over one horizon.

use crate::{Micros, Time};

/// Units and calls of about the last horizon. Two counts, of this stretch and of the one before, stand for
/// a sliding one: the older count fades as the newer stretch goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    since: Time,
    now: Count,
    before: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    units: i64,
    calls: i64,
}

impl Demand {
    /// Counts a call.
    pub(super) fn add(&mut self, now: Time, units: i64, horizon: Micros) {
        self.turn(now, horizon);
        self.now.units = self.now.units.saturating_add(units);
        self.now.calls += 1;
    }

    /// Takes a call of someone else for one that was not made: it competes for this place.
    pub(super) fn fade(&mut self, now: Time, horizon: Micros) {
        self.turn(now, horizon);
        self.now.calls -= 1;
    }

    /// Units over the last horizon.
    pub(super) fn units(&mut self, now: Time, horizon: Micros) -> i64 {
        self.turn(now, horizon);
        self.slide(now, horizon, |count| count.units)
    }

    /// Calls over the last horizon.
    pub(super) fn calls(&mut self, now: Time, horizon: Micros) -> i64 {
        self.turn(now, horizon);
        self.slide(now, horizon, |count| count.calls)
    }

    fn turn(&mut self, now: Time, horizon: Micros) {
        let elapsed = now - self.since;
        if elapsed < horizon {
            return;
        }
        let next = self.since + horizon;
        let adjoins = now - next < horizon;
        self.before = if adjoins { self.now } else { Count::default() };
        self.now = Count::default();
        self.since = if adjoins { next } else { now };
    }

    fn slide(&self, now: Time, horizon: Micros, of: impl Fn(&Count) -> i64) -> i64 {
        let rest = horizon.0.saturating_sub((now - self.since).0);
        let before = i128::from(of(&self.before)) * i128::from(rest) / i128::from(horizon.0.max(1));
        of(&self.now).saturating_add(i64::try_from(before).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_demand_is_told_as_it_is_and_an_old_one_is_forgotten() {
        let horizon = Micros::from_millis(250);
        let mut demand = Demand::default();
        for tick in 0..1_000 {
            demand.add(Time(1_000_000 + tick * 1_000), 3, horizon);
        }
        let now = Time(2_000_000);
        assert!(
            (700..=760).contains(&demand.units(now, horizon)),
            "{demand:?}"
        );
        assert!(
            (230..=255).contains(&demand.calls(now, horizon)),
            "{demand:?}"
        );
        assert_eq!(demand.units(now + horizon + horizon, horizon), 0);
    }
}
