//! What has happened in one partition since the start, for operators.

use super::shard::Shard;
use trellis_core::Time;
use trellis_core::jobs::{
    AttemptEnd, Change, Job, JobId, JobRecord, JobSet, JobState, JobsStatus, Submission, Verdict,
};

/// See the module.
#[derive(Default)]
pub(super) struct Tally {
    status: JobsStatus,
    /// Jobs that have waited for their time: how long they took to be picked up tells nothing.
    delayed: JobSet,
}

impl Tally {
    /// A job of a former life.
    pub fn adopt(&mut self, id: JobId, job: &Job) {
        if job.state() == JobState::Delayed {
            self.delayed.insert(id);
        }
    }

    /// A job is at something else now.
    pub fn note(&mut self, change: &Change, job: Option<&Job>, now: Time) {
        let Some(state) = change.state else { return };
        match state {
            JobState::Delayed => {
                self.delayed.insert(change.job);
            }
            JobState::Running => {
                self.status.attempts += 1;
                let delayed = self.delayed.remove(&change.job);
                if let Some(job) = job.filter(|job| job.attempts == 1 && !delayed) {
                    self.status.pickups.note(now - job.submitted);
                }
            }
            JobState::Ready => {}
            ended => {
                self.status.ended[ended as usize] += 1;
                self.delayed.remove(&change.job);
            }
        }
    }

    /// A record counts.
    pub fn count(&mut self, record: &JobRecord, verdict: Verdict) {
        match record {
            JobRecord::Ended {
                how: AttemptEnd::Lost,
                ..
            } => self.status.lost += 1,
            JobRecord::Submitted { .. }
                if matches!(
                    verdict,
                    Verdict::Submitted(Submission::New | Submission::Replaced(_))
                ) =>
            {
                self.status.submitted += 1;
            }
            _ => {}
        }
    }
}

impl Shard {
    /// Adds what this partition has.
    pub fn tell_status(&self, status: &mut JobsStatus) {
        let failure = self.log.failure();
        let mut state = self.state.lock();
        status.queues += state.fold.queue_count();
        status.reserving += state.lines.len();
        status.waiting += state.watchers.len();
        status.held_bytes += state.held.bytes();
        let sums = status.counts.iter_mut().chain(&mut status.ended);
        let own = &state.tally.status;
        for (sum, more) in sums.zip(state.fold.counts().into_iter().chain(own.ended)) {
            *sum += more;
        }
        status.submitted += own.submitted;
        status.attempts += own.attempts;
        status.lost += own.lost;
        status.pickups.add(&own.pickups);
        let ended = state.ended.as_ref().map(|error| error.message.clone());
        status.failure = status.failure.take().or(ended).or(failure);
    }
}
