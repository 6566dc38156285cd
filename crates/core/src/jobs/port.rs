//! The jobs port: what is run for everybody, and what a caller may rely on.

use super::batch::BatchSpec;
use super::ids::{BatchId, JobId, LeaseId};
use super::job::{JobState, Lease};
use super::record::AttemptEnd;
use super::spec::{JobOptions, JobSpec, Payload, QueueId, QueueSpec, Request};
use super::status::JobsStatus;
use super::stream::{Chunk, Progress};
use super::watch::{BatchView, BatchWatch, JobWatch, WatchAttempts};
use crate::limits::ActualAmount;
use crate::log::Durability;
use crate::{Micros, Name, Namespace, Result, Scope, Time};
use async_trait::async_trait;
use bytes::Bytes;
use std::pin::Pin;

/// A submission under way: it goes on when this is dropped.
pub type Submitting = Pin<Box<dyn Future<Output = Result<Submitted>> + Send>>;

/// Submissions under way, each answered by itself, in order: they go on when this is dropped.
pub type SubmittingBatch = Pin<Box<dyn Future<Output = Vec<Result<Submitted>>> + Send>>;

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is a new job.
    New,
    /// There is a new job, in whose favour another one of the same unique key has ended.
    Replaced(JobId),
    /// The same request made the job before.
    Repeat,
    /// A job of the same unique key has not ended; it is told, and there is no new one.
    Existing,
    /// As `Existing`, and the caller asked to be refused then.
    Rejected,
}

/// The answer to a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The job: the new one, or the one that was there.
    pub job: JobId,
    /// Which.
    pub decision: Decision,
    /// What it survives.
    pub durability: Durability,
}

/// Asks for jobs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Of which queue.
    pub queue: QueueId,
    /// Who asks.
    pub worker: Name,
    /// At most so many, at least 1.
    pub max_jobs: usize,
    /// At most so many bytes, as [`Assigned::bytes`] counts them; one job comes even if it has more.
    pub max_bytes: usize,
    /// How long to wait for the first.
    pub max_wait: Micros,
    /// How long the worker has a job unless it extends; the daemon's default if none.
    pub lease: Option<Micros>,
}

/// An attempt, for its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Which job.
    pub job: JobId,
    /// By which it is ended or extended.
    pub lease: LeaseId,
    /// How long the worker has it from now.
    pub remaining: Micros,
    /// The how manieth attempt it is, from 1.
    pub attempt: u32,
    /// What is to be done.
    pub payload: Payload,
    /// What an earlier attempt left for this one.
    pub checkpoint: Option<Bytes>,
    /// What was asked for.
    pub options: JobOptions,
}

impl Assigned {
    /// Bytes of what was given: payload, checkpoint and options.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let checkpoint = self.checkpoint.as_ref().map_or(0, Bytes::len);
        self.payload.data.len() + checkpoint + self.options.bytes()
    }
}

/// An attempt, as its worker speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Of which job.
    pub job: JobId,
    /// Which one.
    pub lease: LeaseId,
}

/// What a job is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Which.
    pub id: JobId,
    /// Where.
    pub queue: QueueId,
    /// Phase or outcome.
    pub state: JobState,
    /// Attempts begun.
    pub attempts: u32,
    /// 0 to 9; the highest goes first.
    pub priority: u8,
    /// When it was submitted, as wall-clock time.
    pub submitted: Time,
    /// When it is ready, of a job that waits for its time.
    pub ready_at: Option<Time>,
    /// The attempt under way.
    pub lease: Option<Lease>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Why the last attempt was in vain.
    pub error: Option<Box<str>>,
    /// What was asked for.
    pub options: JobOptions,
}

/// Asks for jobs of a queue, by id, which is by when they were submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListJobs {
    /// Which queue.
    pub queue: QueueId,
    /// Those in these states; all if none is named.
    pub states: Vec<JobState>,
    /// Those after this id.
    pub after: Option<JobId>,
    /// At most so many, at least 1.
    pub page_size: usize,
}

/// What a queue is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Which.
    pub queue: QueueId,
    /// How it runs its jobs.
    pub spec: QueueSpec,
    /// Jobs in each state, in the order of [`JobState::ALL`].
    pub counts: [u64; JobState::ALL.len()],
}

