//! The log that jobs stand on, in memory or in a directory, their engine, and what is told of their ends.

use crate::backend::Backend;
use crate::config::Config;
use crate::error::RunError;
use crate::eventing::open;
use crate::supervisor::{Supervisor, TaskKind};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trellis_core::Clock;
use trellis_core::jobs::JobState;
use trellis_core::log::Log;
use trellis_engine::{JobEnded, JobEngine, JobPorts};
use trellis_local::log::{DiskLog, MemoryLog};
use trellis_service::Announcer;

/// Where jobs are kept in the `data_dir`: a log of their own, as old events and old jobs go at different times, and by whole files.
const FOLDER: &str = "jobs";

/// Ends that wait to be told.
const WAITING_ENDS: usize = 10_000;

/// What serves jobs, to be ended in order.
pub(crate) struct Queueing {
    pub engine: Arc<JobEngine>,
    disk: Option<Arc<DiskLog>>,
}

impl Queueing {
    /// Opens the log and reads what it holds, which takes the time that this takes.
    pub(crate) async fn start(
        config: &Config,
        clock: &Arc<dyn Clock>,
        backend: &Backend,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        let disk = match config.data_dir() {
            Some(folder) => {
                let (folder, options) = (folder.join(FOLDER), config.disk_job_log());
                Some(Arc::new(open(folder, options, clock, FOLDER).await?))
            }
            None => None,
        };
        let log: Arc<dyn Log> = match &disk {
            Some(disk) => Arc::clone(disk) as Arc<dyn Log>,
            None => Arc::new(MemoryLog::new(&config.memory_job_log(), Arc::clone(clock))),
        };
        // What jobs charge, and where their results are kept, are those that everybody calls.
        let ports = JobPorts {
            limits: Some(Arc::clone(&backend.limits)),
            cache: Some(Arc::clone(&backend.cache)),
        };
        let started = JobEngine::start(log, Arc::clone(clock), config.jobs(), ports).await;
        let (engine, tasks) = started.map_err(|error| RunError::Data(error.to_string()))?;
        for task in tasks {
            supervisor.start(TaskKind::Jobs, |_| task.run());
        }
        Ok(Self { engine, disk })
    }

    /// Tells of ends as the configuration wants it.
    pub(crate) fn announce(
        &self,
        config: &Config,
        announcer: &Announcer,
        supervisor: &mut Supervisor,
    ) {
        let states = config.announced_ends();
        if states.is_empty() {
            return;
        }
        let ends = self.engine.ends(&states, WAITING_ENDS);
        let announcer = announcer.clone();
        supervisor.start(TaskKind::JobEnds, |stop| tell_ends(ends, announcer, stop));
    }

    /// Ends it: what is under way is answered, and everything that was accepted is written.
    pub(crate) async fn close(&self) {
        self.engine.close().await;
        if let Some(disk) = &self.disk {
            disk.close();
            disk.closed().await;
        }
    }
}

/// Tells until it is stopped, and then what is left.
async fn tell_ends(
    mut ends: mpsc::Receiver<JobEnded>,
    announcer: Announcer,
    stop: CancellationToken,
) {
    while let Some(Some(ended)) = stop.run_until_cancelled(ends.recv()).await {
        tell(&announcer, &ended);
    }
    while let Ok(ended) = ends.try_recv() {
        tell(&announcer, &ended);
    }
}

fn tell(announcer: &Announcer, ended: &JobEnded) {
    let data = json!({
        "queue": ended.queue.name.as_str(),
        "attempts": ended.attempts,
        "error": ended.error.as_deref().unwrap_or_default(),
    });
    let (namespace, subject) = (&ended.queue.namespace, ended.job.to_string());
    announcer.tell(namespace, kind(ended.state), &subject, &data);
}

fn kind(state: JobState) -> &'static str {
    match state {
        JobState::Succeeded => "trellis.job.succeeded",
        JobState::Failed => "trellis.job.failed",
        JobState::Dead => "trellis.job.dead",
        JobState::Cancelled => "trellis.job.cancelled",
        JobState::Expired => "trellis.job.expired",
        JobState::Replaced => "trellis.job.replaced",
        JobState::Delayed | JobState::Ready | JobState::Running => "trellis.job.open",
    }
}
