//! Jobs: the port over any log.
//!
//! Queues are spread over the partitions of the log, each of which is a [`Shard`]: a fold, and what must not outlive the
//! daemon beside it. One task per shard writes. What was proposed while a batch was on its way makes the next one; it is read back, applied,
//! and only then answered. A batch of unknown end is sent again as it is, marks and all, until it was read back: copies are void.
//!
//! Files: `shard` what a partition knows, `round` what it does next, `task` the one that writes, `sent` what it has on its way, `effects` what a record that counts does beside
//! the fold; `held` bytes of jobs, `leases` and `lines` who has a job and who waits for one, `over` who watches attempts, `watch` who waits for an end,
//! `reading` who reads what is told; `charging` what jobs take of limits, `caching` which results are in the cache, `calls` both on their way; `batches` jobs that are counted together, `bulk` many of a queue at once;
//! `ends` whoever is told of ends, `tally` what has happened; `begin` how a life begins, `replay` how a partition is read, `port`, `working` and `telling` the port.

mod batches;
mod begin;
mod bulk;
mod caching;
mod calls;
mod charging;
mod config;
mod effects;
mod ends;
mod held;
mod leases;
mod lines;
mod over;
mod port;
mod reading;
mod replay;
mod room;
mod round;
mod sent;
mod shard;
mod tally;
mod task;
mod telling;
mod upkeep;
mod watch;
mod working;

pub use config::JobsConfig;
pub use ends::JobEnded;

use crate::underway::Underway;
use shard::Shard;
use std::ops::RangeInclusive;
use std::sync::Arc;
use trellis_core::cache::Cache;
use trellis_core::jobs::{JobId, QueueId};
use trellis_core::limits::Limits;
use trellis_core::log::Durability;
use trellis_core::{Error, ErrorCode, Micros, Result};

/// How long a worker may have a job at once.
const LEASES: RangeInclusive<Micros> = Micros::from_secs(1)..=Micros::from_secs(3_600);

/// What jobs need beside the log.
#[derive(Clone, Default)]
pub struct JobPorts {
    /// What jobs charge. Without it no job may charge anything.
    pub limits: Option<Arc<dyn Limits>>,
    /// Where results are that jobs name by a cache key. Without it equal jobs join, and nothing outlives them.
    pub cache: Option<Arc<dyn Cache>>,
}

/// Jobs on a log that nobody else writes.
pub struct JobEngine {
    ports: JobPorts,
    shards: Vec<Arc<Shard>>,
    durability: Durability,
    underway: Underway,
}

impl JobEngine {
    /// Ends it: nothing new begins, what was proposed is answered, and the tasks end. The log is the caller's to close, afterwards.
    /// Idempotent.
    pub async fn close(&self) {
        for shard in &self.shards {
            shard.close();
        }
        self.underway.close().await;
    }

    fn check_open(&self) -> Result<()> {
        if self.underway.is_closed() {
            return Err(draining());
        }
        Ok(())
    }

    fn shard(&self, queue: &QueueId) -> &Arc<Shard> {
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let index = queue.partition(count).0;
        &self.shards[usize::try_from(index).unwrap_or(0)]
    }

    /// Where a job stands, if there is such a place.
    fn shard_of(&self, job: JobId) -> Result<&Arc<Shard>> {
        shard_in(&self.shards, job).ok_or_else(|| not_found("job", job))
    }
}

fn shard_in(shards: &[Arc<Shard>], job: JobId) -> Option<&Arc<Shard>> {
    let index = usize::try_from(job.partition().0).ok()?;
    shards.get(index)
}

/// The backend is being closed.
fn draining() -> Error {
    Error::new(ErrorCode::Draining, "the daemon is shutting down")
}

fn not_found(what: &str, id: JobId) -> Error {
    let message = format!(
        "no such {what}: {id}; it was never made here, or has ended and is not kept any more"
    );
    Error::new(ErrorCode::JobNotFound, message)
}
