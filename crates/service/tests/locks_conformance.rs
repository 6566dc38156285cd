//! The locks service and its contract against the suite of the locks port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use trellis_conformance::grpc::PipeServer;
use trellis_conformance::locks::{Settings, Subject};
use trellis_conformance::{Pace, grpc};
use trellis_local::MemoryLocksConfig;
use trellis_service::Parts;

fn over_grpc(settings: Settings) -> Subject {
    let config = MemoryLocksConfig {
        max_namespaces: settings.max_namespaces,
        max_watchers: settings.max_watchers,
        machine: settings.machine,
        ..MemoryLocksConfig::default()
    };
    let clock = support::clock();
    let parts = Parts {
        locks: support::locks(config, &clock),
        ..support::parts(&clock)
    };
    grpc::locks_subject(
        [PipeServer::start(support::services(&parts))],
        Pace::Virtual,
    )
}

trellis_conformance::locks_conformance!(over_grpc);
