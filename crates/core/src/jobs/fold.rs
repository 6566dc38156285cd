//! What the records of a partition amount to. Nothing but [`JobFold::apply`] changes it, and nothing but the record decides how: not the
//! clock, not chance. The same records give the same state, on every daemon.

use super::batch::Batch;
use super::charges::SettleDue;
use super::ids::{BatchId, JobId, LeaseId};
use super::index::{Due, Index, turn_key};
use super::job::{Ending, Job, JobState, Outcome, Phase, Place};
use super::record::{Entry, JobRecord, Mark};
use super::snapshot::Snapshot;
use super::spec::MEMORY;
use super::table::JobTable;
use super::writer::chained;
use crate::log::Offset;
use crate::{Micros, Time};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What one record carries out at most of what time has brought; the next one goes on.
const MOST_DUE: usize = 1_000;

/// What a record amounted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is a copy, its writer is not the owner, or what it speaks of is not so.
    Void,
    /// It counts.
    Done,
    /// It is a submission, and was decided.
    Submitted(Submission),
    /// It is a chunk of an attempt under way, and was decided.
    Chunk(Chunking),
    /// It asks for a batch, and was decided.
    Batch(Batching),
    /// It took so many jobs out.
    Purged(u32),
}

/// What became of a batch that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// There is a new one.
    New,
    /// The same request made this one.
    Repeat(BatchId),
    /// The request id was used for another body; there is no new one.
    RequestReused,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// It has this number.
    Taken(u64),
    /// It was there before.
    Repeat,
    /// The one of this index is to come first.
    Gap(u32),
    /// The attempt has told as much as it may.
    Full,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// There is a new job.
    New,
    /// There is a new job, in whose favour this one of the same unique key has ended.
    Replaced(JobId),
    /// The same request made this one.
    Repeat(JobId),
    /// This one of the same unique key has not ended; there is no new job.
    Existing(JobId),
    /// As `Existing`, and the caller asked to be refused then.
    Rejected(JobId),
    /// The request id was used for another body; there is no new job.
    RequestReused,
    /// The queue has as many jobs as it may; there is no new one.
    QueueFull,
    /// The batch is not known, or of another queue.
    NoBatch,
    /// The batch was stopped, or is over.
    BatchOver,
    /// The batch has no such index: it has so many jobs.
    BatchFull(u32),
}

/// A job is at something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub job: JobId,
    /// What it is at now; `None` once it is forgotten.
    pub state: Option<JobState>,
    /// The attempt that is over by this.
    pub over: Option<LeaseId>,
}

/// What stands beside queues and jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub partitions: Option<u32>,
    /// The newest record of the owner.
    pub mark: Option<Mark>,
    pub time: Time,
    pub watermark: Time,
    /// Records of owners that are missing.
    pub lost: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct JobFold {
    pub(super) head: Head,
    pub(super) jobs: JobTable,
    pub(super) index: Index,
    /// What is to be settled of attempts that are over.
    pub(super) settlements: BTreeMap<LeaseId, SettleDue>,
    pub(super) batches: BTreeMap<BatchId, Batch>,
    pub(super) snapshot: Option<Snapshot>,
}

