//! What a reader of a job learns: what its attempts tell, and how it ends; what a reader of a batch does: how its jobs end, one after the other; and
//! whoever watches attempts.

use super::batch::Batch;
use super::ids::{BatchId, LeaseId};
use super::port::{Attempt, JobView};
use super::stream::Report;
use crate::Result;
use async_trait::async_trait;
use bytes::Bytes;
use std::task::{Context, Poll};

/// One thing that a reader learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// Its place in the sequence of the job, from 1. Those of what was voided, or overtaken by a newer report, are left out.
    pub number: u64,
    /// The attempt that told it, or by which the job ended.
    pub lease: Option<LeaseId>,
    /// What it is.
    pub news: JobNews,
}

/// See [`JobEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobNews {
    /// Another attempt has begun: what was told before is void.
    Reset,
    /// The next piece of the result.
    Chunk(Bytes),
    /// How far the attempt is.
    Progress {
        /// As its worker says.
        report: Report,
        /// From what the next attempt would go on, as long as the job has not ended.
        checkpoint: Option<Bytes>,
    },
    /// The outcome, and the result if the job succeeded. Nothing comes behind.
    Ended {
        /// The job as it is for ever.
        view: Box<JobView>,
        /// As its worker gave it, beside the chunks.
        result: Option<Bytes>,
    },
}

/// A reader of a job.
#[async_trait]
pub trait JobWatch: Send {
    /// The next thing; waits for it. `None` once the outcome was told. Dropping the future loses nothing, and what is told again after an
    /// error is what was not told before.
    ///
    /// Errors: `JobNotFound` when the job is not kept any more, `StoreUnavailable`, `Draining`.
    async fn next(&mut self) -> Result<Option<JobEvent>>;
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    /// Which.
    pub id: BatchId,
    /// What it is at.
    pub batch: Batch,
}

/// One thing that a reader of a batch learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEvent {
    /// The how manieth job of the batch it was to end, from 1. Those that are not kept any more are left out.
    pub number: u64,
    /// What it is.
    pub news: BatchNews,
}

/// See [`BatchEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchNews {
    /// A job has ended.
    Ended {
        /// The job as it is for ever; its options tell its index.
        view: Box<JobView>,
        /// If it succeeded.
        result: Option<Bytes>,
    },
    /// All of them have. Nothing comes behind.
    Over(Box<BatchView>),
}

/// A reader of a batch.
#[async_trait]
pub trait BatchWatch: Send {
    /// The next thing; waits for it. `None` once it was told that the batch is over. Dropping the future loses nothing, and what is told again after
    /// an error is what was not told before.
    ///
    /// Errors: `JobNotFound` when the batch is not kept any more, `StoreUnavailable`, `Draining`.
    async fn next(&mut self) -> Result<Option<BatchEvent>>;
}

/// Attempts that somebody watches, as long as this is there.
pub trait WatchAttempts: Send {
    /// One more. Only the last who watches an attempt is told late: one before is told when another one comes.
    fn add(&mut self, attempt: Attempt);

    /// Those that are over, whoever ended them; at once those that were when they came. Pending while there are none.
    fn poll_over(&mut self, task: &mut Context<'_>) -> Poll<Vec<Attempt>>;
}
