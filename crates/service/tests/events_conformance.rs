//! The events service and its contract against the suite of the events port.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use trellis_conformance::events::{Settings, Subject};
use trellis_conformance::grpc::{self, GrpcEvents};
use trellis_conformance::{Pace, spawn};
use trellis_core::log::{Durability, LogLimits};
use trellis_engine::{EventEngine, EventsConfig};
use trellis_local::log::{DEFAULT_LIMITS, MemoryLog, MemoryLogOptions};
use trellis_service::Parts;

const PARTITIONS: u32 = 2;

async fn over_grpc(settings: Settings) -> Subject {
    let clock = support::clock();
    let options = MemoryLogOptions {
        limits: LogLimits {
            partitions: PARTITIONS + 1,
            ..DEFAULT_LIMITS
        },
        ..MemoryLogOptions::default()
    };
    let config = EventsConfig {
        partitions: PARTITIONS,
        id_window: settings.id_window,
        max_ids: settings.max_ids,
        max_topics: settings.max_topics,
        max_groups: settings.max_groups,
        max_waiters: settings.max_waiters,
        max_open: settings.max_open,
        group_bytes: settings.group_bytes,
        live_events: settings.live_events,
        retention: settings.retention,
        retention_every: settings.retention_every,
        checkpoint_bytes: settings.checkpoint_bytes,
        ..EventsConfig::default()
    };
    let log = Arc::new(MemoryLog::new(&options, clock.clone()));
    let started = EventEngine::start(log, clock.clone(), config).await;
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