impl JobFold {
    /// Takes a record over that stands at an offset behind all before, and tells what it amounted to and what it changed.
    pub fn apply(&mut self, offset: Offset, entry: &Entry, changes: &mut Vec<Change>) -> Verdict {
        let Some(mark) = &entry.mark else {
            return self.begin(&entry.record);
        };
        if !self.admit(mark, entry) {
            return Verdict::Void;
        }
        self.carry_out_due(changes);
        match &entry.record {
            JobRecord::Partitions(_) => self.begin(&entry.record),
            JobRecord::Submitted { id, spec } => self.submit(offset, *id, spec, changes),
            JobRecord::Leased {
                job,
                worker,
                reservation,
            } => self.lease((*job, mark.lease()), worker, reservation.as_ref(), changes),
            JobRecord::Used { job, lease, used } => self.used((*job, *lease), used),
            JobRecord::Settled(leases) => self.settled(leases),
            JobRecord::BatchCreated { id, spec } => self.create_batch(*id, spec),
            JobRecord::Purged { queue, states } => self.purge(queue, states, changes),
            JobRecord::Forgotten(job) => self.forget_ended(*job, changes),
            JobRecord::Found { job, result } => self.found(offset, (*job, result), changes),
            JobRecord::BatchCancelled(id) => self.cancel_batch(*id),
            JobRecord::Refused { job, error } => self.refuse(*job, error, changes),
            JobRecord::Ended { job, lease, how } => self.end(offset, (*job, *lease), how, changes),
            JobRecord::Progressed {
                job,
                lease,
                progress,
            } => self.progress(offset, (*job, *lease), progress),
            JobRecord::Chunk {
                job,
                lease,
                chunk,
                most,
            } => self.chunk(offset, (*job, *lease), (chunk, *most)),
            JobRecord::Cancelled(job) => {
                done(self.finish((*job, None), Outcome::Cancelled, changes))
            }
            JobRecord::QueueSet { queue, spec } => {
                let at = self.index.find_or_make(queue);
                self.index.queues[at].set(*spec);
                self.index.sweep(at);
                Verdict::Done
            }
            JobRecord::Moved {
                job,
                part,
                from,
                data,
            } => self.moved((*job, *part), *from, place(offset, data)),
            JobRecord::CheckpointBegin { .. } => {
                self.snapshot = Some(Snapshot::new(self));
                Verdict::Done
            }
            JobRecord::EpochStart
            | JobRecord::Tick
            | JobRecord::Slice(_)
            | JobRecord::CheckpointEnd { .. } => Verdict::Done,
        }
    }

    /// Takes over the first record, the only one without a mark.
    fn begin(&mut self, record: &JobRecord) -> Verdict {
        let JobRecord::Partitions(count) = record else {
            return Verdict::Void;
        };
        let first = self.head.partitions.is_none();
        self.head.partitions.get_or_insert(*count);
        done(first)
    }

    /// Whether a record is the owner's and new, or makes its writer the owner. Then its time has come.
    fn admit(&mut self, mark: &Mark, entry: &Entry) -> bool {
        let last = self.head.mark;
        if entry.record == JobRecord::EpochStart {
            if last.is_some_and(|last| mark.epoch.number <= last.epoch.number) {
                return false;
            }
        } else {
            let Some(last) = last.filter(|last| last.epoch == mark.epoch) else {
                return false;
            };
            if mark.sequence <= last.sequence {
                return false;
            }
            let missing = mark.sequence - last.sequence - 1;
            let broken = missing == 0 && chained(last.chain, entry.checksum) != mark.chain;
            self.head.lost += missing + u64::from(broken);
        }
        self.head.mark = Some(*mark);
        self.head.time = self.head.time.max(mark.time);
        true
    }

    /// Carries out what time has brought.
    fn carry_out_due(&mut self, changes: &mut Vec<Change>) {
        for _ in 0..MOST_DUE {
            let Some((at, due)) = self.index.next_due() else {
                return;
            };
            if at > self.head.time {
                return;
            }
            match due {
                Due::Deadline(job) => {
                    self.finish((job, None), Outcome::Expired, changes);
                }
                Due::Phase(job) => self.pass(job, changes),
                Due::Stop(batch) => self.stop_one(batch, changes),
                Due::Batch(batch) => self.forget_batch(batch),
            }
        }
    }

