//! The limits service, its contract and its client against the suite of the limits port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use trellis_client::Client;
use trellis_conformance::limits::{Settings, Subject};
use trellis_conformance::{Pace, grpc};
use trellis_local::MemoryLimitsConfig;
use trellis_service::Parts;

fn daemon(settings: Settings) -> Client {
    let config = MemoryLimitsConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
    };
    let clock = support::clock();
    let parts = Parts {
        limits: support::limits(config, &clock),
        ..support::parts(&clock)
    };
    grpc::connect(support::services(&parts))
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
