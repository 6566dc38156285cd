//! A daemon's share of a limit: of `count` daemons together exactly the limit, never more.

use trellis_core::limits::{
    CalendarSpec, ConcurrencySpec, LimitSpec, MAX_PERIOD, RateSpec, Share, WindowSpec,
};
use trellis_core::{Micros, Result};

/// The share of a limit, or nothing where the share is nothing.
///
/// A rate of `amount / period` is one of `amount / (period * count)`: exact however small the amount is. Where
/// that period is too long to be allowed the amount is divided instead. Its burst, and the amounts of all other
/// kinds, are divided.
pub fn share_of(spec: &LimitSpec, share: Share) -> Result<Option<LimitSpec>> {
    let of = |amount: i64| Some(share.of(amount)).filter(|part| *part > 0);
    Ok(match spec {
        LimitSpec::Rate(rate) => {
            let Some(burst) = of(rate.burst()) else {
                return Ok(None);
            };
            let longer = Micros(rate.period().0.saturating_mul(share.count.max(1)));
            let spec = if longer <= MAX_PERIOD {
                Some(RateSpec::new(rate.amount(), longer, burst)?)
            } else {
                match of(rate.amount()) {
                    Some(amount) => Some(RateSpec::new(amount, rate.period(), burst)?),
                    None => None,
                }
            };
            spec.map(LimitSpec::Rate)
        }
        LimitSpec::Window(window) => match of(window.amount()) {
            Some(amount) => Some(LimitSpec::Window(WindowSpec::new(amount, window.period())?)),
            None => None,
        },
        LimitSpec::Calendar(calendar) => match of(calendar.amount()) {
            Some(amount) => {
                let spec = CalendarSpec::new(amount, calendar.unit(), calendar.time_zone())?;
                Some(LimitSpec::Calendar(spec))
            }
            None => None,
        },
        LimitSpec::Concurrency(slots) => match of(slots.slots()) {
            Some(slots) => Some(LimitSpec::Concurrency(ConcurrencySpec::new(slots)?)),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use trellis_core::limits::MAX_AMOUNT;

    fn shares(spec: &LimitSpec, count: u64) -> Vec<LimitSpec> {
        let share = |index| share_of(spec, Share { index, count }).unwrap();
        (0..count).filter_map(share).collect()
    }

    proptest! {
        #[test]
        fn all_shares_together_are_the_limit_and_never_more(
            amount in 1..=MAX_AMOUNT, period in 1_000..=31_622_400_000_000_u64,
            burst in 1..=MAX_AMOUNT, count in 1..40_u64,
        ) {
            let period = Micros(period);
            let window = LimitSpec::Window(WindowSpec::new(amount, period).unwrap());
            let slots = LimitSpec::Concurrency(ConcurrencySpec::new(amount).unwrap());
            for spec in [window, slots] {
                let capacities = shares(&spec, count);
                prop_assert_eq!(capacities.iter().map(LimitSpec::capacity).sum::<i64>(), amount);
            }
            let rate = LimitSpec::Rate(RateSpec::new(amount, period, burst).unwrap());
            let parts = shares(&rate, count);
            let bursts: i64 = parts.iter().map(LimitSpec::capacity).sum();
            prop_assert!(bursts <= burst);
            let per_period: u128 = parts.iter().map(|part| match part {
                LimitSpec::Rate(part) => {
                    u128::from(part.amount().unsigned_abs()) * u128::from(period.0)
                        / u128::from(part.period().0)
                }
                _ => 0,
            }).sum();
            prop_assert!(per_period <= u128::from(amount.unsigned_abs()));
        }
    }

    #[test]
    fn the_first_daemons_get_what_cannot_be_divided() {
        let parts: Vec<i64> = (0..3)
            .map(|index| Share { index, count: 3 }.of(100))
            .collect();
        assert_eq!(parts, [34, 33, 33]);
    }
}
