//! The log that events stand on, in memory or in a directory, and their engine.

use crate::config::Config;
use crate::error::RunError;
use crate::supervisor::{Supervisor, TaskKind};
use std::path::PathBuf;
use std::sync::Arc;
use trellis_core::Clock;
use trellis_core::log::Log;
use trellis_engine::EventEngine;
use trellis_local::log::{DiskLog, DiskLogOptions, MemoryLog, OpenError};

/// What serves events, to be ended in order.
pub(crate) struct Eventing {
    pub engine: Arc<EventEngine>,
    disk: Option<Arc<DiskLog>>,
}

impl Eventing {
    /// Opens the log and reads what it holds, which takes the time that this takes.
    pub(crate) async fn start(
        config: &Config,
        clock: &Arc<dyn Clock>,
        supervisor: &mut Supervisor,
    ) -> Result<Self, RunError> {
        let disk = match config.data_dir() {
            Some(folder) => Some(Arc::new(
                open(folder, config.disk_log(), clock, "events").await?,
            )),
            None => None,
        };
        let log: Arc<dyn Log> = match &disk {
            Some(disk) => Arc::clone(disk) as Arc<dyn Log>,
            None => Arc::new(MemoryLog::new(&config.memory_log(), Arc::clone(clock))),
        };
        let started = EventEngine::start(log, Arc::clone(clock), config.events()).await;
        let (engine, tasks) = started.map_err(|error| RunError::Data(error.to_string()))?;
        for task in tasks {
            supervisor.start(TaskKind::Events, |_| task.run());
        }
        Ok(Self { engine, disk })
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

/// Opens the log of a folder that keeps these things, whose group of settings has their name.
pub(crate) async fn open(
    folder: PathBuf,
    options: DiskLogOptions,
    clock: &Arc<dyn Clock>,
    what: &str,
) -> Result<DiskLog, RunError> {
    let clock = Arc::clone(clock);
    let name = folder.display().to_string();
    let opening = tokio::task::spawn_blocking(move || DiskLog::open(&folder, options, clock));
    let opened = opening
        .await
        .map_err(|error| RunError::Data(error.to_string()))?;
    let log = opened.map_err(|error| {
        let way_out = match error {
            OpenError::Damaged { .. } | OpenError::Missing { .. } => {
                ": set disk.on_damage = \"salvage\" for that".to_owned()
            }
            OpenError::Partitions { .. } => format!(": set {what}.partitions"),
            _ => String::new(),
        };
        RunError::Data(format!("data_dir = {name:?}: {error}{way_out}"))
    })?;
    for lost in log.lost() {
        let (file, from, to, reason) = (&lost.file, lost.from, lost.to, &lost.reason);
        tracing::error!(file, from, to, reason, "records were given up");
    }
    tracing::info!(folder = name, "keeping {what}");
    Ok(log)
}
