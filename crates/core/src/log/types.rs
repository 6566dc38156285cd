//! What goes through the log port.

use super::error::{LogError, LogResult};
use super::headers::Headers;
use crate::{MAX_NAME_BYTES, Time};
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

/// One ordered sequence of records among those of a log, by number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// The place of a record in its partition. Offsets strictly rise; gaps between them mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Which log it is: one that was emptied, lost or made anew has another history, and offsets of two histories
/// must not be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct History(pub u128);

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No record below it can be read.
    pub start: Offset,
    /// One above the last record that can be read; equal to `start` when there is none.
    pub end: Offset,
    /// Whose offsets these are.
    pub history: History,
}

/// What an acknowledged append survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Lost with this daemon.
    Volatile,
    /// On this daemon's disk, synced.
    Disk,
    /// Acknowledged by a shared store, whose own persistence decides.
    Store,
    /// Acknowledged by every in-sync replica.
    Replicated,
}

/// What is kept in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Any bytes; empty for none. A log gives them no meaning.
    pub key: Bytes,
    /// Named values beside its own.
    pub headers: Headers,
    /// Any bytes.
    pub value: Bytes,
}

/// What a record counts as beyond its key and value: no log spends more on one.
pub const RECORD_OVERHEAD: usize = 32;

/// What a header counts as beyond its name and value.
pub const HEADER_OVERHEAD: usize = 16;

impl Record {
    /// The size that bounds and budgets count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self.headers.size() + self.headers.len() * HEADER_OVERHEAD;
        self.key.len() + self.value.len() + RECORD_OVERHEAD + headers
    }
}

/// Records that are appended together, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    records: Records,
    bytes: usize,
}

/// The records of a batch; mostly there is one.
pub type Records = SmallVec<[Record; 1]>;

impl Batch {
    /// Checks what holds for every log: at least one record, names of headers as [`Headers`] says.
    pub fn new(records: Vec<Record>) -> LogResult<Self> {
        if records.is_empty() {
            return Err(LogError::invalid(
                "batch.records",
                "must hold at least one record",
            ));
        }
        for (index, record) in records.iter().enumerate() {
            for (place, header) in record.headers.iter().enumerate() {
                let fits = (1..=MAX_NAME_BYTES).contains(&header.name.len());
                if !fits || std::str::from_utf8(header.name).is_err() {
                    return Err(LogError::invalid(
                        format!("batch.records[{index}].headers[{place}].name"),
                        "must be 1 to 256 bytes of UTF-8",
                    ));
                }
            }
        }
        let bytes = records.iter().map(Record::bytes).sum();
        Ok(Self {
            records: records.into(),
            bytes,
        })
    }

    /// Its records, in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Gives the records back.
    #[must_use]
    pub fn into_records(self) -> Records {
        self.records
    }

    /// The sizes of its records, summed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl From<Record> for Batch {
    /// A batch of one record without headers to check.
    fn from(record: Record) -> Self {
        let bytes = record.bytes();
        Self {
            records: smallvec![record],
            bytes,
        }
    }
}

/// Bounds of a log, the same for as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Partitions are numbered from 0 to below this.
    pub partitions: u32,
    /// [`Batch::bytes`] of one append.
    pub batch_bytes: usize,
    /// Records of one append.
    pub batch_records: usize,
}

impl LogLimits {
    /// Checks that there is such a partition.
    pub fn check_partition(&self, partition: Partition) -> LogResult<()> {
        if partition.0 < self.partitions {
            return Ok(());
        }
        Err(LogError::invalid(
            "partition",
            format!("must be below {}", self.partitions),
        ))
    }

    /// Checks an append.
    pub fn check(&self, partition: Partition, batch: &Batch) -> LogResult<()> {
        self.check_partition(partition)?;
        if batch.records.len() > self.batch_records {
            return Err(LogError::invalid(
                "batch.records",
                format!("must hold at most {} records", self.batch_records),
            ));
        }
        if batch.bytes > self.batch_bytes {
            return Err(LogError::invalid(
                "batch.bytes",
                format!("must be at most {}", self.batch_bytes),
            ));
        }
        Ok(())
    }
}

/// What an append that was acknowledged tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the batch's first record; the others follow without a gap.
    pub first: Offset,
    /// One above the offset of its last record.
    pub end: Offset,
    /// The time of its records.
    pub time: Time,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place.
    pub offset: Offset,
    /// When the log took it in, by the wall clock of the daemon that appended it, in whole milliseconds or finer.
    pub time: Time,
    /// What was appended.
    pub record: Record,
}

/// What a read brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// In the order of their offsets.
    pub records: Vec<LogRecord>,
    /// Where to read on. Beyond where the read began, even without a record, when a gap was passed.
    pub next: Offset,
}
