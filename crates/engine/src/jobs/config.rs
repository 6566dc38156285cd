//! Bounds and periods of the engine of jobs.

use trellis_core::jobs::MAX_PAYLOAD_BYTES;
use trellis_core::{Micros, Result, check_rules};

/// Bounds and periods of a [`JobEngine`](super::JobEngine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobsConfig {
    /// Partitions over which queues are spread, for the life of a log: 1 to 1,024.
    pub partitions: u32,
    /// How long a worker has a job, unless it says otherwise or extends; and after a start, how long the workers of before have to speak.
    pub lease: Micros,
    /// Jobs of one partition, those that have ended and are kept included. Near it, those that ended first are forgotten before their time; beyond, new ones
    /// are refused.
    pub max_jobs: usize,
    /// Batches of one partition that are open or kept. Beyond, new ones are refused.
    pub max_batches: usize,
    /// Queues of one partition that have jobs or were set.
    pub max_queues: usize,
    /// Calls of one partition that wait for a job to run, or for one to end, and those that watch one.
    pub max_waiters: usize,
    /// Bytes of payloads, checkpoints and results that all partitions hold together. What goes beyond is read again from the log; where that keeps nothing,
    /// jobs that ended first are forgotten before their time, and new ones are refused beyond.
    pub held_bytes: usize,
    /// Chunks of one attempt: 1 to 10,000.
    pub max_chunks: u32,
    /// Bytes of the chunks of one attempt.
    pub chunk_bytes: u64,
    /// The state is written anew when more bytes than this, and than twice its size, were logged since.
    pub checkpoint_bytes: usize,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            partitions: 16,
            lease: Micros::from_secs(30),
            max_jobs: 2_000_000,
            max_batches: 10_000,
            max_queues: 10_000,
            max_waiters: 10_000,
            held_bytes: 1_024 * MAX_PAYLOAD_BYTES,
            max_chunks: 1_000,
            chunk_bytes: 4 * 1024 * 1024,
            checkpoint_bytes: 64 * 1024 * 1024,
        }
    }
}

impl JobsConfig {
    /// Checks every bound. Errors: `InvalidField` with the setting's name.
    pub fn check(&self) -> Result<()> {
        let positive = "must be at least 1";
        check_rules([
            (
                (1..=1_024).contains(&self.partitions),
                "partitions",
                "must be 1 to 1024",
            ),
            (
                super::LEASES.contains(&self.lease),
                "lease",
                "must be 1 s to 1 h",
            ),
            (self.max_jobs >= 1, "max_jobs", positive),
            (self.max_batches >= 1, "max_batches", positive),
            (self.max_queues >= 1, "max_queues", positive),
            (self.max_waiters >= 1, "max_waiters", positive),
            (
                (1..=10_000).contains(&self.max_chunks),
                "max_chunks",
                "must be 1 to 10000",
            ),
            (self.chunk_bytes >= 1, "chunk_bytes", positive),
        ])
    }
}
