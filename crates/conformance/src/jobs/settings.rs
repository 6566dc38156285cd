//! The settings that the suite expects a backend under test to obey.

use trellis_core::limits::{
    ConcurrencySpec, LevelPolicy, LimitSpec, Limits, RateSpec, SetLimit, Sharing, SpecSource,
};
use trellis_core::{Micros, Name, Namespace};

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
    /// Batches that are known.
    pub max_batches: usize,
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
            reattach_time: Micros::from_secs(3),
            max_jobs: 60,
            max_queues: 8,
            max_batches: 4,
            max_waiters: 4,
            max_chunks: 8,
            chunk_bytes: 100,
            checkpoint_bytes: 2_000,
        }
    }
}

/// Units of the limit `pages` that are there at once, and come in a second.
pub(super) const PAGES: i64 = 10;

/// Declares the limits that cases charge: `pages`, of which ten come in a second, and `slots`, of which there is one. A backend under test has them, in the
/// namespace of the suite.
pub async fn declare_limits(limits: &dyn Limits, namespace: &Namespace) {
    let second = Micros::from_secs(1);
    let pages = RateSpec::new(PAGES, second, PAGES).unwrap();
    let slots = ConcurrencySpec::new(1).unwrap();
    for (name, spec) in [
        ("pages", LimitSpec::Rate(pages)),
        ("slots", LimitSpec::Concurrency(slots)),
    ] {
        let set = SetLimit {
            namespace: namespace.clone(),
            name: Name::new(name, "limit").unwrap(),
            spec,
            overrides: Vec::new(),
            level_policy: LevelPolicy::default(),
            source: SpecSource::Configuration,
            sharing: Sharing::default(),
            request_id: None,
        };
        limits.set_limit(set).await.unwrap();
    }
}
