//! When calls go to the store and when they do not: a pure machine, time handed in.
//!
//! It opens at the first call that the store could not take, or when the store is known to be away. It closes
//! when the store is there, a dwell is over and what was spent meanwhile is merged. The dwell doubles with every
//! opening within [`BreakerConfig::calm`] of the last closing, so that a store that comes and goes does not make
//! the answers' scope come and go with it.

use trellis_core::{Micros, Time};

/// Times of a [`Breaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// The shortest time that it stays open.
    pub dwell: Micros,
    /// The longest.
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
    /// Since when it is open; `None` while it is closed.
    opened: Option<Time>,
    closed: Time,
    dwell: Micros,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            opened: None,
            closed: Time(0),
            dwell: config.dwell,
        }
    }

    /// Whether calls go elsewhere.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Opens it; tells whether it was closed.
    pub fn open(&mut self, now: Time) -> bool {
        if self.opened.is_some() {
            return false;
        }
        let again = self.closed > Time(0) && now - self.closed < self.config.calm;
        self.dwell = if again {
            Micros(self.dwell.0.saturating_mul(2)).min(self.config.max_dwell)
        } else {
            self.config.dwell
        };
        self.opened = Some(now);
        true
    }

    /// How long until it may close; no time when it may.
    #[must_use]
    pub fn may_close_in(&self, now: Time) -> Micros {
        self.opened
            .map_or(Micros::ZERO, |opened| opened + self.dwell - now)
    }

    /// Closes it.
    pub fn close(&mut self, now: Time) {
        if self.opened.take().is_some() {
            self.closed = now;
        }
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
            breaker.close(seconds(at));
            at += 1;
        }
        assert_eq!(dwells, [1, 2, 4, 8, 16, 30, 30]);
        assert!(breaker.open(seconds(at + 60)));
        assert_eq!(breaker.may_close_in(seconds(at + 60)), Micros::from_secs(1));
    }
}
