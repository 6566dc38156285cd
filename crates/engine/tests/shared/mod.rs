//! What the tests of both engines stand on.

use std::sync::Arc;
use tokio::task::JoinHandle;
use trellis_conformance::{PausedClock, spawn};
use trellis_core::Clock;
use trellis_core::log::LogLimits;
use trellis_engine::EngineTask;
use trellis_local::log::DiskLogOptions;

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(PausedClock::new())
}

/// A log on disk of many files, of which nothing is read from memory.
pub fn disk_options(limits: LogLimits) -> DiskLogOptions {
    DiskLogOptions {
        limits,
        tail_bytes: 0,
        segment_bytes: 64 * 1024,
        ..DiskLogOptions::default()
    }
}

/// The tasks of an engine.
pub struct Tasks(pub Vec<JoinHandle<()>>);

impl Tasks {
    pub fn run(tasks: Vec<EngineTask>) -> Self {
        Self(tasks.into_iter().map(|task| spawn(task.run())).collect())
    }

    /// Waits for their end, once the engine is closed.
    pub async fn end(self) {
        for task in self.0 {
            task.await.unwrap();
        }
    }

    /// Ends them in the middle of whatever they do.
    pub fn abort(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
