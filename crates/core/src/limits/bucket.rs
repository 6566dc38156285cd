//! One bucket of any kind: how much is available, when more will be, and how it changes.

use super::calendar::CalendarBucket;
use super::rate::RateBucket;
pub use super::slots::Hold;
use super::slots::SlotBucket;
use super::spec::LimitSpec;
use super::types::LevelPolicy;
use super::window::WindowBucket;
use crate::{Now, Time};
use std::borrow::Cow;

/// A limit for one key: the spec in force and the level.
///
/// Every reading needs the bucket brought to the present first, by [`Bucket::advance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// A token bucket.
    Rate(RateBucket),
    /// A sliding window.
    Window(WindowBucket),
    /// A calendar window.
    Calendar(CalendarBucket),
    /// Slots.
    Slots(SlotBucket),
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(spec: &LimitSpec, now: Now) -> Self {
        Self::holding(spec, spec.capacity(), now)
    }

    /// A bucket with `available` units, at most its capacity. Slots start free.
    fn holding(spec: &LimitSpec, available: i64, now: Now) -> Self {
        match spec {
            LimitSpec::Rate(spec) => Self::Rate(RateBucket::new(spec.clone(), available, now.mono)),
            LimitSpec::Window(spec) => {
                Self::Window(WindowBucket::new(spec.clone(), available, now.mono))
            }
            LimitSpec::Calendar(spec) => {
                Self::Calendar(CalendarBucket::new(spec.clone(), available, now.wall))
            }
            LimitSpec::Concurrency(spec) => Self::Slots(SlotBucket::new(spec.clone())),
        }
    }

    /// The spec in force.
    #[must_use]
    pub fn spec(&self) -> LimitSpec {
        match self {
            Self::Rate(bucket) => LimitSpec::Rate(bucket.spec.clone()),
            Self::Window(bucket) => LimitSpec::Window(bucket.spec.clone()),
            Self::Calendar(bucket) => LimitSpec::Calendar(bucket.spec.clone()),
            Self::Slots(bucket) => LimitSpec::Concurrency(bucket.spec.clone()),
        }
    }

    /// Whether that spec is in force.
    #[must_use]
    pub fn has_spec(&self, spec: &LimitSpec) -> bool {
        match (self, spec) {
            (Self::Rate(bucket), LimitSpec::Rate(spec)) => bucket.spec == *spec,
            (Self::Window(bucket), LimitSpec::Window(spec)) => bucket.spec == *spec,
            (Self::Calendar(bucket), LimitSpec::Calendar(spec)) => bucket.spec == *spec,
            (Self::Slots(bucket), LimitSpec::Concurrency(spec)) => bucket.spec == *spec,
            _ => false,
        }
    }

    /// Brings the bucket to the present.
    pub fn advance(&mut self, now: Now) {
        match self {
            Self::Rate(bucket) => bucket.refill(now.mono),
            Self::Window(bucket) => bucket.expire(now.mono),
            Self::Calendar(bucket) => bucket.roll(now.wall),
            Self::Slots(_) => {}
        }
    }

    /// Units available; negative while there is debt.
    #[must_use]
    pub fn available(&self) -> i64 {
        match self {
            Self::Rate(bucket) => bucket.available(),
            Self::Window(bucket) => bucket.available(),
            Self::Calendar(bucket) => bucket.available(),
            Self::Slots(bucket) => bucket.available(),
        }
    }

    /// Units available when full.
    #[must_use]
    pub fn capacity(&self) -> i64 {
        match self {
            Self::Rate(bucket) => bucket.spec.burst,
            Self::Window(bucket) => bucket.spec.amount,
            Self::Calendar(bucket) => bucket.spec.amount,
            Self::Slots(bucket) => bucket.spec.slots,
        }
    }

    /// Whether nothing is used.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.available() >= self.capacity()
    }

    /// Whether charges here are held until released.
    #[must_use]
    pub fn holds_slots(&self) -> bool {
        matches!(self, Self::Slots(_))
    }

    /// The first time at which `need` units are available when nothing else happens. `need` above the
    /// capacity means several takers served one after the other.
    #[must_use]
    pub fn ready_at(&self, need: i64, now: Now) -> Time {
        match self {
            Self::Rate(bucket) => bucket.ready_at(need),
            Self::Window(bucket) => bucket.ready_at(need, now.mono),
            Self::Calendar(bucket) => bucket.ready_at(need, now),
            Self::Slots(bucket) => bucket.ready_at(need, now.mono),
        }
    }

    /// Takes `amount` units, into debt if need be. Slots are held as `hold` says; other kinds do not
    /// look at it.
    pub fn take(&mut self, amount: i64, hold: Hold, now: Now) {
        match self {
            Self::Rate(bucket) => bucket.take(amount),
            Self::Window(bucket) => bucket.take(amount, now.mono),
            Self::Calendar(bucket) => bucket.take(amount),
            Self::Slots(bucket) => bucket.take(amount, hold),
        }
    }

    /// Gives back up to `amount` units taken at `taken_at` under `hold`: never above the capacity, and
    /// never into another window. Returns how many.
    pub fn give_back(&mut self, amount: i64, hold: Hold, taken_at: Now) -> i64 {
        match self {
            Self::Rate(bucket) => bucket.give_back(amount),
            Self::Window(bucket) => bucket.give_back(amount, taken_at.mono),
            Self::Calendar(bucket) => bucket.give_back(amount, taken_at.wall),
            Self::Slots(bucket) => bucket.release_part(amount, hold),
        }
    }

    /// Gives back what was taken at `taken_at` under `hold` by a call that never used it, so that no more is
    /// admitted than without that call: of a rate less what was refilled since. Returns how many.
    pub fn take_back(&mut self, amount: i64, hold: Hold, taken_at: Now) -> i64 {
        match self {
            Self::Rate(bucket) => bucket.take_back(amount, taken_at.mono),
            _ => self.give_back(amount, hold, taken_at),
        }
    }

    /// Whether what was taken at `taken_at` comes back together with what was taken last.
    pub(super) fn counts_with_newest(&self, taken_at: Now) -> bool {
        match self {
            Self::Rate(_) | Self::Slots(_) => true,
            Self::Window(bucket) => bucket.is_in_newest(taken_at.mono),
            Self::Calendar(bucket) => bucket.is_in_period(taken_at.wall),
        }
    }

    /// Frees the slots of a hold; other kinds hold none. Returns how many.
    pub fn release(&mut self, hold: Hold) -> i64 {
        match self {
            Self::Slots(bucket) => bucket.release(hold),
            _ => 0,
        }
    }

    /// Moves the end of a hold; other kinds hold none.
    pub fn renew(&mut self, hold: Hold, until: Time) {
        if let Self::Slots(bucket) = self {
            bucket.renew(hold, until);
        }
    }

    /// Lowers the level to `level`; never raises it. Slots are not changed.
    pub fn lower_to(&mut self, level: i64, now: Now) {
        match self {
            Self::Rate(bucket) => bucket.lower_to(level),
            Self::Window(bucket) => bucket.lower_to(level, now.mono),
            Self::Calendar(bucket) => bucket.lower_to(level),
            Self::Slots(_) => {}
        }
    }

    /// Puts this bucket under another spec, as [`Bucket::respec`], without copying what is held.
    pub(super) fn change(&mut self, spec: &LimitSpec, policy: LevelPolicy, now: Now) {
        match (&mut *self, spec) {
            (Self::Slots(bucket), LimitSpec::Concurrency(spec)) => bucket.spec = spec.clone(),
            _ => *self = self.respec(spec, policy, now),
        }
        self.advance(now);
    }

    /// This bucket, or a copy that keeps its level under another spec.
    pub(super) fn under(&self, spec: &LimitSpec, now: Now) -> Cow<'_, Self> {
        if self.has_spec(spec) {
            return Cow::Borrowed(self);
        }
        let mut changed = self.respec(spec, LevelPolicy::KeepAmount, now);
        // A shorter period may be over for what is counted.
        changed.advance(now);
        Cow::Owned(changed)
    }

    /// This bucket under another spec, its level treated as `policy` says. Held slots stay held.
    #[must_use]
    pub fn respec(&self, spec: &LimitSpec, policy: LevelPolicy, now: Now) -> Self {
        if let (Self::Slots(bucket), LimitSpec::Concurrency(spec)) = (self, spec) {
            return Self::Slots(bucket.respec(spec.clone()));
        }
        let capacity = spec.capacity();
        match policy {
            LevelPolicy::Refill => Self::full(spec, now),
            LevelPolicy::KeepAmount => match (self, spec) {
                (Self::Rate(bucket), LimitSpec::Rate(spec)) => {
                    Self::Rate(bucket.respec(spec.clone()))
                }
                (Self::Window(bucket), LimitSpec::Window(spec)) => {
                    Self::Window(bucket.respec(spec.clone()))
                }
                (Self::Calendar(bucket), LimitSpec::Calendar(spec)) => {
                    Self::Calendar(bucket.respec(spec.clone(), now.wall))
                }
                _ => Self::holding(spec, self.available().min(capacity), now),
            },
            LevelPolicy::KeepProportion => {
                let share = i128::from(self.available()) * i128::from(capacity);
                let available = share.div_euclid(i128::from(self.capacity()));
                let available = i64::try_from(available).unwrap_or(i64::MIN);
                match (self, spec) {
                    (Self::Window(bucket), LimitSpec::Window(spec)) => {
                        Self::Window(bucket.rescale(spec.clone(), available))
                    }
                    _ => Self::holding(spec, available, now),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Micros;
    use crate::limits::{RateSpec, WindowSpec};

    fn rate(amount: i64, burst: i64) -> LimitSpec {
        LimitSpec::Rate(RateSpec::new(amount, Micros::from_secs(60), burst).unwrap())
    }

    fn window(amount: i64) -> LimitSpec {
        LimitSpec::Window(WindowSpec::new(amount, Micros::from_secs(60)).unwrap())
    }

    #[test]
    fn a_changed_spec_keeps_refills_or_scales_the_level_as_asked() {
        use LevelPolicy::{KeepAmount, KeepProportion, Refill};
        let now = Now {
            mono: Time(1),
            wall: Time(1),
        };
        let cases = [
            (rate(100, 100), 60, rate(200, 200), KeepAmount, 40),
            (rate(100, 100), 60, rate(20, 20), KeepAmount, 20),
            (rate(100, 100), 60, rate(200, 200), KeepProportion, 80),
            (rate(100, 100), 130, rate(200, 200), KeepProportion, -60),
            (rate(100, 100), 60, rate(200, 200), Refill, 200),
            (window(100), 60, window(200), KeepAmount, 140),
            (window(100), 60, window(50), KeepAmount, -10),
            (window(100), 60, window(200), KeepProportion, 80),
            (window(100), 60, window(7), KeepProportion, 2),
            (window(100), 60, window(200), Refill, 200),
            (window(100), 60, rate(500, 500), KeepAmount, 40),
            (rate(100, 100), 60, window(500), KeepProportion, 200),
        ];
        for (old, taken, new, policy, left) in cases {
            let mut bucket = Bucket::full(&old, now);
            bucket.take(taken, Hold::default(), now);
            let changed = bucket.respec(&new, policy, now);
            assert_eq!(
                changed.available(),
                left,
                "{old:?} - {taken} -> {new:?} {policy:?}"
            );
            assert_eq!(changed.spec(), new);
        }
    }
}
