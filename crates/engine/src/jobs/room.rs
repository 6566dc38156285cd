//! Room for new jobs: where a partition is nearly full, those that ended first are forgotten before their time.
//!
//! What is refused for want of room would otherwise be refused until a day has passed, though nobody misses most results once they were fetched. Dead
//! letters stay, and so do jobs of batches, whose order is told.

use super::round::Round;
use super::shard::State;
use trellis_core::jobs::{Job, JobId, JobRecord, JobState, MEMORY, QueueId};
use trellis_core::{Micros, Time};

/// Jobs that are forgotten at once.
const MOST: usize = 1_000;

/// The part of the bound without which a partition is nearly full.
const NEAR: usize = 32;

/// How long a job that ended can be asked for, whatever comes.
const SHOWN: Micros = Micros::from_secs(30);

/// How long to look for none when there was none.
const PAUSE: Micros = Micros::from_secs(1);

/// Those of which nobody has to look after anything.
const SETTLED: [JobState; 4] = [
    JobState::Succeeded,
    JobState::Cancelled,
    JobState::Replaced,
    JobState::Expired,
];

impl State {
    /// Forgets jobs of the queue that has most that ended, if there is hardly room for others.
    pub fn make_room(&mut self, round: &mut Round, most: usize, now: Time) {
        let full = self.fold.len() >= most - most / NEAR || self.held.is_nearly_full();
        if !full || now < self.room_at {
            return;
        }
        let ended = |queue: &&QueueId| -> u64 {
            let counts = SETTLED.map(|state| self.fold.count(queue, state));
            counts.iter().sum()
        };
        let queue = self.fold.queues().max_by_key(ended);
        let jobs = queue.into_iter();
        let jobs = jobs.flat_map(|queue| self.fold.jobs_in(queue, &SETTLED, None).take(MOST));
        let jobs = jobs.filter(|(_, job)| may_go(job, now));
        let jobs: Vec<JobId> = jobs.map(|(id, _)| id).collect();
        if jobs.is_empty() {
            self.room_at = now + PAUSE;
        }
        for job in jobs {
            round.push(JobRecord::Forgotten(job));
        }
    }
}

/// Whether whoever waited for it was told, and a repeat of its request comes no more.
fn may_go(job: &Job, now: Time) -> bool {
    let options = job.options();
    let kept = match options.request {
        Some(_) => MEMORY,
        None => SHOWN,
    };
    let ended = job.ending().map(|ending| ending.at);
    options.batch.is_none() && ended.is_some_and(|at| at + kept <= now)
}
