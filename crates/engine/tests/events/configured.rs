//! What the suite's settings mean for an engine and its log. The tests of the service use it too.

use std::sync::Arc;
use trellis_conformance::events::Settings;
use trellis_core::Clock;
use trellis_core::log::{Log, LogLimits};
use trellis_engine::EventsConfig;
use trellis_local::log::{DEFAULT_LIMITS, MemoryLog, MemoryLogOptions};

/// Few, so that topics share them.
const PARTITIONS: u32 = 2;

/// Bounds of the logs, which are what the engine needs.
pub const LIMITS: LogLimits = LogLimits {
    partitions: PARTITIONS + 1,
    ..DEFAULT_LIMITS
};

pub fn config(settings: Settings) -> EventsConfig {
    EventsConfig {
        partitions: PARTITIONS,
        id_window: settings.id_window,
        max_ids: settings.max_ids,
        max_topics: settings.max_topics,
        max_groups: settings.max_groups,
        max_waiters: settings.max_waiters,
        max_open: settings.max_open,
        group_bytes: settings.group_bytes,
        live_events: settings.live_events,
        retention: settings.retention,
        retention_every: settings.retention_every,
        checkpoint_bytes: settings.checkpoint_bytes,
        ..EventsConfig::default()
    }
}

pub fn memory_log(clock: &Arc<dyn Clock>) -> Arc<dyn Log> {
    let options = MemoryLogOptions {
        limits: LIMITS,
        ..MemoryLogOptions::default()
    };
    Arc::new(MemoryLog::new(&options, clock.clone()))
}
