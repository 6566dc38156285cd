//! A fold is held against the model.

use super::super::super::*;
use super::Model;
use super::told::read;
use std::collections::BTreeMap;

impl Model {
    /// Holds a fold against it.
    pub fn check(&self, fold: &JobFold, queues: &[QueueId]) -> Result<(), String> {
        let known = self.jobs().count();
        if known != fold.len() {
            return Err(format!("{} jobs are known, not {known}", fold.len()));
        }
        for job in self.jobs() {
            let other = fold
                .job(job.id)
                .ok_or_else(|| format!("{} is lost", job.id))?;
            if (other.state(), other.attempts, other.number)
                != (job.state, job.attempts, job.number)
            {
                return Err(format!("{other:?} should be {job:?}"));
            }
            if job.valid() != read(other) {
                return Err(format!("{:?} should be {:?}", other.stream(), job.told));
            }
        }
        let told = fold.due_settlements();
        let told: BTreeMap<_, _> = told
            .map(|(at, due)| (at, due.taken.usage.clone()))
            .collect();
        if told != self.settlements {
            let wanted = &self.settlements;
            return Err(format!(
                "{told:?} are to be settled, and should be {wanted:?}"
            ));
        }
        self.check_batches(fold)?;
        for queue in queues {
            let mut next = self.next(queue);
            let spec = self.spec(queue);
            let running = fold.count(queue, JobState::Running);
            let room = spec
                .concurrency
                .map_or(u64::MAX, u64::from)
                .saturating_sub(running);
            next.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            let told: Vec<JobId> = fold.next(queue).collect();
            if told != next {
                return Err(format!("next are {told:?}, and should be {next:?}"));
            }
            let shut = |id: &JobId| {
                let job = fold.job(*id).unwrap();
                let charges = &job.options().charges;
                charges.iter().any(|charge| charge.limit.as_str() == "llm")
            };
            let mut open = self.next(queue);
            open.retain(|id| !shut(id));
            let is_shut = |buckets: &ChargedBuckets| buckets[0].limit.as_str() == "llm";
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            open.truncate(room);
            let told: Vec<JobId> = fold.next_unless(queue, is_shut).collect();
            if told != open {
                return Err(format!(
                    "beside them {told:?} are next, and should be {open:?}"
                ));
            }
        }
        Ok(())
    }
}
