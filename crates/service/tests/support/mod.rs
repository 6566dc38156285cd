//! A daemon's services over a cache in memory, its timers running.

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_conformance::cache::Settings;
use trellis_conformance::{PausedClock, spawn};
use trellis_core::Clock;
use trellis_local::{MemoryCache, MemoryCacheConfig, MemoryLimits, MemoryLimitsConfig};
use trellis_service::{DaemonInfo, Parts, RpcStats, ServiceConfig, Services, routes};

/// The services, and what ends their streams.
pub fn daemon(settings: Settings) -> (Services, CancellationToken) {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let config = MemoryCacheConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
        ..MemoryCacheConfig::default()
    };
    let cache = Arc::new(MemoryCache::new(config, clock.clone()).unwrap());
    let timers = cache.clone();
    spawn(async move { timers.run().await });
    let limits = MemoryLimits::new(MemoryLimitsConfig::default(), clock.clone());
    let parts = Parts {
        limits: Arc::new(limits),
        locks: None,
        pipelines: None,
        cache,
        info: DaemonInfo {
            version: "0.0.0",
            distributed: false,
            started: clock.now(),
        },
        cluster: None,
        clock: clock.clone(),
        stats: Arc::new(RpcStats::new(clock.clone())),
        drain: CancellationToken::new(),
    };
    // A value above the bound on values must come in, to be refused by its field.
    let config = ServiceConfig {
        max_message_bytes: 16 * 1024 * 1024,
        ..ServiceConfig::default()
    };
    let (services, _) = routes(&parts, config).unwrap();
    (services, parts.drain)
}
