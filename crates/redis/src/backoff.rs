//! How long to wait before the next attempt: exponential, bounded, with jitter.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Consecutive failures and what follows from them.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and tells how long to wait.
    pub(crate) fn failed(&mut self) -> Duration {
        let bound = bound_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// Forgets the failures.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

fn bound_after(failures: u32) -> Duration {
    SHORTEST.saturating_mul(1 << failures.min(10)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_starts_anew_after_a_success() {
        assert_eq!(bound_after(0), SHORTEST);
        assert_eq!(bound_after(3), SHORTEST * 8);
        assert_eq!(bound_after(u32::MAX), LONGEST);
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            assert!(backoff.failed() <= LONGEST);
        }
        backoff.succeeded();
        assert!(backoff.failed() <= SHORTEST);
    }
}
