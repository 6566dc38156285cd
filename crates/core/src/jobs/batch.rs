//! Batches: jobs of one queue that are counted together, end one after the other in an order that is kept, and may end together.
//!
//! A batch says first how many jobs it has; each comes by its index, once. It is over when all of them have ended, or, once it is stopped, all that
//! have come. A batch that fails fast is stopped by the first job that ends without success; its open jobs are then cancelled, a thousand with
//! each record.

use super::fold::{Batching, Change, JobFold, Submission, Verdict, done};
use super::ids::{BatchId, JobId};
use super::job::{Job, Outcome};
use super::queue::Queue;
use super::spec::{JobSpec, MEMORY, QueueId, Request};
use crate::{Result, Time, check_rules};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most jobs of a batch.
pub const MAX_BATCH_JOBS: u32 = 100_000;

/// What a job of a batch that ends without success means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// They go on.
    Collect,
    /// They are cancelled.
    FailFast,
}

/// A batch as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSpec {
    /// The queue of its jobs.
    pub queue: QueueId,
    /// Its jobs: 1 to [`MAX_BATCH_JOBS`].
    pub count: u32,
    /// Those that run at once, at least 1.
    pub max_concurrent: Option<u32>,
    /// What one that fails means for the others.
    pub on_failure: OnFailure,
    /// By which a repeat is known.
    pub request: Option<Request>,
}

impl BatchSpec {
    /// Checks every bound. Errors: `InvalidField`.
    pub fn check(&self) -> Result<()> {
        check_rules([
            (
                (1..=MAX_BATCH_JOBS).contains(&self.count),
                "count",
                "must be 1 to 100000",
            ),
            (
                self.max_concurrent != Some(0),
                "max_concurrent",
                "must be at least 1",
            ),
        ])
    }
}

/// Which job of which batch one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InBatch {
    /// The batch, of the same queue.
    pub batch: BatchId,
    /// Below the count of the batch; no other job of it has the same.
    pub index: u32,
}

/// Why no more jobs of a batch start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// One of them has ended without success.
    Failed,
    /// Somebody took it back.
    Cancelled,
}

/// What a batch is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What was asked for.
    pub spec: BatchSpec,
    /// When, in the time of the log.
    pub created: Time,
    /// Jobs that have come.
    pub taken: u32,
    /// Those that have ended, in the order of [`Outcome::ALL`].
    pub ended: [u32; Outcome::ALL.len()],
    /// It is stopped.
    pub stop: Option<Stop>,
    /// When it was over, and when it is forgotten.
    pub over: Option<(Time, Time)>,
}

/// What has become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchState {
    /// It is not over.
    Open,
    /// All its jobs succeeded.
    Succeeded,
    /// It is over, and some of its jobs did not succeed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Batch {
    /// What has become of it.
    #[must_use]
    pub fn state(&self) -> BatchState {
        let fine = self.ended[Outcome::Succeeded as usize] == self.spec.count;
        match self.stop {
            _ if self.over.is_none() => BatchState::Open,
            _ if fine => BatchState::Succeeded,
            Some(Stop::Cancelled) => BatchState::Cancelled,
            _ => BatchState::Failed,
        }
    }

    /// Jobs that have ended.
    #[must_use]
    pub fn ended(&self) -> u32 {
        self.ended.iter().sum()
    }

    fn is_over(&self) -> bool {
        let most = if self.stop.is_some() {
            self.taken
        } else {
            self.spec.count
        };
        self.ended() == most
    }
}

/// The jobs of a batch that are known.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_index: BTreeMap<u32, JobId>,
    /// Those that have ended, by the order in which they did, from 1.
    done: BTreeMap<u32, JobId>,
    /// By index.
    open: BTreeMap<u32, JobId>,
}

/// What follows from the batches and their jobs.
#[derive(Debug, Default)]
pub(super) struct BatchIndex {
    members: HashMap<BatchId, Members>,
    requests: HashMap<(QueueId, crate::RequestId), BatchId>,
    /// Those that are stopped, of which jobs may be open.
    stopping: BTreeSet<BatchId>,
    forgotten: BTreeSet<(Time, BatchId)>,
}

