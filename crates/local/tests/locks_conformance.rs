//! The memory backend against the suite of the locks port.

use std::sync::Arc;
use trellis_conformance::locks::{Settings, Subject};
use trellis_conformance::{Pace, PausedClock, spawn};
use trellis_local::{MemoryLocks, MemoryLocksConfig};

fn memory(settings: Settings) -> Subject {
    let config = MemoryLocksConfig {
        max_namespaces: settings.max_namespaces,
        max_watchers: settings.max_watchers,
        machine: settings.machine,
        ..MemoryLocksConfig::default()
    };
    let locks = Arc::new(MemoryLocks::new(config, Arc::new(PausedClock::new())));
    let timers = locks.clone();
    spawn(async move { timers.run().await });
    Subject::new(vec![locks], Pace::Virtual)
}

trellis_conformance::locks_conformance!(memory);
