//! What jobs and queues are at.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use trellis_proto::v1 as proto;

use super::options::{JobOptions, small};
use crate::convert;
use crate::error::{Error, Result};

/// What a job is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// It waits for its time, or for its back-off to end.
    Delayed,
    /// It waits for a worker.
    Ready,
    /// A worker has it.
    Running,
    /// Over: its worker was done with it.
    Succeeded,
    /// Over: its worker said that trying again does not help.
    Failed,
    /// Over: it was tried as often as its policy allows.
    Dead,
    /// Over: somebody took it back.
    Cancelled,
    /// Over: its deadline passed.
    Expired,
    /// Over: another job of the same unique key took its place.
    Replaced,
}

impl JobState {
    /// Whether it is over.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !matches!(self, Self::Delayed | Self::Ready | Self::Running)
    }

    fn read(value: i32) -> Result<Self> {
        use proto::JobState as Wire;
        match Wire::try_from(value) {
            Ok(Wire::Delayed) => Ok(Self::Delayed),
            Ok(Wire::Ready) => Ok(Self::Ready),
            Ok(Wire::Running) => Ok(Self::Running),
            Ok(Wire::Succeeded) => Ok(Self::Succeeded),
            Ok(Wire::Failed) => Ok(Self::Failed),
            Ok(Wire::Dead) => Ok(Self::Dead),
            Ok(Wire::Cancelled) => Ok(Self::Cancelled),
            Ok(Wire::Expired) => Ok(Self::Expired),
            Ok(Wire::Replaced) => Ok(Self::Replaced),
            Ok(Wire::Unspecified) | Err(_) => Err(convert::unknown(value, "state")),
        }
    }
}

impl From<JobState> for proto::JobState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Delayed => Self::Delayed,
            JobState::Ready => Self::Ready,
            JobState::Running => Self::Running,
            JobState::Succeeded => Self::Succeeded,
            JobState::Failed => Self::Failed,
            JobState::Dead => Self::Dead,
            JobState::Cancelled => Self::Cancelled,
            JobState::Expired => Self::Expired,
            JobState::Replaced => Self::Replaced,
        }
    }
}

/// A job as it is. Its payload is the worker's alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobInfo {
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// What it is at.
    pub state: JobState,
    /// Attempts begun, those that did not count left out.
    pub attempts: u32,
    /// 0 to 9; the highest goes first.
    pub priority: u32,
    /// When it was submitted, by the daemon's clock.
    pub submitted: SystemTime,
    /// [`JobState::Delayed`] only: when it is ready.
    pub ready: Option<SystemTime>,
    /// [`JobState::Running`] only: the attempt under way.
    pub lease: Option<JobLease>,
    /// When it ended; `None` before.
    pub ended: Option<SystemTime>,
    /// Why the last attempt was in vain; empty when none was.
    pub error: String,
    /// What was asked for.
    pub options: JobOptions,
    /// The ended job that it is a repeat of.
    pub retry_of: Option<String>,
}

/// An attempt under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLease {
    /// Who has it.
    pub worker: String,
    /// When it began.
    pub started: SystemTime,
}

fn moment(time: Option<prost_types::Timestamp>, field: &str) -> Result<Option<SystemTime>> {
    time.map(|time| convert::time(Some(time), field))
        .transpose()
}

impl TryFrom<proto::Job> for JobInfo {
    type Error = Error;

    fn try_from(job: proto::Job) -> Result<Self> {
        let lease = job.lease.map(|lease| {
            Ok::<_, Error>(JobLease {
                worker: lease.worker,
                started: convert::time(lease.started_time, "started_time")?,
            })
        });
        Ok(Self {
            id: job.job_id,
            queue: job.queue,
            state: JobState::read(job.state)?,
            attempts: small(job.attempts, "attempts")?,
            priority: small(job.priority, "priority")?,
            submitted: convert::time(job.submitted_time, "submitted_time")?,
            ready: moment(job.ready_time, "ready_time")?,
            lease: lease.transpose()?,
            ended: moment(job.ended_time, "ended_time")?,
            error: job.error,
            options: job.options.unwrap_or_default().try_into()?,
            retry_of: Some(job.retry_of).filter(|id| !id.is_empty()),
        })
    }
}

