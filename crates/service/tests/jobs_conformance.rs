//! The jobs service and its contract against the suite of the jobs port, on a log in memory and on one on disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "../../engine/tests/jobs/support.rs"]
#[allow(dead_code, reason = "the tests of the engine use the others")]
mod engines;
#[path = "../../engine/tests/shared/mod.rs"]
#[allow(dead_code, reason = "the tests of the engine use the others")]
mod shared;
mod support;

use engines::{Life, clock, config, disk_options, memory_log, ports};
use std::sync::Arc;
use trellis_conformance::Pace;
use trellis_conformance::grpc::{self, GrpcJobs};
use trellis_conformance::jobs::{Settings, Subject};
use trellis_core::log::Log;
use trellis_core::{Clock, Micros};
use trellis_local::log::DiskLog;
use trellis_service::{JobBounds, Parts, ServiceConfig, routes};

async fn over_grpc(
    log: Arc<dyn Log>,
    clock: &Arc<dyn Clock>,
    settings: Settings,
    pace: Pace,
) -> Subject {
    let durability = log.durability();
    let called = ports(clock).await;
    let life = Life::begin_with(log, clock, config(settings), called).await;
    let parts = Parts {
        jobs: Some(life.engine),
        ..support::parts(clock)
    };
    let config = ServiceConfig {
        jobs: JobBounds {
            lease: settings.lease,
            reattach_time: settings.reattach_time,
            ..JobBounds::default()
        },
        ..ServiceConfig::default()
    };
    let channel = grpc::channel(routes(&parts, config).unwrap().0);
    let jobs = GrpcJobs::new(channel, durability);
    Subject::new(vec![Arc::new(jobs)], pace)
}

mod memory {
    use super::*;

    async fn memory(settings: Settings) -> Subject {
        let clock = clock();
        over_grpc(memory_log(&clock), &clock, settings, Pace::Virtual).await
    }

    trellis_conformance::jobs_conformance!(memory);
}

mod disk {
    use super::*;

    async fn disk(settings: Settings) -> Subject {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let log = DiskLog::open(folder.path(), disk_options(), clock.clone()).unwrap();
        let tolerance = Micros::from_millis(450);
        let pace = Pace::Wall { tolerance };
        let subject = over_grpc(Arc::new(log), &clock, settings, pace).await;
        subject.owning(folder)
    }

    trellis_conformance::jobs_conformance!(disk, #[tokio::test(flavor = "multi_thread", worker_threads = 2)]);
}
