//! The log in memory: each partition a queue of batches behind a lock of its own.
//!
//! Under the lock a read takes references to the bytes of records, no more than its budget at a time. Everything is lost
//! with the process.

use super::DEFAULT_LIMITS;
use super::retention::Retention;
use super::tell::End;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use trellis_core::log::{
    Appended, Appending, Batch, Bounds, Durability, History, Log, LogError, LogLimits, LogRecord,
    LogResult, Offset, Partition, Read, Records,
};
use trellis_core::{Clock, Time};

/// Bytes of a small record, by which room for a read is made.
const USUAL_BYTES: usize = 512;

/// Bounds of a [`MemoryLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLogOptions {
    /// Bounds on what is appended.
    pub limits: LogLimits,
    /// Bytes of all records, as the port counts them. Beyond, appends fail with `Full`.
    pub max_bytes: u64,
    /// What each partition keeps, by its number; those beyond the list keep everything that is not trimmed.
    pub retention: Vec<Retention>,
}

impl Default for MemoryLogOptions {
    fn default() -> Self {
        Self {
            limits: DEFAULT_LIMITS,
            max_bytes: 256 * 1024 * 1024,
            retention: Vec::new(),
        }
    }
}

/// The log of this process alone.
pub struct MemoryLog {
    limits: LogLimits,
    max_bytes: u64,
    clock: Arc<dyn Clock>,
    history: History,
    partitions: Box<[Queue]>,
    /// Of all partitions. Changed under the lock of a partition, read under none.
    bytes: AtomicU64,
    closed: AtomicBool,
}

struct Queue {
    retention: Retention,
    kept: Mutex<Kept>,
    end: End,
}

#[derive(Default)]
struct Kept {
    batches: VecDeque<KeptBatch>,
    start: Offset,
    end: Offset,
    bytes: u64,
    last_time: Time,
}

struct KeptBatch {
    first: Offset,
    end: Offset,
    time: Time,
    bytes: u64,
    records: Records,
}

impl Kept {
    /// The records from an offset on, up to a budget, at least one if there is one.
    fn read(&self, from: Offset, max_bytes: usize) -> Read {
        let mut read = Read {
            records: Vec::new(),
            next: from,
        };
        let mut bytes = 0;
        let begin = self.batches.partition_point(|batch| batch.end <= from);
        let count = self.end.0.saturating_sub(from.0);
        let most = max_bytes / USUAL_BYTES;
        let count = usize::try_from(count).unwrap_or(most).min(most);
        read.records.reserve(count);
        for batch in self.batches.range(begin..) {
            for (offset, record) in (batch.first.0..).map(Offset).zip(&batch.records) {
                if offset < from {
                    continue;
                }
                if bytes >= max_bytes && !read.records.is_empty() {
                    return read;
                }
                bytes += record.bytes();
                read.next = offset.next();
                read.records.push(LogRecord {
                    offset,
                    time: batch.time,
                    record: record.clone(),
                });
            }
        }
        read
    }

    /// Drops the batches below the start, and tells how many bytes they had.
    fn drop_below_start(&mut self) -> u64 {
        let mut dropped = 0;
        while self.batches.front().is_some_and(|it| it.end <= self.start) {
            dropped += self.batches.pop_front().map_or(0, |batch| batch.bytes);
        }
        self.bytes -= dropped;
        dropped
    }

    /// Drops what need not be kept, whole batches only.
    fn expire(&mut self, retention: Retention, now: Time) -> u64 {
        if retention == Retention::FOREVER {
            return 0;
        }
        let mut newer = self.bytes;
        for batch in &self.batches {
            newer -= batch.bytes;
            if !retention.drops(newer, batch.time, now) {
                break;
            }
            self.start = batch.end;
        }
        self.drop_below_start()
    }
}

