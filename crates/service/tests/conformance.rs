//! The limits service, its contract and its client against the suite of the limits port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_client::Client;
use trellis_conformance::limits::{Settings, Subject};
use trellis_conformance::{Pace, PausedClock, grpc, spawn};
use trellis_core::Clock;
use trellis_local::{MemoryCache, MemoryCacheConfig, MemoryLimits, MemoryLimitsConfig};
use trellis_service::{DaemonInfo, Parts, RpcStats, ServiceConfig, routes};

fn daemon(settings: Settings) -> Client {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let config = MemoryLimitsConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
    };
    let limits = Arc::new(MemoryLimits::new(config, clock.clone()));
    let timers = limits.clone();
    spawn(async move { timers.run().await });
    let parts = Parts {
        limits,
        locks: None,
        pipelines: None,
        cache: Arc::new(MemoryCache::new(MemoryCacheConfig::default(), clock.clone()).unwrap()),
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
    let (services, _) = routes(&parts, ServiceConfig::default()).unwrap();
    grpc::connect(services)
}

fn unary(settings: Settings) -> Subject {
    grpc::subject([daemon(settings)], Pace::Virtual)
}

fn pipelined(settings: Settings) -> Subject {
    grpc::pipelined_subject([daemon(settings)], Pace::Virtual)
}

mod over_unary_calls {
    trellis_conformance::limits_conformance!(crate::unary);
}

mod over_one_stream {
    trellis_conformance::limits_conformance!(crate::pipelined);
}
