//! Whether a bucket was ever over: pure arithmetic over what clients saw, that shares no code with the
//! limits it checks.
//!
//! A decision lies between a request and its answer, and units that can have come back are taken as come
//! back, so that the checker never accuses a limit that kept its promise. What it can miss is as small
//! as the calls are short. Debt is not counted: it is not admitted, and makes a limit stricter only.

mod rate;
mod slots;
mod window;

use crate::history::{Grant, Micros};
use std::ops::Range;

/// How far the clocks of this process and of the store may drift apart, in millionths: more than
/// adjusting a clock makes it gain or lose.
const DRIFT_PPM: u64 = 1_000;

/// What a bucket may admit.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// In any time at most `burst` and the share of `amount` that the time is of `period`.
    Rate {
        amount: u64,
        period: Micros,
        burst: u64,
    },
    /// At most `amount` in any interval of `period`.
    Window { amount: u64, period: Micros },
    /// At most `amount` in each period; one begins at `start` of the campaign's clock, which may lie
    /// before its zero.
    Calendar {
        amount: u64,
        period: Micros,
        start: i64,
    },
    /// At most so many at a time.
    Slots(u64),
}

impl Rule {
    /// What a bucket admits at once when it is full.
    fn capacity(self) -> u64 {
        match self {
            Self::Rate { burst, .. } => burst,
            Self::Window { amount, .. } | Self::Calendar { amount, .. } => amount,
            Self::Slots(slots) => slots,
        }
    }
}

/// What the arithmetic says of one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Units admitted, less those given back.
    pub admitted: u64,
    /// The most that may be admitted in the whole time.
    pub allowed: u64,
    /// Intervals whose sum was held against what they allow.
    pub intervals: u64,
    /// The most by which one interval is over.
    pub over: u64,
    /// How full the fullest interval surely was: 1 is all that is allowed.
    pub fullest: f64,
}

impl Verdict {
    /// Units over, in total or in the worst interval.
    pub fn over(&self) -> u64 {
        self.over.max(self.admitted.saturating_sub(self.allowed))
    }

    /// Of two stretches. A sum that is over in one is not made good by the other.
    fn and(self, other: Self) -> Self {
        Self {
            intervals: self.intervals + other.intervals,
            over: self.over().max(other.over()),
            fullest: self.fullest.max(other.fullest),
            ..self
        }
    }
}

/// Checks the grants of one bucket, which were made in this time.
pub fn check(rule: Rule, grants: &[Grant], time: Micros) -> Verdict {
    let worst = match rule {
        Rule::Rate {
            amount,
            period,
            burst,
        } => rate::worst(amount, period, burst, grants),
        Rule::Window { amount, period } => window::sliding(amount, period, grants),
        Rule::Calendar {
            amount,
            period,
            start,
        } => window::calendar(amount, period, start, grants),
        Rule::Slots(slots) => slots::worst(slots, grants),
    };
    let sum = |units: fn(&Grant) -> u64| grants.iter().map(units).sum::<u64>();
    Verdict {
        admitted: sum(|grant| grant.amount).saturating_sub(sum(Grant::refunded)),
        allowed: allowed(rule, time),
        ..worst
    }
}

/// As [`check`], for a bucket that was lost with all others within these times, in order: it begins anew each time,
/// so a loss allows one more capacity, in total and in every interval that it lies in. Each stretch between losses
/// is checked by itself; a decision that may have been made within a loss counts for the total alone.
pub fn check_apart(
    rule: Rule,
    grants: &[Grant],
    time: Range<Micros>,
    losses: &[Range<Micros>],
) -> Verdict {
    let begins = losses.iter().map(|loss| loss.end);
    let ends = losses.iter().map(|loss| loss.start);
    let stretches = std::iter::once(time.start)
        .chain(begins)
        .zip(ends.chain([time.end]));
    let mut whole = Verdict::default();
    for (number, (begin, end)) in stretches.enumerate() {
        // What lies before the first or after the last loss need not lie within the time that was measured.
        let (first, last) = (number == 0, number == losses.len());
        let own = grants.iter().filter(|grant| {
            (first || grant.at.sent >= begin) && (last || grant.at.received <= end)
        });
        let mut own: Vec<Grant> = own.copied().collect();
        if matches!(rule, Rule::Rate { .. }) {
            // What was granted before it may come back in it.
            own.extend(grants.iter().filter_map(|grant| {
                let settled = grant.settled?;
                let earlier = !first && grant.at.sent < begin;
                (earlier && settled.at.received >= begin).then_some(Grant {
                    amount: 0,
                    ..*grant
                })
            }));
        }
        whole = whole.and(check(rule, &own, end.saturating_sub(begin)));
    }
    let count = u64::try_from(losses.len()).unwrap_or(u64::MAX);
    let sum = |units: fn(&Grant) -> u64| grants.iter().map(units).sum::<u64>();
    Verdict {
        admitted: sum(|grant| grant.amount).saturating_sub(sum(Grant::refunded)),
        allowed: allowed(rule, time.end.saturating_sub(time.start))
            .saturating_add(count.saturating_mul(rule.capacity())),
        ..whole
    }
}

/// The most that a bucket may admit, net of what came back, in the whole time.
fn allowed(rule: Rule, time: Micros) -> u64 {
    let time = time + drift(time);
    match rule {
        Rule::Rate {
            amount,
            period,
            burst,
        } => {
            let refill = u128::from(amount) * u128::from(time) / u128::from(period);
            burst + u64::try_from(refill).unwrap_or(u64::MAX)
        }
        Rule::Window { amount, period } => amount * (time / period + 1),
        // One more, since the first may begin within a period.
        Rule::Calendar { amount, period, .. } => amount * (time / period + 2),
        // Slots come back when they are settled: nothing bounds their sum.
        Rule::Slots(_) => u64::MAX,
    }
}

/// What a time may be off by.
fn drift(time: Micros) -> Micros {
    time.saturating_mul(DRIFT_PPM) / 1_000_000 + 10
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share, of sums far below 2^52"
)]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
