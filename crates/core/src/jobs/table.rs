//! All jobs of a partition: found by a hash, for which their ids are random enough, and gone through in the order of their ids.

use super::ids::{JobId, JobMap};
use super::job::Job;
use std::collections::BTreeSet;
use std::ops::Bound;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: JobMap<Box<Job>>,
    order: BTreeSet<JobId>,
}

impl JobTable {
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub fn contains_key(&self, id: &JobId) -> bool {
        self.jobs.contains_key(id)
    }

    pub fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id).map(Box::as_ref)
    }

    pub fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.get_mut(id).map(Box::as_mut)
    }

    pub fn insert(&mut self, id: JobId, job: Job) {
        self.jobs.insert(id, Box::new(job));
        self.order.insert(id);
    }

    pub fn remove(&mut self, id: &JobId) -> Option<Box<Job>> {
        self.order.remove(id);
        self.jobs.remove(id)
    }

    /// The first one behind an id.
    pub fn after(&self, id: Option<&JobId>) -> Option<(&JobId, &Job)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let first = self.order.range((from, Bound::Unbounded)).next()?;
        Some((first, self.get(first)?))
    }
}
