//! A wall clock that never goes back and is never set: what leases, back-offs and waits are timed by. Times outlive
//! the daemon in the log, so they are times of the wall; where it is set meanwhile, a new life goes by it.

use std::sync::Arc;
use trellis_core::{Clock, Now, Time};

/// See the module.
pub(crate) struct SteadyClock {
    clock: Arc<dyn Clock>,
    start: Now,
}

impl SteadyClock {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let start = clock.now();
        Self { clock, start }
    }

    pub fn now(&self) -> Time {
        self.start.wall + (self.clock.mono() - self.start.mono)
    }

    /// As the log's own times are, which retention and the window of ids go by.
    pub fn wall(&self) -> Time {
        self.clock.now().wall
    }
}
