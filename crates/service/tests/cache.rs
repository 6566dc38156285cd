//! The cache's service and contract against the suite of the cache port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_conformance::cache::{Settings, Subject};
use trellis_conformance::{Pace, PausedClock, grpc, spawn};
use trellis_core::Clock;
use trellis_local::{MemoryCache, MemoryCacheConfig, MemoryLimits, MemoryLimitsConfig};
use trellis_service::{DaemonInfo, Parts, RpcStats, ServiceConfig, Services, routes};

fn daemon(settings: Settings) -> Services {
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
    routes(&parts, config).unwrap().0
}

fn over_grpc(settings: Settings) -> Subject {
    let cache = grpc::GrpcCache::new(grpc::channel(daemon(settings)));
    Subject::new(vec![Arc::new(cache)], Pace::Virtual)
}

mod conformance {
    trellis_conformance::cache_conformance!(crate::over_grpc);
}
