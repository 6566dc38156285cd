//! How a life begins: each partition is read, and taken over by an epoch above all before, which is read back before anything is served.

use super::config::JobsConfig;
use super::held::Budget;
use super::replay::{Partitioned, read_from};
use super::shard::{Common, Shard};
use super::task::ShardTask;
use super::upkeep::Upkeep;
use super::{JobEngine, JobPorts};
use crate::EngineTask;
use crate::steady::SteadyClock;
use crate::underway::Underway;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use trellis_core::jobs::{Entry, Epoch, JobRecord, JobWriter};
use trellis_core::log::{Batch, Log, LogError, Offset, Partition};
use trellis_core::{Clock, Error, ErrorCode, Result};

/// How often a beginning is sent of which the log does not know whether it stands.
const TRIES: usize = 64;

impl JobEngine {
    /// Jobs as the log has them, and the tasks without which nothing goes on. Errors: `InvalidField` for a setting, `Internal` for a record that cannot
    /// be read, `StoreUnavailable` when another daemon takes a partition over meanwhile, those of the log.
    pub async fn start(
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        config: JobsConfig,
        ports: JobPorts,
    ) -> Result<(Arc<Self>, Vec<EngineTask>)> {
        config.check()?;
        if log.limits().partitions < config.partitions {
            let allowed = format!("must be at most the log's {}", log.limits().partitions);
            return Err(Error::invalid("partitions", allowed));
        }
        let durability = log.durability();
        let common = Common {
            budget: Arc::new(Budget::new(config.held_bytes)),
            clock: Arc::new(SteadyClock::new(clock)),
            ports: ports.clone(),
            config,
        };
        let partitions = (0..config.partitions).map(Partition);
        let begun = partitions.map(|it| begin(Arc::clone(&log), it, &common));
        let tasks = try_join_all(begun).await?;
        let shards = tasks.iter().map(|task| Arc::clone(&task.shard)).collect();
        let engine = Arc::new(Self {
            shards,
            ports,
            durability,
            underway: Underway::default(),
        });
        let tasks = tasks
            .into_iter()
            .map(|task| EngineTask::new("jobs partition", task.run()));
        Ok((engine, tasks.collect()))
    }
}

async fn begin(log: Arc<dyn Log>, partition: Partition, common: &Common) -> Result<ShardTask> {
    let partitions = common.config.partitions;
    let end = reach(&*log, partition, partitions).await?;
    let mut replayed = Partitioned::read(&*log, partition, end).await?;
    let count = replayed.fold.partitions();
    if let Some(count) = count.filter(|count| *count != partitions) {
        let allowed = format!("must be {count}, as this log was begun with");
        return Err(Error::invalid("partitions", allowed));
    }
    let lost = replayed.fold.lost();
    let writer = take_over(&*log, partition, &mut replayed, &common.clock).await?;
    let upkeep = Upkeep::new(replayed.since, replayed.last);
    let next = replayed.next;
    let shard = Shard::new((log, partition), common, replayed.fold);
    Ok(ShardTask {
        shard: Arc::new(shard),
        writer,
        next,
        upkeep,
        lost,
        calls: FuturesUnordered::new(),
    })
}

/// Logs what is the first record of a new log, and nothing in another one. Once it was read, all that was acknowledged before is: a log may be slow to
/// show it.
async fn reach(log: &dyn Log, partition: Partition, partitions: u32) -> Result<Offset> {
    for _ in 0..TRIES {
        let batch = Batch::from(Entry::first(partitions));
        match log.append(partition, batch).outcome().await {
            Ok(appended) => return Ok(appended.end),
            Err(LogError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(untold())
}

/// Logs an epoch above all before, and reads up to it.
async fn take_over(
    log: &dyn Log,
    partition: Partition,
    replayed: &mut Partitioned,
    clock: &SteadyClock,
) -> Result<JobWriter> {
    let epoch = Epoch {
        number: replayed.fold.epoch().map_or(0, |epoch| epoch.number) + 1,
        owner: rand::random(),
    };
    let mut writer = JobWriter::new(epoch, replayed.fold.time());
    let start = writer.write(&JobRecord::EpochStart, clock.now());
    for _ in 0..TRIES {
        let batch = Batch::from(start.clone());
        let end = match log.append(partition, batch).outcome().await {
            Ok(appended) => appended.end,
            Err(LogError::Unknown { .. }) => log.bounds(partition).await?.end,
            Err(error) => return Err(error.into()),
        };
        while replayed.next < end {
            let read = read_from(log, partition, replayed.next).await?;
            for found in &read.records {
                let entry = Entry::decode(&found.record)?;
                let fold = &mut replayed.fold;
                fold.apply(found.offset, &entry, &mut Vec::new());
                replayed.since += found.record.bytes();
            }
            if read.next > replayed.next {
                replayed.next = read.next;
            } else {
                log.wait(partition, replayed.next).await?;
            }
        }
        replayed.fold.end_snapshot();
        match replayed.fold.epoch() {
            Some(current) if current == epoch => return Ok(writer),
            Some(current) if current.number >= epoch.number => {
                let message = "another daemon has taken the partition over";
                return Err(Error::new(ErrorCode::StoreUnavailable, message));
            }
            _ => {}
        }
    }
    Err(untold())
}

fn untold() -> Error {
    let message = "the log does not tell whether a partition of jobs was taken over";
    Error::new(ErrorCode::StoreUnavailable, message)
}
