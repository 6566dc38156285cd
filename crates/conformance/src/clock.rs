//! A clock that follows Tokio's, and so stands still while that is paused.

use tokio::time::Instant;
use trellis_core::{Clock, Micros, Now, Time};

/// 2027-01-15 08:00:15.25 UTC: inside a minute, an hour, a day, a week and a month.
const FIRST_WALL: Time = Time(1_800_000_015_250_000);

/// Tokio's time, and a wall clock that starts at a fixed date and runs beside it.
#[derive(Clone, Copy, Debug)]
pub struct PausedClock {
    start: Instant,
}

impl PausedClock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for PausedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Now {
        let elapsed = Micros::from(self.start.elapsed());
        Now {
            // Not from 0, so that a backend which takes 0 for "never" is found out.
            mono: Time(1) + elapsed,
            wall: FIRST_WALL + elapsed,
        }
    }
}
