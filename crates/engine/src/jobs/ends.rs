//! Ends of jobs, as they come, for whoever tells others.

use super::JobEngine;
use super::shard::State;
use tokio::sync::mpsc;
use trellis_core::jobs::{Job, JobId, JobState, QueueId};

/// A job has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnded {
    /// Which.
    pub job: JobId,
    /// Of which queue.
    pub queue: QueueId,
    /// How.
    pub state: JobState,
    /// Attempts begun.
    pub attempts: u32,
    /// Why the last attempt was in vain.
    pub error: Option<Box<str>>,
}

/// Who is told of which ends.
pub(super) struct Ends {
    states: Vec<JobState>,
    tell: mpsc::Sender<JobEnded>,
}

impl JobEngine {
    /// Tells of jobs that end so from now on. What is not taken while so many wait is not told: nobody is held up.
    #[must_use]
    pub fn ends(&self, states: &[JobState], waiting: usize) -> mpsc::Receiver<JobEnded> {
        let (tell, told) = mpsc::channel(waiting);
        for shard in &self.shards {
            shard.state.lock().ends = Some(Ends {
                states: states.to_vec(),
                tell: tell.clone(),
            });
        }
        told
    }
}

impl State {
    pub fn tell_end(&self, id: JobId, job: &Job) {
        let state = job.state();
        let Some(ends) = self.ends.as_ref().filter(|it| it.states.contains(&state)) else {
            return;
        };
        // Without room, or without anybody who listens, it is not told.
        let _ = ends.tell.try_send(JobEnded {
            job: id,
            queue: self.fold.queue_of(job).clone(),
            state,
            attempts: job.attempts,
            error: job.error.clone(),
        });
    }
}
