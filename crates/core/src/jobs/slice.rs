//! Parts of a checkpoint: the state as it was where the checkpoint begins.

use super::batch::Batch;
use super::charges::{SettleDue, Taken};
use super::ids::{BatchId, JobId, LeaseId};
use super::job::{Phase, Place};
use super::spec::{JobOptions, PRIORITIES, QueueId, QueueSpec};
use super::stream::Stream;
use crate::{FairKey, Time};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice {
    /// What stands beside queues and jobs.
    Head(HeadSlice),
    /// Some queues, as far as they do not follow from their jobs.
    Queues(Vec<QueueSlice>),
    /// How far some turns are.
    Turns(Vec<TurnSlice>),
    /// Some of what is to be settled.
    Settlements(Vec<SettleSlice>),
    /// Some batches.
    Batches(Vec<BatchSlice>),
    /// Some jobs.
    Jobs(Vec<JobSlice>),
}

/// What stands beside queues and jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadSlice {
    /// As `Partitions` said.
    pub partitions: u32,
    /// The time of the log.
    pub time: Time,
    /// Ids made before it are not known any more.
    pub watermark: Time,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSlice {
    /// Which.
    pub id: QueueId,
    /// How it runs its jobs.
    pub spec: QueueSpec,
    /// By priority: how far those are that were started.
    pub started: [u64; PRIORITIES as usize],
}

/// How far the turns of a fair key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnSlice {
    /// In which queue.
    pub queue: QueueId,
    /// Among jobs of this priority.
    pub priority: u8,
    /// Whose; none for jobs without one.
    pub fair_key: Option<FairKey>,
    /// The tag of the one that came last.
    pub last: u64,
}

/// What is to be settled of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleSlice {
    /// Which attempt.
    pub lease: LeaseId,
    /// What.
    pub due: SettleDue,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSlice {
    /// Which.
    pub id: BatchId,
    /// As it was.
    pub batch: Batch,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSlice {
    /// Which.
    pub id: JobId,
    /// Where.
    pub queue: QueueId,
    /// The offset of its submission.
    pub number: u64,
    /// When it was submitted.
    pub submitted: Time,
    /// Where its payload stands.
    pub payload: Place,
    /// The payload is a reference.
    pub is_reference: bool,
    /// Where what the last attempt left stands.
    pub left: Option<Place>,
    /// What was told of it while it ran.
    pub stream: Option<Stream>,
    /// It waits for another one of its cache key.
    pub joined: bool,
    /// What the attempt under way has taken of limits.
    pub taken: Option<Taken>,
    /// 0 to 9.
    pub priority: u8,
    /// Attempts begun.
    pub attempts: u32,
    /// What it is at.
    pub phase: Phase,
    /// Why the last attempt was in vain.
    pub error: Option<Box<str>>,
    /// Its turn, once it was ready.
    pub tag: Option<u64>,
    /// What was asked for.
    pub options: JobOptions,
}
