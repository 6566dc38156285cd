//! The clocks of the operating system.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};
use trellis_core::{Clock, Micros, Now, Time};

/// How long the distance between the clocks is taken for the same.
const SAME_DISTANCE: Micros = Micros::from_millis(1);

/// Time as Linux tells it: `CLOCK_BOOTTIME`, which never goes back and counts suspend, and
/// `CLOCK_REALTIME`, whose distance from it is measured at most once a millisecond, since reading a
/// clock is a good part of a decision. A step of the wall clock is seen within that millisecond.
#[derive(Debug, Default)]
pub struct SystemClock {
    /// When the distance was measured, in µs.
    measured: AtomicU64,
    /// How far the wall clock is ahead, in µs.
    ahead: AtomicU64,
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let mono = self.mono();
        // Two threads may measure at once, which does no harm: both distances are true.
        let ahead = if mono - Time(self.measured.load(Ordering::Acquire)) < SAME_DISTANCE {
            self.ahead.load(Ordering::Acquire)
        } else {
            let ahead = time(clock_gettime(ClockId::Realtime)) - mono;
            self.ahead.store(ahead.0, Ordering::Release);
            self.measured.store(mono.0, Ordering::Release);
            ahead.0
        };
        Now {
            mono,
            wall: mono + Micros(ahead),
        }
    }

    fn mono(&self) -> Time {
        time(clock_gettime(ClockId::Boottime))
    }
}

/// What is finer than a microsecond is cut off; a time before the clock's start is its start.
fn time(at: Timespec) -> Time {
    let secs = u64::try_from(at.tv_sec).unwrap_or(0);
    let micros = u64::try_from(at.tv_nsec / 1_000).unwrap_or(0);
    Time(secs.saturating_mul(1_000_000).saturating_add(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_and_is_in_this_century() {
        let clock = SystemClock::default();
        let (first, second) = (clock.now(), clock.now());
        assert!(first.mono <= second.mono);
        assert!(first.wall > Time(1_700_000_000_000_000));
    }
}
