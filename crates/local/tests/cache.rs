//! The memory backend against the suite of the cache port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use trellis_conformance::cache::{Settings, Subject};
use trellis_conformance::{Pace, PausedClock, spawn};
use trellis_local::{MemoryCache, MemoryCacheConfig};

fn memory(settings: Settings) -> Subject {
    let config = MemoryCacheConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
        ..MemoryCacheConfig::default()
    };
    let cache = MemoryCache::new(config, Arc::new(PausedClock::new())).unwrap();
    let cache = Arc::new(cache);
    let timers = Arc::clone(&cache);
    spawn(async move { timers.run().await });
    Subject::new(vec![cache], Pace::Virtual)
}

trellis_conformance::cache_conformance!(memory);
