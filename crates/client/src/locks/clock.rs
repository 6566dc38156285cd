//! Until when a session is known to stand.

use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// The part of a lease that is given up for clocks that do not run alike: 2 %.
const DRIFT: u32 = 50;

/// A moment on two clocks: Tokio's, and the one that counts the time a machine is suspended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    instant: Instant,
    boot: Duration,
}

impl Mark {
    pub(super) fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        Self {
            instant: Instant::now(),
            boot: Duration::try_from(boot).unwrap_or_default(),
        }
    }

    fn until(&self, later: &Self) -> Duration {
        // Whichever clock says that less is left is believed.
        let instant = later.instant.saturating_duration_since(self.instant);
        instant.min(later.boot.saturating_sub(self.boot))
    }
}

/// The deadline of a session, counted from when the last acknowledged renewal was sent.
#[derive(Debug, Default)]
pub(super) struct SessionClock(Mutex<Option<Mark>>);

impl SessionClock {
    /// A renewal that was sent at `sent` is acknowledged.
    pub(super) fn renew(&self, sent: Mark, ttl: Duration) {
        let lasts = ttl.saturating_sub(ttl / DRIFT);
        let deadline = Mark {
            instant: sent.instant.checked_add(lasts).unwrap_or(sent.instant),
            boot: sent.boot.saturating_add(lasts),
        };
        let mut known = self.0.lock();
        // Answers may overtake each other.
        if known.is_none_or(|known| known.instant < deadline.instant) {
            *known = Some(deadline);
        }
    }

    /// The session is over.
    pub(super) fn end(&self) {
        *self.0.lock() = None;
    }

    /// How long the session is known to stand.
    pub(super) fn remaining(&self) -> Duration {
        let deadline = *self.0.lock();
        deadline.map_or(Duration::ZERO, |deadline| Mark::now().until(&deadline))
    }

    /// Waits until the session is not known to stand any more.
    pub(super) async fn over(&self) {
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                return;
            }
            tokio::time::sleep(remaining).await;
        }
    }
}
