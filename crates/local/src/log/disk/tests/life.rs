//! A log without its thread: every group is committed in the test's own, so that a seed decides everything.

use super::sim::Sim;
use crate::log::disk::files::Files;
use crate::log::disk::find::Source;
use crate::log::disk::format::encode_records;
use crate::log::disk::load::{OnMissing, load};
use crate::log::disk::queue::Request;
use crate::log::disk::salvage::{Lost, salvage};
use crate::log::disk::writer::Writer;
use crate::log::disk::{DiskLogOptions, OpenError, opened};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;
use trellis_core::log::{
    Appended, Batch, Bounds, LogError, LogRecord, LogResult, Offset, Partition, Record,
};
use trellis_core::{Clock, Now, Time};

/// A microsecond later at each look.
#[derive(Default)]
pub(super) struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now(&self) -> Now {
        let now = Time(self.0.fetch_add(1, Ordering::Relaxed));
        Now {
            mono: now,
            wall: now,
        }
    }
}

/// Small enough that groups roll segments.
pub(super) fn options() -> DiskLogOptions {
    DiskLogOptions {
        segment_bytes: 20_000,
        tail_bytes: 0,
        ..DiskLogOptions::default()
    }
}

/// A log between being opened and being left.
pub(super) struct Life {
    pub(super) writer: Writer,
    clock: Arc<dyn Clock>,
}

/// A record of this value alone.
pub(super) fn record(value: impl Into<Vec<u8>>) -> Record {
    Record {
        value: value.into().into(),
        ..Record::default()
    }
}

impl Life {
    pub(super) fn open(sim: &Sim, options: DiskLogOptions) -> Result<Self, OpenError> {
        let files: Arc<dyn Files> = Arc::new(sim.clone());
        let clock: Arc<dyn Clock> = Arc::new(Ticks::default());
        let loaded = load(&*files, OnMissing::Refuse)?;
        Ok(Self {
            writer: opened(files, options, clock.clone(), loaded)?,
            clock,
        })
    }

    /// Opens it with damage salvaged, and tells what was lost.
    pub(super) fn salvage(sim: &Sim) -> Result<(Self, Vec<Lost>), OpenError> {
        let files: Arc<dyn Files> = Arc::new(sim.clone());
        let clock: Arc<dyn Clock> = Arc::new(Ticks::default());
        let lost = salvage(&*files)?;
        let loaded = load(&*files, OnMissing::GiveUp)?;
        let life = Self {
            writer: opened(files, options(), clock.clone(), loaded)?,
            clock,
        };
        Ok((life, lost))
    }

    /// Appends batches in one group.
    pub(super) fn append(&mut self, group: Vec<(u32, Vec<Record>)>) -> Vec<LogResult<Appended>> {
        let mut answers = Vec::new();
        let mut requests = Vec::new();
        for (partition, records) in group {
            let (answer, answered) = oneshot::channel();
            let batch = Batch::new(records).unwrap();
            requests.push(Request::Append {
                partition: Partition(partition),
                body: encode_records(batch.records()).into(),
                count: u32::try_from(batch.records().len()).unwrap(),
                bytes: u32::try_from(batch.bytes()).unwrap(),
                time: self.clock.now().wall,
                answer,
            });
            answers.push(answered);
        }
        self.writer.commit(requests);
        let answered = answers.into_iter().map(|mut it| it.try_recv().unwrap());
        answered.collect()
    }

    pub(super) fn trim(&mut self, partition: u32, before: u64) -> LogResult<()> {
        let (answer, mut answered) = oneshot::channel();
        self.writer.commit(vec![Request::Trim {
            partition: Partition(partition),
            before: Offset(before),
            answer,
        }]);
        answered.try_recv().unwrap()
    }

    pub(super) fn bounds(&self, partition: u32) -> Bounds {
        self.writer.shared.bounds(Partition(partition)).unwrap()
    }

    /// All records of a partition, read in several steps.
    pub(super) fn read_all(&self, partition: u32) -> LogResult<Vec<LogRecord>> {
        let shared = &self.writer.shared;
        let mut records = Vec::new();
        let bounds = self.bounds(partition);
        let mut next = bounds.start;
        while next < bounds.end {
            let plan = match shared.find(Partition(partition), next, 3_000)? {
                Source::Disk(plan) => plan,
                Source::Memory(_) | Source::Nothing => panic!("nothing at {next:?}"),
            };
            let read = plan.read(&*shared.files, next, 3_000);
            let read = read.map_err(|fault| match fault {
                crate::log::disk::reader::ReadFault::Failed(error) => error,
                crate::log::disk::reader::ReadFault::Gone => LogError::Closed,
            })?;
            next = if read.records.is_empty() {
                Offset(plan.end)
            } else {
                read.next
            };
            records.extend(read.records);
        }
        Ok(records)
    }
}
