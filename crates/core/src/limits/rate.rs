//! The token bucket, in integers.
//!
//! The level is kept in whole units plus a remainder in units of 1/period, so that no fraction is ever
//! lost: after any sequence of readings the refill is exactly `floor(amount * elapsed / period)`.
//! With amount and burst up to 10^12 and periods up to 3.2 * 10^13 us every product fits 128 bits.

use super::spec::RateSpec;
use crate::{Micros, Time};

/// A token bucket and its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateBucket {
    pub(super) spec: RateSpec,
    /// Whole units available; negative while there is debt; never above the burst.
    level: i64,
    /// Fraction of a unit, in 1/period. Always below the period, and 0 when full.
    remainder: u64,
    /// When `level` and `remainder` were true.
    at: Time,
}

impl RateBucket {
    /// A bucket holding `level` units, at most the burst.
    pub(super) fn new(spec: RateSpec, level: i64, now: Time) -> Self {
        let level = level.min(spec.burst);
        Self {
            spec,
            level,
            remainder: 0,
            at: now,
        }
    }

    /// The same bucket under another spec: its level kept, with the fraction.
    pub(super) fn respec(&self, spec: RateSpec) -> Self {
        let scaled =
            u128::from(self.remainder) * u128::from(spec.period.0) / u128::from(self.spec.period.0);
        let full = self.level >= spec.burst;
        Self {
            level: self.level.min(spec.burst),
            remainder: if full {
                0
            } else {
                u64::try_from(scaled).unwrap_or(0)
            },
            at: self.at,
            spec,
        }
    }

    /// Adds what has been refilled until `now`.
    pub(super) fn refill(&mut self, now: Time) {
        let elapsed = now - self.at;
        if elapsed == Micros::ZERO {
            return;
        }
        self.at = now;
        if self.level >= self.spec.burst {
            return;
        }
        let (units, remainder) = Self::gained(&self.spec, elapsed, self.remainder);
        let missing = self.spec.burst.saturating_sub(self.level);
        if units >= i128::from(missing) {
            self.level = self.spec.burst;
            self.remainder = 0;
        } else {
            // `units` is below `missing`, which is an i64.
            self.level += i64::try_from(units).unwrap_or(missing);
            self.remainder = remainder;
        }
    }

    /// Whole units and remainder gained in `elapsed` on top of a remainder.
    fn gained(spec: &RateSpec, elapsed: Micros, remainder: u64) -> (i128, u64) {
        let amount = spec.amount.unsigned_abs();
        let period = spec.period.0;
        let small = elapsed
            .0
            .checked_mul(amount)
            .and_then(|gain| gain.checked_add(remainder));
        if let Some(gain) = small {
            return (i128::from(gain / period), gain % period);
        }
        let gain = u128::from(elapsed.0) * u128::from(amount) + u128::from(remainder);
        let period = u128::from(period);
        let units = i128::try_from(gain / period).unwrap_or(i128::MAX);
        (units, u64::try_from(gain % period).unwrap_or(0))
    }

    /// Units available. Call [`RateBucket::refill`] first.
    pub(super) fn available(&self) -> i64 {
        self.level
    }