impl BatchIndex {
    pub fn enlist(&mut self, id: JobId, job: &Job) {
        let Some(place) = job.options().batch else {
            return;
        };
        let members = self.members.entry(place.batch).or_default();
        members.by_index.insert(place.index, id);
        match job.ending() {
            Some(ending) => {
                members.done.insert(ending.batch_number, id);
            }
            None => {
                members.open.insert(place.index, id);
            }
        }
    }

    pub fn unlist(&mut self, job: &Job) {
        let Some(place) = job.options().batch else {
            return;
        };
        let Some(members) = self.members.get_mut(&place.batch) else {
            return;
        };
        members.by_index.remove(&place.index);
        members.open.remove(&place.index);
        if let Some(ending) = job.ending() {
            members.done.remove(&ending.batch_number);
        }
        if members.by_index.is_empty() {
            self.members.remove(&place.batch);
        }
    }

    fn enlist_batch(&mut self, id: BatchId, batch: &Batch) {
        if let Some(request) = &batch.spec.request {
            let key = (batch.spec.queue.clone(), request.id.clone());
            self.requests.insert(key, id);
        }
        if batch.stop.is_some() && batch.over.is_none() {
            self.stopping.insert(id);
        }
        if let Some((_, until)) = batch.over {
            self.forgotten.insert((until, id));
        }
    }

    /// A batch that is stopped and not over.
    pub fn stopping(&self) -> Option<BatchId> {
        self.stopping.first().copied()
    }

    /// The first batch that is forgotten, and when.
    pub fn next_forgotten(&self) -> Option<(Time, BatchId)> {
        self.forgotten.first().copied()
    }
}

impl JobFold {
    /// A batch.
    #[must_use]
    pub fn batch(&self, id: BatchId) -> Option<&Batch> {
        self.batches.get(&id)
    }

    /// How many batches are known.
    #[must_use]
    pub fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// The first job of a batch that ended as this one of them or later, and as which it did.
    #[must_use]
    pub fn ended_in(&self, id: BatchId, from: u32) -> Option<(u32, JobId)> {
        let members = self.index.batches.members.get(&id)?;
        let (number, job) = members.done.range(from..).next()?;
        Some((*number, *job))
    }

    pub(super) fn create_batch(&mut self, id: BatchId, spec: &BatchSpec) -> Verdict {
        if self.batches.contains_key(&id) {
            return Verdict::Void;
        }
        if let Some(request) = &spec.request {
            let key = (spec.queue.clone(), request.id.clone());
            if let Some(first) = self.index.batches.requests.get(&key) {
                let known = self.batches.get(first);
                let known = known.and_then(|batch| batch.spec.request.as_ref());
                return Verdict::Batch(match known {
                    Some(known) if known.digest == request.digest => Batching::Repeat(*first),
                    _ => Batching::RequestReused,
                });
            }
        }
        let batch = Batch {
            spec: spec.clone(),
            created: self.head.time,
            taken: 0,
            ended: [0; Outcome::ALL.len()],
            stop: None,
            over: None,
        };
        self.keep_batch(id);
        self.enlist_batch(id, batch);
        Verdict::Batch(Batching::New)
    }

    /// Takes a batch in, as it is.
    pub(super) fn enlist_batch(&mut self, id: BatchId, batch: Batch) {
        self.index.batches.enlist_batch(id, &batch);
        if let Some(most) = batch.spec.max_concurrent {
            let queue = self.index.find_or_make(&batch.spec.queue);
            self.index.queues[queue].caps.insert(id, most);
        }
        self.batches.insert(id, batch);
    }

    /// What stands in the way of a job of a batch.
    pub(super) fn decide_in_batch(&self, spec: &JobSpec) -> Option<Submission> {
        let place = spec.options.batch?;
        let batch = self.batches.get(&place.batch);
        let Some(batch) = batch.filter(|batch| batch.spec.queue == spec.queue) else {
            return Some(Submission::NoBatch);
        };
        let members = self.index.batches.members.get(&place.batch);
        if let Some(first) = members.and_then(|it| it.by_index.get(&place.index)) {
            return Some(Submission::Repeat(*first));
        }
        if batch.stop.is_some() || batch.over.is_some() {
            return Some(Submission::BatchOver);
        }
        let full = place.index >= batch.spec.count || batch.taken >= batch.spec.count;
        full.then_some(Submission::BatchFull(batch.spec.count))
    }

