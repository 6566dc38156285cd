//! A hard limit: calls admitted in the last period are counted one by one. Exact and plain; it shares
//! nothing with the limits that it is there to judge.

use std::collections::VecDeque;
use std::time::Duration;

/// At most `limit` admitted calls in any interval of `period`.
#[derive(Debug)]
pub struct Window {
    limit: usize,
    period: Duration,
    admitted: VecDeque<Duration>,
    latest: Duration,
}

impl Window {
    /// An unused window.
    pub fn new(limit: usize, period: Duration) -> Self {
        Self {
            limit,
            period,
            admitted: VecDeque::with_capacity(limit),
            latest: Duration::ZERO,
        }
    }

    /// Admits a call at this time, or says how long until one could be. A time before the latest one, by
    /// calls that overtook each other, counts as that.
    pub fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        self.latest = self.latest.max(now);
        let now = self.latest;
        while let Some(first) = self.admitted.front()
            && *first + self.period <= now
        {
            self.admitted.pop_front();
        }
        if self.admitted.len() < self.limit {
            self.admitted.push_back(now);
            return Ok(());
        }
        let first = self.admitted.front().copied().unwrap_or(now);
        Err((first + self.period).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn no_interval_of_a_period_holds_more_than_the_limit() {
        let mut window = Window::new(2, MS(100));
        assert_eq!(window.admit(MS(0)), Ok(()));
        assert_eq!(window.admit(MS(60)), Ok(()));
        assert_eq!(window.admit(MS(99)), Err(MS(1)));
        assert_eq!(window.admit(MS(100)), Ok(()));
        assert_eq!(window.admit(MS(101)), Err(MS(59)));
        assert_eq!(window.admit(MS(160)), Ok(()));
    }

    #[test]
    fn a_refused_call_is_not_counted() {
        let mut window = Window::new(1, MS(100));
        assert_eq!(window.admit(MS(0)), Ok(()));
        for now in 1..100 {
            assert_eq!(window.admit(MS(now)), Err(MS(100 - now)));
        }
        assert_eq!(window.admit(MS(100)), Ok(()));
    }
}