    /// The first time at which `need` units will have been refilled, when nothing is taken. `need` may
    /// exceed the burst: then it is the time at which the last of several takers is served.
    pub(super) fn ready_at(&self, need: i64) -> Time {
        let missing = i128::from(need) - i128::from(self.level);
        if missing <= 0 {
            return self.at;
        }
        let missing = missing * i128::from(self.spec.period.0) - i128::from(self.remainder);
        let amount = i128::from(self.spec.amount);
        let wait = (missing + amount - 1) / amount;
        self.at + Micros(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// Takes `amount` units, into debt if need be.
    pub(super) fn take(&mut self, amount: i64) {
        self.level = self.level.saturating_sub(amount);
    }

    /// Gives back up to `amount` units, never above the burst. Returns how many.
    pub(super) fn give_back(&mut self, amount: i64) -> i64 {
        let given = amount
            .min(self.spec.burst.saturating_sub(self.level))
            .max(0);
        self.level += given;
        if self.level >= self.spec.burst {
            self.remainder = 0;
        }
        given
    }

    /// Gives back what was taken at `taken_at` and never used: less what was refilled since, for that may
    /// stand in the room that the charge made, and both together would admit more than the rate allows.
    pub(super) fn take_back(&mut self, amount: i64, taken_at: Time) -> i64 {
        let gain = Self::gained(&self.spec, self.at - taken_at, 0);
        let units = i128::from(amount) - gain.0;
        let (units, remainder) = match self.remainder.checked_sub(gain.1) {
            Some(remainder) => (units, remainder),
            None => (units - 1, self.remainder + self.spec.period.0 - gain.1),
        };
        if units < 0 || (units == 0 && remainder < self.remainder) {
            return 0;
        }
        self.remainder = remainder;
        // Below `amount`, which is an i64.
        self.give_back(i64::try_from(units).unwrap_or(amount))
    }

    /// Lowers the level to `level`; never raises it.
    pub(super) fn lower_to(&mut self, level: i64) {
        if self.level > level {
            self.level = level;
            self.remainder = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec(amount: i64, period: Micros, burst: i64) -> RateSpec {
        RateSpec::new(amount, period, burst).unwrap()
    }

    #[test]
    fn one_a_day_and_a_hundred_million_a_minute_refill_without_drift() {
        let day = 86_400_000_000;
        for (amount, period) in [(1, day), (100_000_000, 60_000_000), (7, 86_399_999_999)] {
            let spec = spec(amount, Micros(period), 1_000_000_000_000);
            let mut bucket = RateBucket::new(spec, 0, Time(0));
            // Odd steps, so that nearly every reading leaves a fraction.
            let mut at = 0;
            for step in 0..200_000_u64 {
                at += 1 + step * 7_919 % 1_000_003;
                bucket.refill(Time(at));
            }
            let exact = u128::from(at) * u128::from(amount.unsigned_abs()) / u128::from(period);
            assert_eq!(u128::from(bucket.available().unsigned_abs()), exact);
        }
    }

    proptest! {
        #[test]
        fn ready_at_is_the_first_microsecond_that_suffices(
            amount in 1..=MAX, period in 1_000..=31_622_400_000_000_u64, burst in 1..=MAX,
            taken in 0..=MAX, step in 0..=10_000_000_000_u64, need in 1..=MAX,
        ) {
            let mut bucket = RateBucket::new(spec(amount, Micros(period), burst), burst, Time(5));
            bucket.take(taken.min(burst));
            bucket.refill(Time(5 + step));
            let need = need.min(burst);
            let ready = bucket.ready_at(need);
            let mut then = bucket.clone();
            then.refill(ready);
            prop_assert!(then.available() >= need);
            if ready > Time(5 + step) {
                let mut before = bucket.clone();
                before.refill(Time(ready.0 - 1));
                prop_assert!(before.available() < need);
            }
        }

        // Whatever else is taken meanwhile: the level never exceeds that of a bucket that knew nothing of it.
        #[test]
        fn what_is_taken_back_never_leaves_more_than_without_it(
            amount in 1..50_i64, taken in 1..=40_i64, others in 0..=40_i64,
            before in 0..20_000_u64, between in 0..20_000_u64, after in 0..20_000_u64,
        ) {
            let mut with = RateBucket::new(spec(amount, Micros(1_000), 40), 0, Time(0));
            with.refill(Time(before));
            prop_assume!(taken <= with.available());
            let mut without = with.clone();
            with.take(taken);
            for bucket in [&mut with, &mut without] {
                bucket.refill(Time(before + between));
            }
            let others = others.min(with.available());
            for bucket in [&mut with, &mut without] {
                bucket.take(others);
                bucket.refill(Time(before + between + after));
            }
            with.take_back(taken, Time(before));
            let fractions = |bucket: &RateBucket| (bucket.level, bucket.remainder);
            prop_assert!(fractions(&with) <= fractions(&without));
            if between + after == 0 {
                prop_assert_eq!(with, without);
            }
        }

        #[test]
        fn the_level_never_exceeds_the_burst(
            steps in prop::collection::vec((0..1_000_000_u64, 0..50_i64, 0..50_i64), 1..100),
        ) {
            let mut bucket = RateBucket::new(spec(3, Micros(1_000), 40), 40, Time(0));
            let mut at = 0;
            for (step, take, back) in steps {
                at += step;
                bucket.refill(Time(at));
                bucket.take(take);
                bucket.give_back(back);
                prop_assert!(bucket.available() <= 40);
            }
        }
    }

    const MAX: i64 = crate::limits::MAX_AMOUNT;
}