impl MemoryLog {
    /// An empty log, with a history of its own.
    #[must_use]
    pub fn new(options: &MemoryLogOptions, clock: Arc<dyn Clock>) -> Self {
        let queue = |partition| Queue {
            retention: Retention::of(&options.retention, partition),
            kept: Mutex::default(),
            end: End::new(Offset(0)),
        };
        Self {
            limits: options.limits,
            max_bytes: options.max_bytes,
            clock,
            history: History(rand::random()),
            partitions: (0..options.limits.partitions).map(queue).collect(),
            bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Ends it: appends fail and waits end with `Closed`. Idempotent. What is kept can still be read.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for queue in &self.partitions {
            queue.end.close();
        }
    }

    fn queue(&self, partition: Partition) -> LogResult<&Queue> {
        self.limits.check_partition(partition)?;
        let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
        self.partitions.get(index).ok_or(LogError::Closed)
    }

    fn now(&self) -> Time {
        self.clock.now().wall
    }

    /// Runs `look` on what a partition keeps, after what is too old is dropped.
    fn look<T>(
        &self,
        partition: Partition,
        look: impl FnOnce(&Kept, Bounds) -> LogResult<T>,
    ) -> LogResult<T> {
        let queue = self.queue(partition)?;
        let now = self.now();
        let mut kept = queue.kept.lock();
        let expired = kept.expire(queue.retention, now);
        self.bytes.fetch_sub(expired, Ordering::Relaxed);
        look(&kept, self.bounds_of(&kept))
    }

    fn bounds_of(&self, kept: &Kept) -> Bounds {
        Bounds {
            start: kept.start,
            end: kept.end,
            history: self.history,
        }
    }

    fn append_now(&self, partition: Partition, batch: Batch) -> LogResult<Appended> {
        self.limits.check(partition, &batch)?;
        let queue = self.queue(partition)?;
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Closed);
        }
        let (now, bytes) = (self.now(), batch.bytes() as u64);
        let mut kept = queue.kept.lock();
        let expired = kept.expire(queue.retention, now);
        self.bytes.fetch_sub(expired, Ordering::Relaxed);
        let room = |held: u64| Some(held + bytes).filter(|sum| *sum <= self.max_bytes);
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        taken.map_err(|_| LogError::Full {
            reason: format!(
                "its records may have {} bytes; trim, or raise the bound",
                self.max_bytes
            ),
        })?;
        let time = now.max(kept.last_time);
        let first = kept.end;
        let records = batch.into_records();
        let end = Offset(first.0 + records.len() as u64);
        kept.batches.push_back(KeptBatch {
            first,
            end,
            time,
            bytes,
            records,
        });
        kept.bytes += bytes;
        (kept.end, kept.last_time) = (end, time);
        drop(kept);
        queue.end.rise(end);
        Ok(Appended { first, end, time })
    }
}

#[async_trait]
impl Log for MemoryLog {
    fn limits(&self) -> LogLimits {
        self.limits
    }

    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    fn failure(&self) -> Option<String> {
        None
    }

    fn append(&self, partition: Partition, batch: Batch) -> Appending {
        Appending::Done(self.append_now(partition, batch))
    }

    async fn read(&self, partition: Partition, from: Offset, max_bytes: usize) -> LogResult<Read> {
        self.look(partition, |kept, bounds| {
            if from < bounds.start || from > bounds.end {
                return Err(LogError::OutOfRange(bounds));
            }
            Ok(kept.read(from, max_bytes))
        })
    }

    async fn wait(&self, partition: Partition, from: Offset) -> LogResult<Bounds> {
        self.queue(partition)?.end.above(from).await?;
        self.bounds(partition).await
    }

    async fn trim(&self, partition: Partition, before: Offset) -> LogResult<()> {
        let queue = self.queue(partition)?;
        let mut kept = queue.kept.lock();
        if before > kept.end {
            return Err(LogError::OutOfRange(self.bounds_of(&kept)));
        }
        kept.start = kept.start.max(before);
        let dropped = kept.drop_below_start();
        self.bytes.fetch_sub(dropped, Ordering::Relaxed);
        Ok(())
    }

    async fn bounds(&self, partition: Partition) -> LogResult<Bounds> {
        self.look(partition, |_, bounds| Ok(bounds))
    }

    async fn seek(&self, partition: Partition, time: Time) -> LogResult<Offset> {
        self.look(partition, |kept, bounds| {
            let index = kept.batches.partition_point(|batch| batch.time < time);
            let found = kept.batches.get(index).map(|batch| batch.first);
            Ok(found.unwrap_or(bounds.end).max(bounds.start))
        })
    }
}
