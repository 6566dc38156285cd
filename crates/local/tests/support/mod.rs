//! Memory limits under the suite's settings, their timers running.

use std::sync::Arc;
use trellis_conformance::limits::Settings;
use trellis_conformance::{PausedClock, spawn};
use trellis_local::{MemoryLimits, MemoryLimitsConfig};

/// Empty limits whose waiting calls are served.
pub fn memory_limits(settings: Settings) -> Arc<MemoryLimits> {
    let config = MemoryLimitsConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
    };
    let limits = Arc::new(MemoryLimits::new(config, Arc::new(PausedClock::new())));
    let timers = limits.clone();
    spawn(async move { timers.run().await });
    limits
}
