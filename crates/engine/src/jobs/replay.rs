//! How a partition is read: from an offset on, and from its start.

use trellis_core::jobs::{Entry, JobFold, Replay};
use trellis_core::log::{Log, LogError, LogRecord, LogResult, Offset, Partition, Read};
use trellis_core::{Error, ErrorCode, Result};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Reads on. What lies beyond what the log shows yet is nothing so far.
pub(super) async fn read_from(
    log: &dyn Log,
    partition: Partition,
    from: Offset,
) -> LogResult<Read> {
    match log.read(partition, from, CHUNK).await {
        // A former trim that is told by now: what it took was read before.
        Err(LogError::OutOfRange(bounds)) if from < bounds.start => Ok(Read {
            records: Vec::new(),
            next: bounds.start,
        }),
        Err(LogError::OutOfRange(_)) => Ok(Read {
            records: Vec::new(),
            next: from,
        }),
        read => read,
    }
}

/// What a partition amounts to.
pub(super) struct Partitioned {
    pub fold: JobFold,
    pub next: Offset,
    /// Bytes behind the begin of the checkpoint in force.
    pub since: usize,
    /// Where that begins, and its number.
    pub last: (Offset, u64),
}

impl Partitioned {
    /// Reads a partition up to an offset, waiting for it. Errors: `Internal` for a record that cannot be read, and for a log that has
    /// lost its beginning.
    pub async fn read(log: &dyn Log, partition: Partition, end: Offset) -> Result<Self> {
        let start = log.bounds(partition).await?.start;
        let mut replay = Replay::new(start == Offset::default());
        each(log, partition, (start, end), |found| {
            replay.take(found.offset, decode(found)?, found.record.bytes());
            Ok(())
        })
        .await?;
        let Some(replayed) = replay.end() else {
            let message = format!(
                "partition {} of the log of jobs has lost its beginning",
                partition.0
            );
            return Err(Error::new(ErrorCode::Internal, message));
        };
        let last = replayed.checkpoint.map(|it| (it.begin, it.number));
        Ok(Self {
            fold: replayed.fold,
            next: end.max(start),
            since: replayed.since,
            last: last.unwrap_or_default(),
        })
    }
}

fn decode(found: &LogRecord) -> Result<Entry> {
    Entry::decode(&found.record).map_err(|error| {
        let message = format!("offset {}: {}", found.offset.0, error.message);
        Error::new(error.code, message)
    })
}

/// Reads from one offset to another, waiting for it.
async fn each(
    log: &dyn Log,
    partition: Partition,
    (mut next, end): (Offset, Offset),
    mut then: impl FnMut(&LogRecord) -> Result<()>,
) -> Result<()> {
    while next < end {
        let read = read_from(log, partition, next).await?;
        for found in read.records.iter().filter(|found| found.offset < end) {
            then(found)?;
        }
        if read.next > next {
            next = read.next;
        } else {
            log.wait(partition, next).await?;
        }
    }
    Ok(())
}