/// How a queue runs its jobs; what is `None` is left to the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueSpec {
    /// No job is started. Those that run go on.
    pub paused: bool,
    /// Jobs that run at once, over all workers; `None` for any number.
    pub concurrency: Option<u64>,
    /// Jobs of one concurrency key that run at once; `None` for any number.
    pub key_concurrency: Option<u64>,
    /// Jobs that have not ended; beyond, new ones are refused. `None` for as many as the daemon takes.
    pub max_jobs: Option<u64>,
    /// How long jobs and their results are kept, from their end: up to 366 days, but 10 minutes at least; default 24 h.
    pub result_retention: Option<Duration>,
    /// How long jobs are kept that are dead or have failed: up to 366 days, but 10 minutes at least; default 14 days.
    pub dead_retention: Option<Duration>,
}

impl QueueSpec {
    pub(super) fn to_proto(self) -> Result<proto::JobQueueSpec> {
        let count = |count: Option<u64>| i64::try_from(count.unwrap_or(0)).unwrap_or(i64::MAX);
        let span = |span: Option<Duration>, field| {
            let span = span.map(|span| convert::to_proto(span, field));
            span.transpose()
        };
        Ok(proto::JobQueueSpec {
            paused: self.paused,
            concurrency: count(self.concurrency),
            key_concurrency: count(self.key_concurrency),
            max_jobs: count(self.max_jobs),
            result_retention: span(self.result_retention, "result_retention")?,
            dead_retention: span(self.dead_retention, "dead_retention")?,
        })
    }
}

/// A queue as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Its name.
    pub name: String,
    /// How it runs its jobs.
    pub spec: QueueSpec,
    /// How many jobs it has in each state that any is in.
    pub jobs: BTreeMap<JobState, u64>,
}

impl QueueState {
    /// How many jobs are in a state.
    #[must_use]
    pub fn count(&self, state: JobState) -> u64 {
        self.jobs.get(&state).copied().unwrap_or_default()
    }

    /// How many jobs have not ended.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let pending = self.jobs.iter().filter(|(state, _)| !state.is_ended());
        pending.map(|(_, jobs)| jobs).sum()
    }
}

impl TryFrom<proto::JobQueue> for QueueState {
    type Error = Error;

    fn try_from(queue: proto::JobQueue) -> Result<Self> {
        let spec = queue.spec.unwrap_or_default();
        let bound = |bound: i64, field| {
            let bound = convert::count(bound, field)?;
            Ok::<_, Error>(Some(bound).filter(|bound| *bound > 0))
        };
        let span = convert::optional_duration;
        let counts = queue.counts.into_iter().map(|count| {
            let state = JobState::read(count.state)?;
            Ok::<_, Error>((state, convert::count(count.jobs, "jobs")?))
        });
        Ok(Self {
            name: queue.name,
            spec: QueueSpec {
                paused: spec.paused,
                concurrency: bound(spec.concurrency, "concurrency")?,
                key_concurrency: bound(spec.key_concurrency, "key_concurrency")?,
                max_jobs: bound(spec.max_jobs, "max_jobs")?,
                result_retention: span(spec.result_retention, "result_retention")?,
                dead_retention: span(spec.dead_retention, "dead_retention")?,
            },
            jobs: counts.collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_state_that_this_version_does_not_know_is_an_error() {
        for state in 1..=9 {
            let known = JobState::read(state).unwrap();
            assert_eq!(i32::from(proto::JobState::from(known)), state);
            assert_eq!(known.is_ended(), state > 3);
        }
        let job = proto::Job {
            state: 42,
            ..proto::Job::default()
        };
        let error = JobInfo::try_from(job).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidAnswer);
    }
}
