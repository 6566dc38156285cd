//! How jobs of one backend fare, for operators.

use super::job::{JobState, Outcome};
use crate::Micros;

/// How much there is, and what happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobsStatus {
    /// Queues that have jobs or were set.
    pub queues: usize,
    /// Jobs in each state, in the order of [`JobState::ALL`]. Those that have ended are there for as long as they are kept.
    pub counts: [u64; JobState::ALL.len()],
    /// Calls that wait for jobs to run.
    pub reserving: usize,
    /// Calls that wait for jobs to end.
    pub waiting: usize,
    /// Bytes of payloads, checkpoints and results in memory.
    pub held_bytes: usize,
    /// Jobs taken in.
    pub submitted: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// Of them, those whose worker was lost.
    pub lost: u64,
    /// Jobs that have ended, by [`JobState`] in the order of [`JobState::ALL`]; 0 for those that are no ends.
    pub ended: [u64; JobState::ALL.len()],
    /// How long jobs waited for a worker.
    pub pickups: Pickups,
    /// Why a partition is not served before a restart.
    pub failure: Option<String>,
}

impl JobsStatus {
    /// How many jobs are in a state.
    #[must_use]
    pub fn count(&self, state: JobState) -> u64 {
        self.counts[state as usize]
    }

    /// How many jobs have ended so.
    #[must_use]
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.ended[JobState::from(outcome) as usize]
    }
}

/// Up to which times pick-ups are counted apart.
pub const PICKUP_BOUNDS: [Micros; 16] = [
    Micros(100),
    Micros(250),
    Micros(500),
    Micros::from_millis(1),
    Micros::from_millis(2),
    Micros::from_millis(5),
    Micros::from_millis(10),
    Micros::from_millis(50),
    Micros::from_millis(100),
    Micros::from_millis(500),
    Micros::from_secs(1),
    Micros::from_secs(5),
    Micros::from_secs(30),
    Micros::from_secs(60),
    Micros::from_secs(300),
    Micros::from_secs(3_600),
];

/// How long it took from the submission of jobs that were ready at once until a worker had them first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pickups {
    /// How many took longer than the bound before and at most each of [`PICKUP_BOUNDS`].
    pub counts: [u64; PICKUP_BOUNDS.len()],
    /// How many there were, those above all bounds too.
    pub count: u64,
    /// How long all of them took.
    pub sum: Micros,
}

impl Pickups {
    /// One more.
    pub fn note(&mut self, took: Micros) {
        let bound = PICKUP_BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = self.counts.get_mut(bound) {
            *count += 1;
        }
        self.count += 1;
        self.sum.0 = self.sum.0.saturating_add(took.0);
    }

    /// Those of another backend too.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.sum.0 = self.sum.0.saturating_add(other.sum.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickup_counts_below_the_bound_that_it_does_not_exceed() {
        let mut pickups = Pickups::default();
        for took in [0, 100, 101, 3_600_000_000, 3_600_000_001] {
            pickups.note(Micros(took));
        }
        let mut twice = pickups;
        twice.add(&pickups);
        assert_eq!((twice.counts[0], twice.counts[1], twice.count), (4, 2, 10));
        assert_eq!((pickups.counts[15], pickups.count), (1, 5));
        assert_eq!(pickups.sum, Micros(7_200_000_202));
    }
}
