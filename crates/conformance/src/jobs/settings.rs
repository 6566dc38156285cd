//! The settings that the suite expects a backend under test to obey.

use trellis_core::Micros;

/// Bounds and periods, small enough for cases to reach them. A backend under test must obey them; it
/// gets them from the suite, so that it cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a worker has a job.
    pub lease: Micros,
    /// How long it has it when nothing is heard of it any more.
    pub reattach_time: Micros,
    /// Jobs of a queue that are known.
    pub max_jobs: usize,
    /// Queues that have jobs or were set.
    pub max_queues: usize,
    /// Calls that wait.
    pub max_waiters: usize,
    /// Bytes behind which a checkpoint is due.
    pub checkpoint_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Micros::from_secs(10),
            reattach_time: Micros::from_secs(3),
            max_jobs: 60,
            max_queues: 8,
            max_waiters: 4,
            checkpoint_bytes: 2_000,
        }
    }
}
