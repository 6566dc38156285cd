//! When calls go to the store and when they do not: a pure machine, time handed in.
//!
//! It opens at the first sign that the store is away: a call that the store could not take, or its health. It
//! closes when there was no such sign for a dwell and what was spent meanwhile is merged. The dwell doubles with
//! every opening within [`BreakerConfig::calm`] of the last closing, so that a store that comes and goes does not
//! make the answers' scope come and go with it.

use trellis_core::{Micros, Time};

/// Times of a [`Breaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// How long it stays open after the last sign, at least.
    pub dwell: Micros,
    /// And at most, once it has doubled.
    pub max_dwell: Micros,
    /// After so long without an opening the dwell is the shortest again.
    pub calm: Micros,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            dwell: Micros::from_secs(1),
            max_dwell: Micros::from_secs(30),
            calm: Micros::from_secs(60),
        }
    }
}

/// Whether the store is used.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    /// When the last sign was seen; `None` while it is closed.
    last_sign: Option<Time>,
    closed: Option<Time>,
    dwell: Micros,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            last_sign: None,
            closed: None,
            dwell: config.dwell,
        }
    }

    /// Whether calls go elsewhere.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.last_sign.is_some()
    }

    /// There is a sign that the store is away. Tells whether this opens it.
    pub fn open(&mut self, now: Time) -> bool {
        if self.last_sign.replace(now).is_some() {
            return false;
        }
        let again = self
            .closed
            .is_some_and(|closed| now - closed < self.config.calm);
        self.dwell = if again {
            Micros(self.dwell.0.saturating_mul(2)).min(self.config.max_dwell)
        } else {
            self.config.dwell
        };
        true
    }

    /// How long until it may close if there is no further sign; no time when it may.
    #[must_use]
    pub fn may_close_in(&self, now: Time) -> Micros {
        self.last_sign
            .map_or(Micros::ZERO, |sign| sign + self.dwell - now)
    }

    /// Closes it if it may. Tells whether it has.
    pub fn close(&mut self, now: Time) -> bool {
        if self.last_sign.is_none() || self.may_close_in(now) > Micros::ZERO {
            return false;
        }
        (self.last_sign, self.closed) = (None, Some(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn a_store_that_comes_and_goes_is_left_alone_for_longer_each_time() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        let mut dwells = Vec::new();
        let mut at = 100;
        for _ in 0..7 {
            assert!(breaker.open(seconds(at)) && !breaker.open(seconds(at)));
            let dwell = breaker.may_close_in(seconds(at)).0 / 1_000_000;
            dwells.push(dwell);
            at += dwell;
            assert_eq!(breaker.may_close_in(seconds(at)), Micros::ZERO);
            assert!(breaker.close(seconds(at)));
            at += 1;
        }
        assert_eq!(dwells, [1, 2, 4, 8, 16, 30, 30]);
        assert!(breaker.open(seconds(at + 60)));
        assert_eq!(breaker.may_close_in(seconds(at + 60)), Micros::from_secs(1));
    }

    #[test]
    fn the_dwell_counts_from_the_last_sign() {
        let mut breaker = Breaker::new(BreakerConfig::default());
        assert!(breaker.open(seconds(100)));
        assert!(!breaker.open(seconds(150)), "it is open already");
        assert!(!breaker.close(seconds(150)));
        assert_eq!(breaker.may_close_in(seconds(150)), Micros::from_secs(1));
        assert!(breaker.close(seconds(151)) && !breaker.close(seconds(152)));
    }
}
