//! Room for new jobs: where there is hardly any, those are forgotten before their time whose time is over first.
//!
//! What is refused for want of room would otherwise be refused until a day has passed, though nobody misses most results once they were fetched. Dead
//! letters stay, and so do jobs of batches, whose order is told.

use super::round::Round;
use super::shard::State;
use trellis_core::jobs::{Job, JobId, JobRecord, JobState, MEMORY};
use trellis_core::{Micros, Time};

/// Jobs that are forgotten at once, and looked at for it.
const MOST: usize = 1_000;
const MOST_LOOKED: usize = 4 * MOST;

/// The part of the bound without which a partition is nearly full.
const NEAR: usize = 32;

/// How long a job that ended can be asked for, whatever comes.
const SHOWN: Micros = Micros::from_secs(30);

/// Between two searches, unless one finds as many as it may.
const PAUSE: Micros = Micros::from_millis(100);

/// Those of which nobody has to look after anything.
const SETTLED: [JobState; 4] = [
    JobState::Succeeded,
    JobState::Cancelled,
    JobState::Replaced,
    JobState::Expired,
];

/// How far the search for jobs that may be forgotten is.
#[derive(Default)]
pub(super) struct Search {
    /// Behind which job it goes on.
    from: Option<(Time, JobId)>,
    /// Not before this.
    at: Time,
}

impl State {
    /// Whether new jobs are about to be refused.
    fn is_nearly_full(&self, most: usize) -> bool {
        self.fold.len() >= most - most / NEAR || self.held.is_nearly_full()
    }

    /// Forgets jobs, if there is hardly room for others.
    pub fn make_room(&mut self, round: &mut Round, most: usize, now: Time) {
        if now < self.search.at || !self.is_nearly_full(most) {
            return;
        }
        let (mut looked, mut gone) = (0, 0);
        for (place, job) in self.fold.due_after(self.search.from).take(MOST_LOOKED) {
            looked += 1;
            self.search.from = Some(place);
            if may_go(job, now) {
                gone += 1;
                round.push(JobRecord::Forgotten(place.1));
            }
            if gone == MOST {
                return;
            }
        }
        if looked < MOST_LOOKED {
            self.search.from = None;
        }
        self.search.at = now + PAUSE;
    }

    /// When to look for jobs that may be forgotten, if that is wanted.
    pub fn next_search(&self, most: usize) -> Option<Time> {
        let has = self.held.bytes() > 0 && self.is_nearly_full(most);
        has.then_some(self.search.at)
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
    let settled = SETTLED.contains(&job.state()) && options.batch.is_none();
    settled && ended.is_some_and(|at| at + kept <= now)
}
