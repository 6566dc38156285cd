//! Attempts: how one begins, what it leaves, how it ends.

use super::charges::Taken;
use super::fold::{Change, JobFold, Verdict, done, place};
use super::ids::{JobId, LeaseId};
use super::job::{Job, Lease, Outcome, Phase, Place};
use super::record::{AttemptEnd, Part};
use crate::limits::{ReservationId, Usage};
use crate::log::Offset;
use crate::{Micros, Name};

impl JobFold {
    pub(super) fn lease(
        &mut self,
        (id, lease): (JobId, LeaseId),
        worker: &Name,
        reservation: Option<&ReservationId>,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let Some(job) = self.jobs.get(&id) else {
            return Verdict::Void;
        };
        if job.phase != Phase::Ready || !self.index.queues[job.queue].may_start(job) {
            return Verdict::Void;
        }
        self.index.start(job);
        let since = self.head.time;
        self.change(id, changes, |job| {
            job.attempts = job.attempts.saturating_add(1);
            job.phase = Phase::Running(Lease {
                id: lease,
                since,
                worker: worker.clone(),
            });
            job.taken = reservation.map(|reservation| {
                Box::new(Taken {
                    reservation: reservation.clone(),
                    usage: Usage::Actual(Vec::new()),
                })
            });
            if let Some(stream) = &mut job.stream {
                stream.void(lease);
            }
        });
        Verdict::Done
    }

    /// An attempt has ended, if it is the one under way.
    pub(super) fn end(
        &mut self,
        offset: Offset,
        (id, lease): (JobId, LeaseId),
        how: &AttemptEnd,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        if !self.has(id, lease) {
            return Verdict::Void;
        }
        let now = self.head.time;
        match how {
            AttemptEnd::Succeeded(result) => {
                let left = Some(place(offset, result));
                self.alter(id, |job| job.left = left);
                self.finish((id, None), Outcome::Succeeded, changes);
            }
            AttemptEnd::Failed {
                error,
                retryable: true,
                retry_after,
            } => self.fail((id, lease), error, *retry_after, changes),
            AttemptEnd::Failed { error, .. } => {
                self.finish((id, Some(error)), Outcome::Failed, changes);
            }
            AttemptEnd::Throttled(wait) => self.change(id, changes, |job| {
                job.attempts = job.attempts.saturating_sub(1);
                job.phase = Phase::Delayed(now + *wait);
            }),
            AttemptEnd::Released => {
                self.set_usage(id, Usage::RefundAll);
                self.change(id, changes, |job| {
                    job.attempts = job.attempts.saturating_sub(1);
                    job.phase = Phase::Ready;
                });
            }
            AttemptEnd::Lost => {
                let why = "its worker was lost";
                if self.is_spent(id) {
                    self.finish((id, Some(why)), Outcome::Dead, changes);
                } else {
                    self.change(id, changes, |job| {
                        job.error = Some(why.into());
                        job.phase = Phase::Ready;
                    });
                }
            }
        }
        Verdict::Done
    }

    /// A job will never get what it charges.
    pub(super) fn refuse(&mut self, id: JobId, error: &str, changes: &mut Vec<Change>) -> Verdict {
        let waits = self
            .jobs
            .get(&id)
            .is_some_and(|job| job.phase == Phase::Ready);
        done(waits && self.finish((id, Some(error)), Outcome::Failed, changes))
    }

    /// An attempt was in vain: the job is tried again, or is dead.
    pub(super) fn fail(
        &mut self,
        (id, lease): (JobId, LeaseId),
        error: &str,
        retry_after: Option<Micros>,
        changes: &mut Vec<Change>,
    ) {
        if !self.has(id, lease) {
            return;
        }
        if self.is_spent(id) {
            self.finish((id, Some(error)), Outcome::Dead, changes);
            return;
        }
        let now = self.head.time;
        self.change(id, changes, |job| {
            let wait = job.options().retry.backoff(id, job.attempts);
            job.error = Some(error.into());
            job.phase = Phase::Delayed(now + wait.max(retry_after.unwrap_or_default()));
        });
    }

    pub(super) fn moved(&mut self, (id, part): (JobId, Part), from: Offset, to: Place) -> Verdict {
        let Some(job) = self.jobs.get(&id) else {
            return Verdict::Void;
        };
        let now = match part {
            Part::Payload => Some(job.payload),
            Part::Left => job.left,
            Part::Chunk(number) => job.stream().and_then(|stream| stream.chunk(number)),
        };
        // What was left meanwhile stands behind.
        if now.is_none_or(|now| now.offset != from) {
            return Verdict::Void;
        }
        self.alter(id, |job| match part {
            Part::Payload => job.payload = to,
            Part::Left => job.left = Some(to),
            Part::Chunk(number) => {
                if let Some(stream) = &mut job.stream {
                    stream.moved(number, to);
                }
            }
        });
        Verdict::Done
    }

    /// Whether this attempt of a job is under way.
    pub(super) fn has(&self, id: JobId, lease: LeaseId) -> bool {
        let job = self.jobs.get(&id);
        let current = job.and_then(Job::lease);
        current.is_some_and(|current| current.id == lease)
    }

    /// Whether a job was tried as often as it may be.
    fn is_spent(&self, id: JobId) -> bool {
        let job = self.jobs.get(&id);
        job.is_some_and(|job| job.attempts >= job.options().retry.max_attempts)
    }
}
