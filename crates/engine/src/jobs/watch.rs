//! Callers that wait for jobs to end.

use tokio::sync::oneshot;
use trellis_core::jobs::{JobId, JobMap};

/// See the module.
#[derive(Default)]
pub(super) struct Watchers {
    by_job: JobMap<Vec<oneshot::Sender<()>>>,
    count: usize,
}

impl Watchers {
    /// Those who are still there.
    pub fn len(&mut self) -> usize {
        if self.count > 0 {
            self.by_job.retain(|_, those| {
                those.retain(|tell| !tell.is_closed());
                !those.is_empty()
            });
            self.count = self.by_job.values().map(Vec::len).sum();
        }
        self.count
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Tells when a job ends, or is not known any more.
    pub fn watch(&mut self, job: JobId) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.by_job.entry(job).or_default().push(tell);
        self.count += 1;
        told
    }

    pub fn ended(&mut self, job: JobId) {
        let those = self.by_job.remove(&job).unwrap_or_default();
        self.count -= those.len();
        for tell in those {
            // Whoever has gone does not need to know.
            let _ = tell.send(());
        }
    }

    /// Everybody is told.
    pub fn clear(&mut self) {
        self.by_job.clear();
        self.count = 0;
    }
}
