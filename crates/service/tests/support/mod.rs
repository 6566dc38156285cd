//! The parts of a daemon in memory, their timers running.

#![allow(dead_code, reason = "every test file uses its part")]

pub mod streams;
pub mod switch;

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_conformance::grpc::PipeServer;
use trellis_conformance::{PausedClock, cache, spawn};
use trellis_core::Clock;
use trellis_core::pipelines::{Base, PipelineBounds};
use trellis_local::{
    MemoryCache, MemoryCacheConfig, MemoryLimits, MemoryLimitsConfig, MemoryLocks,
    MemoryLocksConfig, MemoryPipelines, MemoryPipelinesConfig,
};
use trellis_service::{Announcer, DaemonInfo, Parts, RpcStats, ServiceConfig, Services, routes};

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(PausedClock::new())
}

/// Limits, pipelines that they do not obey, a cache and locks, under the default bounds.
pub fn parts(clock: &Arc<dyn Clock>) -> Parts {
    Parts {
        limits: limits(MemoryLimitsConfig::default(), clock),
        locks: locks(MemoryLocksConfig::default(), clock),
        pipelines: Arc::new(pipelines(clock)),
        cache: Arc::new(MemoryCache::new(MemoryCacheConfig::default(), clock.clone()).unwrap()),
        events: None,
        jobs: None,
        announcer: Announcer::new(None, clock.clone(), "/trellis"),
        info: DaemonInfo {
            version: "0.0.0",
            distributed: false,
            started: clock.now(),
        },
        cluster: None,
        clock: clock.clone(),
        stats: Arc::new(RpcStats::new(clock.clone())),
        drain: CancellationToken::new(),
    }
}

fn pipelines(clock: &Arc<dyn Clock>) -> MemoryPipelines {
    let base = Base::new(&[], PipelineBounds::default()).unwrap();
    MemoryPipelines::new(base, MemoryPipelinesConfig::default(), clock.clone())
}

pub fn limits(config: MemoryLimitsConfig, clock: &Arc<dyn Clock>) -> Arc<MemoryLimits> {
    let limits = Arc::new(MemoryLimits::new(config, clock.clone()));
    let timers = limits.clone();
    spawn(async move { timers.run().await });
    limits
}

pub fn locks(config: MemoryLocksConfig, clock: &Arc<dyn Clock>) -> Arc<MemoryLocks> {
    let locks = Arc::new(MemoryLocks::new(config, clock.clone()));
    let timers = locks.clone();
    spawn(async move { timers.run().await });
    locks
}

pub fn services(parts: &Parts) -> Services {
    routes(parts, ServiceConfig::default()).unwrap().0
}

/// Everything under the default bounds, over pipes.
pub fn serve() -> PipeServer {
    PipeServer::start(services(&parts(&clock())))
}

/// The services over a cache under these bounds, and what ends their streams.
pub fn caching(settings: cache::Settings) -> (Services, CancellationToken) {
    let clock = clock();
    let config = MemoryCacheConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
        ..MemoryCacheConfig::default()
    };
    let cache = Arc::new(MemoryCache::new(config, clock.clone()).unwrap());
    let timers = cache.clone();
    spawn(async move { timers.run().await });
    let parts = Parts {
        cache,
        ..parts(&clock)
    };
    // A value above the bound on values must come in, to be refused by its field.
    let config = ServiceConfig {
        max_message_bytes: 16 * 1024 * 1024,
        ..ServiceConfig::default()
    };
    let (services, _) = routes(&parts, config).unwrap();
    (services, parts.drain)
}
