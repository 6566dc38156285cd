//! The pipelines service: the suite of the port through the contract, and the services that obey it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod obeyed;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use trellis_client::Client;
use trellis_conformance::grpc::{GrpcLimits, GrpcPipelines, PipeServer};
use trellis_conformance::pipelines::{Settings, Subject};
use trellis_core::pipelines::Base;
use trellis_engine::ObeyedPipelines;
use trellis_local::{
    MemoryLimitsConfig, MemoryLocksConfig, MemoryPipelines, MemoryPipelinesConfig,
};
use trellis_service::Parts;

/// A daemon in memory whose services obey its pipelines.
fn serve(settings: Settings) -> (PipeServer, CancellationToken) {
    let clock = support::clock();
    let memory = support::limits(MemoryLimitsConfig::default(), &clock);
    let config = MemoryPipelinesConfig {
        max_namespaces: settings.max_namespaces,
    };
    let base = Base::new(&[], settings.bounds).unwrap();
    let pipelines = MemoryPipelines::new(base, config, clock.clone());
    let (pipelines, limits) = ObeyedPipelines::new(Arc::new(pipelines), memory);
    let parts = Parts {
        limits: Arc::new(limits),
        locks: support::locks(MemoryLocksConfig::default(), &clock),
        pipelines: Arc::new(pipelines),
        ..support::parts(&clock)
    };
    (PipeServer::start(support::services(&parts)), parts.drain)
}

fn over_grpc(settings: Settings) -> Subject {
    let (server, _) = serve(settings);
    let pipelines = GrpcPipelines::new(server.channel().0);
    let limits = GrpcLimits::unary(Client::from_channel(server.channel().0));
    Subject::of_one(Arc::new(pipelines), Arc::new(limits))
}

trellis_conformance::pipelines_conformance!(over_grpc);
