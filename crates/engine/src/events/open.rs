//! How a life begins: everything is read, and a marker in every partition ends the lives before.

use super::EventEngine;
use super::config::EventsConfig;
use super::control::{CONTROL, Control, ControlTask, Replayed, to_log};
use super::groups::Groups;
use super::lane::{Lane, MARKER, Tail};
use super::order::Tell;
use super::tasks;
use super::topics::TopicCount;
use crate::EngineTask;
use crate::steady::SteadyClock;
use crate::underway::Underway;
use futures::future::try_join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use tokio_util::sync::CancellationToken;
use trellis_core::events::Stamp;
use trellis_core::events::control::ControlRecord;
use trellis_core::log::{Batch, Log, LogError, Partition, Record, RecordWriter};
use trellis_core::{Clock, Error, ErrorCode, Result};

/// How often a marker is sent of which the log does not know whether it stands.
const TRIES: usize = 64;

impl EventEngine {
    /// Topics and groups as the log has them, and the tasks without which nothing is read back. A log has one engine
    /// at a time. Errors: `InvalidField` for a setting, `Internal` for a record that cannot be read, those of the log.
    pub async fn start(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        config: EventsConfig,
    ) -> Result<(Arc<Self>, Vec<EngineTask>)> {
        config.check()?;
        if log.limits().partitions <= config.partitions {
            let allowed = format!("must be below the log's {}", log.limits().partitions);
            return Err(Error::invalid("partitions", allowed));
        }
        let replayed = replay(&*log, config.partitions).await?;
        let lanes = (1..=config.partitions).map(Partition);
        let count = Arc::new(TopicCount {
            most: config.max_topics,
            now: AtomicUsize::new(0),
        });
        let lanes = lanes.map(|it| open_lane(Arc::clone(&log), it, config, Arc::clone(&count)));
        let lanes = try_join_all(lanes).await?;
        let clock = Arc::new(SteadyClock::new(clock));
        let groups = Groups::new(config, Arc::clone(&clock));
        let control = Arc::new(Control::new(lanes, groups));
        control.adopt_topics(&replayed.fold);

        let tails = try_join_all(control.lanes.iter().map(scan)).await?;
        let writers = tails.iter().map(|tail| tail.last.writer);
        let newest = writers.chain([replayed.last.writer]).max();
        let writer = clock.wall().0.max(newest.unwrap_or(0) + 1);
        let mut begun = Begun {
            writer,
            sequence: 0,
            replayed,
        };
        begun.begin(&*log, config.partitions).await?;
        let lanes = control.lanes.iter().zip(tails);
        let tails = try_join_all(lanes.map(|(lane, tail)| begin_lane(lane, tail, writer))).await?;
        control.adopt_groups(&begun.replayed.fold);
        for lane in &control.lanes {
            // One that cannot be trimmed now is when it is next looked at.
            let _ = lane.retain(clock.wall()).await;
        }
        let engine = Arc::new(Self {
            control: Arc::clone(&control),
            clock,
            durability: log.durability(),
            underway: Underway::default(),
            unnamed: AtomicU64::new(0),
            life: format!("{writer:x}-"),
            closed: CancellationToken::new(),
        });
        let task = ControlTask::new(control, log, (writer, begun.sequence), begun.replayed);
        let tasks = tasks::all(&engine, tails, task);
        Ok((engine, tasks))
    }
}

async fn replay(log: &dyn Log, partitions: u32) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    let bounds = log.bounds(CONTROL).await?;
    replayed.next = bounds.start;
    replayed.read_to(log, bounds.end, |_| {}).await?;
    if replayed.fold.partitions().is_some() {
        replayed.check(partitions)?;
    }
    Ok(replayed)
}

/// The control partition of a life that begins.
struct Begun {
    writer: u64,
    sequence: u64,
    replayed: Replayed,
}

impl Begun {
    /// Appends the marker, and in a new log its first record, and reads up to them.
    async fn begin(&mut self, log: &dyn Log, partitions: u32) -> Result<()> {
        for _ in 0..TRIES {
            let first = self.replayed.fold.partitions().is_none();
            let first = first.then_some(ControlRecord::Partitions(partitions));
            let records = first.into_iter().chain([ControlRecord::Started]);
            let records = records.map(|record| {
                self.sequence += 1;
                let stamp = Stamp {
                    writer: self.writer,
                    sequence: self.sequence,
                };
                to_log(&record, stamp)
            });
            let batch = Batch::new(records.collect())?;
            let end = match log.append(CONTROL, batch).outcome().await {
                Ok(appended) => appended.end,
                Err(LogError::Unknown { .. }) => log.bounds(CONTROL).await?.end,
                // One that can be read is better than none; whatever is written meets the same error.
                Err(_) if self.replayed.fold.partitions().is_some() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.replayed.read_to(log, end, |_| {}).await?;
            let marker = Stamp {
                writer: self.writer,
                sequence: self.sequence,
            };
            if self.replayed.last >= marker {
                return self.replayed.check(partitions);
            }
        }
        Err(not_begun())
    }
}

fn not_begun() -> Error {
    Error::new(
        ErrorCode::StoreUnavailable,
        "the log does not tell whether it takes anything in",
    )
}

async fn open_lane(
    log: Arc<dyn Log>,
    partition: Partition,
    config: EventsConfig,
    count: Arc<TopicCount>,
) -> Result<Arc<Lane>> {
    let bounds = log.bounds(partition).await?;
    Ok(Arc::new(Lane::new(log, partition, bounds, config, count)))
}

/// Folds what a partition holds.
async fn scan(lane: &Arc<Lane>) -> Result<Tail> {
    let bounds = lane.log.bounds(lane.partition).await?;
    let mut tail = Tail::new(bounds.start);
    lane.read_to(&mut tail, bounds.end).await?;
    Ok(tail)
}

/// Appends the marker of a life, and folds up to it.
async fn begin_lane(lane: &Arc<Lane>, mut tail: Tail, writer: u64) -> Result<Tail> {
    lane.order.begin(writer);
    for _ in 0..TRIES {
        let marker = |_: &mut RecordWriter, stamp: Stamp| {
            let mut marker = Record {
                headers: [(MARKER, b"")].into_iter().collect(),
                ..Record::default()
            };
            stamp.put(&mut marker);
            marker
        };
        let appending = lane
            .order
            .append(&*lane.log, lane.partition, marker, Tell::InDoubt);
        let appending = match appending {
            Ok(ordered) => ordered.appending,
            Err(appending) => appending,
        };
        let end = match appending.outcome().await {
            Ok(appended) => appended.end,
            Err(LogError::Unknown { .. }) => lane.log.bounds(lane.partition).await?.end,
            // One that can be read is better than none; whatever is published meets the same error.
            Err(_) => return Ok(tail),
        };
        lane.read_to(&mut tail, end).await?;
        if tail.last.writer == writer {
            return Ok(tail);
        }
    }
    Err(not_begun())
}
