//! The events service and its contract against the suite of the events port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../engine/tests/events/configured.rs"]
mod configured;
mod support;

use std::sync::Arc;
use trellis_conformance::events::{Settings, Subject};
use trellis_conformance::grpc::{self, GrpcEvents};
use trellis_conformance::{Pace, spawn};
use trellis_core::log::Durability;
use trellis_engine::EventEngine;
use trellis_service::Parts;

async fn over_grpc(settings: Settings) -> Subject {
    let clock = support::clock();
    let log = configured::memory_log(&clock);
    let started = EventEngine::start(log, clock.clone(), configured::config(settings)).await;
    let (engine, tasks) = started.unwrap();
    for task in tasks {
        spawn(task.run());
    }
    let parts = Parts {
        events: Some(engine),
        ..support::parts(&clock)
    };
    let channel = grpc::channel(support::services(&parts));
    let events = GrpcEvents::new(channel, Durability::Volatile);
    Subject::new(vec![Arc::new(events)], Pace::Virtual)
}

trellis_conformance::events_conformance!(over_grpc);
