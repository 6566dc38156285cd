//! What must be run, for the records of a log to be read back and for time to bring what it brings.

use super::EventEngine;
use super::control::ControlTask;
use super::groups;
use super::lane::{Lane, Tail, draining};
use crate::EngineTask;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trellis_core::log::LogError;

/// How long to wait when a partition cannot be read.
const PAUSE: Duration = Duration::from_millis(100);

/// All tasks of an engine.
pub(super) fn all(
    engine: &Arc<EventEngine>,
    tails: Vec<Tail>,
    control: ControlTask,
) -> Vec<EngineTask> {
    let closed = &engine.closed;
    let lanes = engine.control.lanes.iter().zip(tails);
    let mut tasks: Vec<EngineTask> = lanes
        .map(|(lane, tail)| {
            let lane = Arc::clone(lane);
            until_closed("events lane", closed, follow(lane, tail, closed.clone()))
        })
        .collect();
    let groups = groups::run(Arc::clone(&engine.control));
    tasks.push(until_closed("events groups", closed, groups));
    let retention = retain(Arc::clone(engine));
    tasks.push(until_closed("events retention", closed, retention));
    tasks.push(EngineTask::new("events control", control.run()));
    tasks
}

fn until_closed(
    name: &'static str,
    closed: &CancellationToken,
    run: impl Future<Output = ()> + Send + 'static,
) -> EngineTask {
    let closed = closed.clone();
    EngineTask::new(name, async move {
        closed.run_until_cancelled(run).await;
    })
}

/// Folds a partition.
async fn follow(lane: Arc<Lane>, mut tail: Tail, closed: CancellationToken) {
    loop {
        let Err(error) = lane.follow(&mut tail).await else {
            continue;
        };
        if error.may_pass() {
            sleep(PAUSE).await;
            continue;
        }
        if matches!(error, super::lane::LaneError::Log(LogError::Closed)) {
            lane.end_with(draining());
        } else {
            tracing::error!(
                partition = lane.partition.0,
                %error,
                "a partition of topics cannot be read; its topics are not served until the daemon is started anew"
            );
            lane.end_with(error.into());
        }
        return closed.cancelled().await;
    }
}

/// Drops what need not be kept, from time to time.
async fn retain(engine: Arc<EventEngine>) {
    let every = engine.control.groups.config.retention_every;
    loop {
        sleep(every.into()).await;
        for lane in &engine.control.lanes {
            if let Err(error) = lane.retain(engine.clock.wall()).await {
                tracing::warn!(partition = lane.partition.0, %error, "a partition of topics cannot be trimmed now");
            }
        }
        engine.control.groups.wake();
    }
}