    /// A job of a batch has come.
    pub(super) fn taken_in_batch(&mut self, spec: &JobSpec) {
        if let Some(place) = spec.options.batch {
            self.alter_batch(place.batch, |batch| batch.taken += 1);
        }
    }

    /// A job is about to end: as the how manieth of its batch.
    pub(super) fn ends_in_batch(&mut self, id: JobId, outcome: Outcome) -> u32 {
        let place = self.jobs.get(&id).and_then(|job| job.options().batch);
        let mut number = 0;
        if let Some(InBatch { batch, .. }) = place {
            self.alter_batch(batch, |batch| {
                batch.ended[outcome as usize] += 1;
                number = batch.ended();
                let fails = outcome != Outcome::Succeeded;
                if fails && batch.spec.on_failure == OnFailure::FailFast {
                    batch.stop.get_or_insert(Stop::Failed);
                }
            });
            self.end_batch(batch);
        }
        number
    }

    pub(super) fn cancel_batch(&mut self, id: BatchId) -> Verdict {
        let open = self.batches.get(&id);
        let open = open.is_some_and(|batch| batch.over.is_none() && batch.stop.is_none());
        if open {
            self.alter_batch(id, |batch| batch.stop = Some(Stop::Cancelled));
            self.end_batch(id);
        }
        done(open)
    }

    /// Cancels the next job of a batch that is stopped.
    pub(super) fn stop_one(&mut self, id: BatchId, changes: &mut Vec<Change>) {
        let members = self.index.batches.members.get(&id);
        let next = members.and_then(|members| members.open.values().next().copied());
        let stopped = next.is_some_and(|job| self.finish((job, None), Outcome::Cancelled, changes));
        if !stopped {
            self.index.batches.stopping.remove(&id);
        }
    }

    /// A batch may be over.
    fn end_batch(&mut self, id: BatchId) {
        let Some(batch) = self.batches.get(&id) else {
            return;
        };
        if batch.over.is_none() && batch.is_over() {
            let spec = self.queue_spec(&batch.spec.queue);
            let fine = batch.ended[Outcome::Succeeded as usize] == batch.spec.count;
            let kept = if fine {
                spec.result_retention
            } else {
                spec.dead_retention
            };
            let at = self.head.time;
            self.alter_batch(id, |batch| batch.over = Some((at, at + kept.max(MEMORY))));
            self.index.batches.stopping.remove(&id);
        }
        if let Some(batch) = self.batches.get(&id) {
            self.index.batches.enlist_batch(id, batch);
        }
    }

    pub(super) fn forget_batch(&mut self, id: BatchId) {
        self.keep_batch(id);
        let Some(batch) = self.batches.remove(&id) else {
            return;
        };
        let index = &mut self.index.batches;
        if let Some((_, until)) = batch.over {
            index.forgotten.remove(&(until, id));
        }
        if let Some(request) = batch.spec.request {
            index
                .requests
                .remove(&(batch.spec.queue.clone(), request.id));
        }
        if let Some(queue) = self.index.find(&batch.spec.queue) {
            self.index.queues[queue].caps.remove(&id);
            self.index.sweep(queue);
        }
    }

    fn alter_batch(&mut self, id: BatchId, change: impl FnOnce(&mut Batch)) {
        self.keep_batch(id);
        if let Some(batch) = self.batches.get_mut(&id) {
            change(batch);
        }
    }

    fn keep_batch(&mut self, id: BatchId) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.keep_batch(id, self.batches.get(&id));
        }
    }
}

impl Queue {
    /// In which line a job stands that may not run beside all others.
    pub(super) fn line_of(&self, job: &Job) -> Option<LineKey> {
        let options = job.options();
        if let Some(key) = &options.concurrency_key {
            return Some(LineKey::Key(key.clone()));
        }
        let batch = options.batch?.batch;
        self.caps
            .contains_key(&batch)
            .then_some(LineKey::Batch(batch))
    }

    /// How many of a line may run at once.
    pub(super) fn room_of(&self, key: &LineKey) -> u32 {
        let most = match key {
            LineKey::Key(_) => self.spec.key_concurrency,
            LineKey::Batch(batch) => self.caps.get(batch).copied(),
        };
        most.unwrap_or(u32::MAX)
    }
}

/// Of whose jobs so many run at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LineKey {
    Key(crate::ConcurrencyKey),
    Batch(BatchId),
}