    /// The phase of a job is over.
    fn pass(&mut self, id: JobId, changes: &mut Vec<Change>) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        match &job.phase {
            Phase::Delayed(_) | Phase::Ready => {
                self.change(id, changes, |job| job.phase = Phase::Ready);
            }
            Phase::Running(lease) => {
                let lease = lease.id;
                self.fail((id, lease), "the attempt took too long", None, changes);
            }
            Phase::Ended(_) => {
                let watermark = id.made() + Micros::from_millis(1);
                self.head.watermark = self.head.watermark.max(watermark);
                self.forget(id, changes);
            }
        }
    }

    /// Ends a job, once; tells whether it did.
    pub(super) fn finish(
        &mut self,
        (id, error): (JobId, Option<&str>),
        outcome: Outcome,
        changes: &mut Vec<Change>,
    ) -> bool {
        let Some(job) = self.jobs.get(&id) else {
            return false;
        };
        if job.ending().is_some() {
            return false;
        }
        let spec = &self.index.queues[job.queue].spec;
        let kept = match outcome {
            Outcome::Dead | Outcome::Failed => spec.dead_retention,
            _ => spec.result_retention,
        };
        let at = self.head.time;
        let batch_number = self.ends_in_batch(id, outcome);
        let joined = self.joined(id);
        self.change(id, changes, |job| {
            if error.is_some() {
                job.error = error.map(Into::into);
            }
            job.phase = Phase::Ended(Box::new(Ending {
                outcome,
                at,
                kept_until: at + kept.max(MEMORY),
                lease: job.lease().map(|lease| lease.id),
                batch_number,
            }));
        });
        self.release((id, joined), outcome, changes);
        true
    }

    /// A job is not known any more. That may be a young one, so ids made before it are still taken: copies of its records are void by their marks.
    pub(super) fn forget(&mut self, id: JobId, changes: &mut Vec<Change>) {
        self.keep_for_snapshot(id);
        let Some(job) = self.jobs.remove(&id) else {
            return;
        };
        self.index.unlist(id, &job);
        self.index.sweep(job.queue);
        changes.push(Change {
            job: id,
            state: None,
            over: None,
        });
    }

    /// Changes what no index knows of a job.
    pub(super) fn alter(&mut self, id: JobId, change: impl FnOnce(&mut Job)) {
        self.keep_for_snapshot(id);
        if let Some(job) = self.jobs.get_mut(&id) {
            change(job);
        }
    }

    /// Changes the phase of a job.
    pub(super) fn change(
        &mut self,
        id: JobId,
        changes: &mut Vec<Change>,
        change: impl FnOnce(&mut Job),
    ) {
        self.keep_for_snapshot(id);
        let Some(job) = self.jobs.get_mut(&id) else {
            return;
        };
        let before = job.lease().map(|lease| lease.id);
        self.index.unlist(id, job);
        change(job);
        if job.phase == Phase::Ready {
            self.index.take_turn(job);
            self.index.join(job);
        }
        self.index.enlist(id, job);
        let after = job.lease().map(|lease| lease.id);
        let over = before.filter(|_| before != after);
        let taken = if over.is_some() {
            job.taken.take()
        } else {
            None
        };
        let queue = job.queue;
        changes.push(Change {
            job: id,
            state: Some(job.state()),
            over,
        });
        if let (Some(lease), Some(taken)) = (over, taken) {
            let namespace = self.index.queues[queue].id.namespace.clone();
            self.settle_due(lease, namespace, *taken);
        }
    }

    fn keep_for_snapshot(&mut self, id: JobId) {
        let Some(snapshot) = &mut self.snapshot else {
            return;
        };
        let job = self.jobs.get(&id);
        snapshot.keep_job(id, job);
        if let Some(job) = job {
            let key = turn_key(job);
            snapshot.keep_turns(&key, self.index.turns.get(&key));
        }
    }
}

pub(super) fn done(changed: bool) -> Verdict {
    if changed {
        Verdict::Done
    } else {
        Verdict::Void
    }
}

/// Where a record's data stand.
pub(super) fn place(offset: Offset, data: &Bytes) -> Place {
    Place {
        offset,
        // Bounded far below.
        bytes: u32::try_from(data.len()).unwrap_or(u32::MAX),
    }
}
