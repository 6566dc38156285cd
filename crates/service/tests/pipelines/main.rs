//! The pipelines service: the suite of the port through the contract, and the services that obey it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod obeyed;

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_client::Client;
use trellis_conformance::grpc::{GrpcLimits, GrpcPipelines, PipeServer};
use trellis_conformance::pipelines::{Settings, Subject};
use trellis_conformance::{PausedClock, spawn};
use trellis_core::Clock;
use trellis_core::pipelines::Base;
use trellis_engine::ObeyedPipelines;
use trellis_local::{
    MemoryCache, MemoryCacheConfig, MemoryLimits, MemoryLimitsConfig, MemoryLocks,
    MemoryLocksConfig, MemoryPipelines, MemoryPipelinesConfig,
};
use trellis_service::{DaemonInfo, Parts, RpcStats, ServiceConfig, routes};

/// A daemon in memory whose services obey its pipelines, if it has any.
fn serve(settings: Settings, with_pipelines: bool) -> (PipeServer, CancellationToken) {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let memory = Arc::new(MemoryLimits::new(
        MemoryLimitsConfig::default(),
        clock.clone(),
    ));
    let timers = memory.clone();
    spawn(async move { timers.run().await });
    let locks = MemoryLocks::new(MemoryLocksConfig::default(), clock.clone());
    let locks = Arc::new(locks);
    let timers = locks.clone();
    spawn(async move { timers.run().await });
    let config = MemoryPipelinesConfig {
        max_namespaces: settings.max_namespaces,
    };
    let base = Base::new(&[], settings.bounds).unwrap();
    let pipelines = MemoryPipelines::new(base, config, clock.clone());
    let (pipelines, limits) = ObeyedPipelines::new(Arc::new(pipelines), memory);
    let parts = Parts {
        limits: Arc::new(limits),
        locks: Some(locks),
        pipelines: with_pipelines.then(|| Arc::new(pipelines) as _),
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
    (PipeServer::start(services), parts.drain)
}

fn over_grpc(settings: Settings) -> Subject {
    let (server, _) = serve(settings, true);
    let pipelines = GrpcPipelines::new(server.channel().0);
    let limits = GrpcLimits::unary(Client::from_channel(server.channel().0));
    Subject::new(Arc::new(pipelines), Arc::new(limits))
}

trellis_conformance::pipelines_conformance!(over_grpc);
