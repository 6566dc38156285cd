//! The clocks of the operating system.

use rustix::time::{ClockId, Timespec, clock_gettime};
use trellis_core::{Clock, Now, Time};

/// Time as Linux tells it: `CLOCK_BOOTTIME`, which never goes back and counts suspend, and
/// `CLOCK_REALTIME`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now {
            mono: time(clock_gettime(ClockId::Boottime)),
            wall: time(clock_gettime(ClockId::Realtime)),
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
        let (first, second) = (SystemClock.now(), SystemClock.now());
        assert!(first.mono <= second.mono);
        assert!(first.wall > Time(1_700_000_000_000_000));
    }
}
