//! Time in whole microseconds, handed in by whoever drives a machine.
//!
//! Microseconds are what Redis counts in, and integers of them stay below 2^53 until the year 2255, so
//! every backend can hold the same figures exactly.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A span of time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// One microsecond, the finest step.
    pub const TICK: Self = Self(1);

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }
}

impl From<Duration> for Micros {
    /// What is finer than a microsecond is cut off; what does not fit is the longest span.
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(span.0)
    }
}

/// A point in time: microseconds since a start that the clock chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than every real time.
    pub const NEVER: Self = Self(u64::MAX);
}

impl Add<Micros> for Time {
    type Output = Self;

    fn add(self, span: Micros) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub for Time {
    type Output = Micros;

    /// How long from `earlier` to `self`; no time when `earlier` is the later one.
    fn sub(self, earlier: Self) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

/// One reading of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Now {
    /// Never goes back and counts the time a machine is suspended. Refills, waits and leases run on it.
    pub mono: Time,
    /// Microseconds since the Unix epoch. May step; only calendars and displays look at it.
    pub wall: Time,
}

/// Where time comes from.
///
/// A reading's `mono` is never less than that of a reading taken before it, on any thread.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Now;

    /// The half of [`Clock::now`] that never goes back: all that measuring a latency needs.
    fn mono(&self) -> Time {
        self.now().mono
    }
}
