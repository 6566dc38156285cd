//! What is logged of jobs.

use super::batch::BatchSpec;
use super::ids::{BatchId, Epoch, JobId, LeaseId};
use super::job::JobState;
use super::slice::Slice;
use super::spec::{JobSpec, QueueId, QueueSpec};
use super::stream::{Chunk, ChunkBounds, Progress};
use crate::limits::{ActualAmount, ReservationId};
use crate::log::Offset;
use crate::{Micros, Name, Time};
use bytes::Bytes;

/// What an owner puts on its records, by which they are known, and by which it shows if one is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Who wrote it.
    pub epoch: Epoch,
    /// Its place among the records of that epoch: 0 for `EpochStart`, then one more each.
    pub sequence: u64,
    /// When, by the owner's clock: never before the time of a record before it.
    pub time: Time,
    /// A checksum over all records of the epoch up to this one.
    pub chain: u32,
}

impl Mark {
    /// The name of the lease that a record of this mark begins.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        LeaseId {
            epoch: self.epoch.number,
            sequence: self.sequence,
        }
    }
}

/// A record and its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The owner's; none on the log's first record.
    pub mark: Option<Mark>,
    /// What it says.
    pub record: JobRecord,
    /// A checksum over what it says.
    pub(super) checksum: u32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The job is done, with this result.
    Succeeded(Bytes),
    /// It was in vain.
    Failed {
        /// Why.
        error: Box<str>,
        /// Whether trying again may help.
        retryable: bool,
        /// Not before this has passed, however short the back-off is.
        retry_after: Option<Micros>,
    },
    /// It was refused by what it needs, and does not count. The job runs again after this.
    Throttled(Micros),
    /// Its worker gave it back without having begun; it does not count.
    Released,
    /// Its worker is gone.
    Lost,
}

/// Which bytes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// What the worker gets.
    Payload,
    /// What the last attempt left.
    Left,
    /// The chunk of this number.
    Chunk(u64),
}

/// One change, or part of a checkpoint. All but the first are the owner's alone, and count only while it is the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRecord {
    /// The first of a partition: over so many partitions queues are spread, for ever.
    Partitions(u32),
    /// A job is asked for.
    Submitted {
        /// Its name.
        id: JobId,
        /// What was asked for.
        spec: Box<JobSpec>,
    },
    /// Whoever logs this is the owner, if its epoch is higher than all before.
    EpochStart,
    /// Time has come.
    Tick,
    /// A worker gets a ready job, under the lease that the mark names.
    Leased {
        /// Which.
        job: JobId,
        /// Who.
        worker: Name,
        /// What was taken for it of the limits that it charges.
        reservation: Option<ReservationId>,
    },
    /// A ready job ends without an attempt: what it charges it will never get.
    Refused {
        /// Which.
        job: JobId,
        /// Why.
        error: Box<str>,
    },
    /// A worker says what its attempt has used so far of what was taken.
    Used {
        /// Of which job.
        job: JobId,
        /// Which attempt.
        lease: LeaseId,
        /// What is not named was used as reserved.
        used: Vec<ActualAmount>,
    },
    /// What these attempts have taken was settled.
    Settled(Vec<LeaseId>),
    /// An attempt has ended.
    Ended {
        /// Of which job.
        job: JobId,
        /// Which one.
        lease: LeaseId,
        /// How.
        how: AttemptEnd,
    },
    /// An attempt tells how far it is, and leaves what the next one is to go on from.
    Progressed {
        /// Of which job.
        job: JobId,
        /// Which one.
        lease: LeaseId,
        /// What it tells.
        progress: Progress,
    },
    /// An attempt tells a piece of its result.
    Chunk {
        /// Of which job.
        job: JobId,
        /// Which one.
        lease: LeaseId,
        /// The piece.
        chunk: Chunk,
        /// What all of them may be, by the settings of the owner.
        most: ChunkBounds,
    },
    /// Somebody takes a job back.
    Cancelled(JobId),
    /// A batch is asked for.
    BatchCreated {
        /// Its name.
        id: BatchId,
        /// What was asked for.
        spec: Box<BatchSpec>,
    },
    /// The result of a job that has not begun was there before.
    Found {
        /// Which job.
        job: JobId,
        /// It.
        result: Bytes,
    },
    /// Jobs of a queue in these states are taken out, the oldest first, at most [`super::MAX_PURGED`].
    Purged {
        /// Which queue.
        queue: QueueId,
        /// Which states.
        states: Vec<JobState>,
    },
    /// A job that has ended is not kept any longer.
    Forgotten(JobId),
    /// Somebody takes a batch back.
    BatchCancelled(BatchId),
    /// A queue runs its jobs otherwise.
    QueueSet {
        /// Which.
        queue: QueueId,
        /// How.
        spec: QueueSpec,
    },
    /// Bytes of a job, logged again so that what stands before can go.
    Moved {
        /// Of which.
        job: JobId,
        /// Which.
        part: Part,
        /// Where they stand so far.
        from: Offset,
        /// The same as there.
        data: Bytes,
    },
    /// A checkpoint of the state up to here begins.
    CheckpointBegin {
        /// Which.
        number: u64,
    },
    /// A part of the checkpoint.
    Slice(Slice),
    /// The checkpoint is whole.
    CheckpointEnd {
        /// Which.
        number: u64,
        /// Of so many parts.
        slices: u64,
    },
}
