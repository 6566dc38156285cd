//! The locks service and its contract against the suite of the locks port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_conformance::grpc::PipeServer;
use trellis_conformance::locks::{Settings, Subject};
use trellis_conformance::{Pace, PausedClock, grpc, spawn};
use trellis_core::Clock;
use trellis_local::{
    MemoryCache, MemoryCacheConfig, MemoryLimits, MemoryLimitsConfig, MemoryLocks,
    MemoryLocksConfig,
};
use trellis_service::{DaemonInfo, Parts, RpcStats, ServiceConfig, routes};

fn over_grpc(settings: Settings) -> Subject {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let config = MemoryLocksConfig {
        max_namespaces: settings.max_namespaces,
        max_watchers: settings.max_watchers,
        machine: settings.machine,
        ..MemoryLocksConfig::default()
    };
    let locks = Arc::new(MemoryLocks::new(config, clock.clone()));
    let timers = locks.clone();
    spawn(async move { timers.run().await });
    let limits = MemoryLimits::new(MemoryLimitsConfig::default(), clock.clone());
    let parts = Parts {
        limits: Arc::new(limits),
        locks: Some(locks),
        pipelines: None,
        cache: Arc::new(MemoryCache::new(MemoryCacheConfig::default(), clock.clone()).unwrap()),
        info: DaemonInfo {
            version: "0.0.0",
            distributed: false,
            started: clock.now(),
        },
        cluster: None,
        clock: clock.clone(),
        stats: Arc::new(RpcStats::new(clock)),
        drain: CancellationToken::new(),
    };
    let (services, _) = routes(&parts, ServiceConfig::default()).unwrap();
    grpc::locks_subject([PipeServer::start(services)], Pace::Virtual)
}

trellis_conformance::locks_conformance!(over_grpc);