impl QueueState {
    /// How many jobs are in a state.
    #[must_use]
    pub fn count(&self, state: JobState) -> u64 {
        self.counts[state as usize]
    }
}

/// Jobs, shared by all who call the same backend.
///
/// **Kept.** A job that was acknowledged is not lost, as far as [`Jobs::durability`] says, and runs until it has ended.
///
/// **At least once.** A job runs again when an attempt was in vain, its worker let the lease run out, or the backend lost sight of it. Only
/// one attempt at a time is under way, and only it speaks for the job.
///
/// **One outcome.** A job ends once. Whoever asks is told the same, for as long as the job is kept.
///
/// **Order.** The highest priority first; there, fair keys by turns; of a key, who came first.
///
/// **Errors.** Besides those named: `StoreUnavailable` and `OutcomeUnknown` as the log brings them, `Draining` when it is closed.
/// After `OutcomeUnknown` the change may stand, and a repeat under the same request id is right in every case.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// What an answer survives. Never waits.
    fn durability(&self) -> Durability;

    /// The guarantee that holds now.
    fn scope(&self) -> Scope;

    /// Takes a job in. Begins with the call, not with the first poll; jobs of one queue stand in the order of the calls. Errors:
    /// `InvalidField`, `TooManyJobs`, `TooManyQueues`, `TooManyBytes`, `RequestIdReused`.
    fn submit(&self, job: JobSpec) -> Submitting;

    /// Takes jobs in, each as [`Jobs::submit`] does.
    fn submit_batch(&self, jobs: Vec<JobSpec>) -> SubmittingBatch;

    /// The next jobs for a worker; waits for the first one at most `max_wait`, then none. Dropping the future gives back what it had taken,
    /// as released. Errors: `TooManyWaiters`, `InvalidField`.
    async fn reserve(&self, reserve: Reserve) -> Result<Vec<Assigned>>;

    /// Ends attempts, each by itself, in order. Goes on when it is dropped. To end an attempt again that succeeded does nothing. Errors of
    /// each: `LeaseLost`, `JobNotFound`, `TooManyBytes`.
    async fn finish(
        &self,
        namespace: &Namespace,
        ends: Vec<(Attempt, AttemptEnd)>,
    ) -> Vec<Result<()>>;

    /// The worker needs longer: the lease lasts so long from now, or as long as at first, and is never made shorter. Errors:
    /// `LeaseLost`, `JobNotFound`.
    async fn extend(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        span: Option<Micros>,
    ) -> Result<Micros>;

    /// Nothing is heard of the worker of these attempts any more: their leases last for at most so long from now, unless they are
    /// extended. Those that are over are passed over. Never waits.
    fn let_go(&self, namespace: &Namespace, attempts: &[Attempt], within: Micros);

    /// For one who watches attempts of a namespace, which are to be added. Never waits.
    fn watch_attempts(&self, namespace: &Namespace) -> Box<dyn WatchAttempts>;

    /// Tells how far an attempt is, and keeps what the next one, if there is one, is to go on from: each if it is there. Errors: `LeaseLost`,
    /// `JobNotFound`, `InvalidField`, `TooManyBytes`.
    async fn progress(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        progress: Progress,
    ) -> Result<()>;

    /// Tells a piece of the result of an attempt, to all who watch or come later. Pieces come in order; one that stands is not taken again, so a
    /// repeat is right in every case. They stand until another attempt begins, and as long as the job is kept. Errors: `LeaseLost`, `JobNotFound`,
    /// `InvalidField`, for an index too that leaves one out, and `TooManyBytes`.
    async fn append(&self, namespace: &Namespace, attempt: Attempt, chunk: Chunk) -> Result<()>;

    /// Says what an attempt has used so far of what its job charges; what is said last is settled when the attempt is over, however that comes, and what is
    /// not named counts as reserved. Errors: `LeaseLost`, `JobNotFound`, `InvalidField`.
    async fn used(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        used: Vec<ActualAmount>,
    ) -> Result<()>;

    /// Reads what is told of a job from a number on, 0 for all, and in the end its outcome, once. Whoever comes late or slowly gets everything that is
    /// still valid, and holds nobody up. Errors: `JobNotFound`, `TooManyWaiters`.
    async fn watch(
        &self,
        namespace: &Namespace,
        job: JobId,
        from: u64,
    ) -> Result<Box<dyn JobWatch>>;

    /// Makes a batch, to which jobs are then submitted by [`JobOptions::batch`](super::JobOptions::batch), and tells whether it is new: a repeat of a request is told the batch that
    /// it made. Errors: `InvalidField`, `RequestIdReused`, `TooManyJobs`, `TooManyQueues`.
    async fn create_batch(&self, spec: BatchSpec) -> Result<(BatchView, bool)>;

    /// A batch. Errors: `JobNotFound`.
    async fn batch(&self, namespace: &Namespace, batch: BatchId) -> Result<BatchView>;

    /// Takes a batch back: its open jobs are cancelled, and no more come. One that is over stays as it is. Errors: `JobNotFound`.
    async fn cancel_batch(&self, namespace: &Namespace, batch: BatchId) -> Result<BatchView>;

    /// Reads how the jobs of a batch end, in the order in which they do, from a number on, 0 for all, and in the end that the batch is over, once. Errors:
    /// `JobNotFound`, `TooManyWaiters`.
    async fn watch_batch(
        &self,
        namespace: &Namespace,
        batch: BatchId,
        from: u64,
    ) -> Result<Box<dyn BatchWatch>>;

    /// A job. Errors: `JobNotFound`.
    async fn job(&self, namespace: &Namespace, job: JobId) -> Result<JobView>;

    /// A job once it has ended, and its result if it succeeded; or as it is after `max_wait`. Errors: `JobNotFound`,
    /// `TooManyWaiters`.
    async fn wait(
        &self,
        namespace: &Namespace,
        job: JobId,
        max_wait: Micros,
    ) -> Result<(JobView, Option<Bytes>)>;

    /// Jobs of a queue, and whether there are more.
    async fn jobs(&self, list: ListJobs) -> Result<(Vec<JobView>, bool)>;

    /// Takes a job back, whether it runs or not; one that has ended stays as it is. Errors: `JobNotFound`.
    async fn cancel(&self, namespace: &Namespace, job: JobId) -> Result<JobView>;

    /// Makes a new job like one that has ended without success; the request names this, as in a submission. Errors: `JobNotFound`, `InvalidField` for one that has not ended or has
    /// succeeded, those of [`Jobs::submit`].
    async fn retry(
        &self,
        namespace: &Namespace,
        job: JobId,
        request: Option<Request>,
    ) -> Result<Submitted>;

    /// How much there is, and what happened since the start. Never waits.
    fn status(&self) -> JobsStatus;

    /// Takes jobs of a queue out, those that are in these states when it begins: cancels those that wait, forgets those that have ended and with them their
    /// request ids; tells of how many. When it fails some may be out, and a repeat takes the others. Errors: `InvalidField` unless all the states are of jobs that wait, or all of
    /// jobs that have ended.
    async fn purge(&self, queue: QueueId, states: Vec<JobState>) -> Result<u64>;

    /// Makes new jobs like those that are dead or have failed, the oldest first, at most so many (1 to 1,000), and takes those out in whose place they are; tells of how
    /// many. When it fails some may be done, and a repeat does the others. Errors: `InvalidField`, those of [`Jobs::submit`].
    async fn requeue(&self, queue: QueueId, max_jobs: usize) -> Result<u64>;

    /// Sets how a queue runs its jobs. Errors: `InvalidField`, `TooManyQueues`.
    async fn set_queue(&self, queue: QueueId, spec: QueueSpec) -> Result<QueueState>;

    /// A queue. One that nothing was submitted to is empty, not unknown.
    async fn queue(&self, queue: QueueId) -> Result<QueueState>;

    /// Queues that have jobs or were set, by name, those after `after`, at most `page_size`, and whether there are more.
    async fn queues(
        &self,
        namespace: &Namespace,
        after: Option<Name>,
        page_size: usize,
    ) -> Result<(Vec<QueueState>, bool)>;
}
