//! The settings that the suite expects a backend under test to obey.

use trellis_core::Micros;

/// Bounds and periods, small enough for cases to reach them. A backend under test must obey them; it
/// gets them from the suite, so that it cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a worker has a job.
    pub lease: Micros,
    /// Jobs of a queue that are known.
    pub max_jobs: usize,
    /// Queues that have jobs or were set.
    pub max_queues: usize,
    /// Calls that wait or watch.
    pub max_waiters: usize,
    /// Chunks of an attempt.
    pub max_chunks: u32,
    /// Bytes of the chunks of an attempt.
    pub chunk_bytes: u64,
    /// Bytes behind which a checkpoint is due.
    pub checkpoint_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Micros::from_secs(10),
            max_jobs: 60,
            max_queues: 8,
            max_waiters: 4,
            max_chunks: 8,
            chunk_bytes: 100,
            checkpoint_bytes: 2_000,
        }
    }
}
