//! How many jobs workers have finished, and who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use trellis_tests::bench::Result;

/// Longer than jobs that do nothing wait for each other; reached only when some are lost.
const PATIENCE: Duration = Duration::from_mins(1);

/// A count that workers raise.
#[derive(Clone, Default)]
pub struct Finished(Arc<Count>);

#[derive(Default)]
struct Count {
    finished: AtomicU64,
    raised: Notify,
}

impl Finished {
    pub fn add(&self, jobs: u64) {
        self.0.finished.fetch_add(jobs, Ordering::Relaxed);
        self.0.raised.notify_waiters();
    }

    pub fn count(&self) -> u64 {
        self.0.finished.load(Ordering::Relaxed)
    }

    /// Waits until so many are finished.
    pub async fn until(&self, jobs: u64) -> Result<()> {
        let waiting = async {
            loop {
                let raised = self.0.raised.notified();
                if self.count() >= jobs {
                    return;
                }
                raised.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.map_err(|_| format!("{} of {jobs} jobs are finished", self.count()).into())
    }
}
