//! The campaign's clock, and how its load and its faults are paced. Nothing relies on a pause to be right.

use crate::history::Micros;
use std::time::Duration;
use tokio::time::Instant;

/// Monotonic; starts at a second, so that what lies a little before has a time too.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time now.
    pub fn now(self) -> Micros {
        let passed = self.0.elapsed().as_micros();
        1_000_000 + u64::try_from(passed).unwrap_or(u64::MAX)
    }

    /// When the calendar's current minute began.
    #[expect(
        clippy::disallowed_methods,
        reason = "the calendar of the store is the machine's"
    )]
    pub fn minute(self) -> i64 {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let into = i64::try_from(wall.as_micros() % 60_000_000).unwrap_or(0);
        self.now().cast_signed() - into
    }
}

/// Lets some time pass.
pub async fn pause(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}
