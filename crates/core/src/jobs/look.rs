//! What a fold tells.

use super::charges::ChargedBuckets;
use super::fold::JobFold;
use super::ids::{Epoch, JobId};
use super::job::{Job, JobState};
use super::record::{JobRecord, Mark};
use super::spec::{QueueId, QueueSpec};
use crate::Time;

impl JobFold {
    /// Over how many partitions queues are spread; `None` before the first record.
    #[must_use]
    pub fn partitions(&self) -> Option<u32> {
        self.head.partitions
    }

    /// Who owns the partition.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.head.mark.map(|mark| mark.epoch)
    }

    /// The newest record of the owner.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.head.mark
    }

    /// The time of the log.
    #[must_use]
    pub fn time(&self) -> Time {
        self.head.time
    }

    /// Ids made before it are not known any more, and are refused.
    #[must_use]
    pub fn watermark(&self) -> Time {
        self.head.watermark
    }

    /// How many records of owners are missing before those that came behind them: the log has lost them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.head.lost
    }

    /// A job.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// How many jobs are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The queue of a job.
    #[must_use]
    pub fn queue_of(&self, job: &Job) -> &QueueId {
        &self.index.queues[job.queue].id
    }

    /// How a queue runs its jobs.
    #[must_use]
    pub fn queue_spec(&self, queue: &QueueId) -> QueueSpec {
        self.index
            .queue(queue)
            .map(|queue| queue.spec)
            .unwrap_or_default()
    }

    /// How many jobs of a queue are in a state.
    #[must_use]
    pub fn count(&self, queue: &QueueId, state: JobState) -> u64 {
        let queue = self.index.queue(queue);
        queue.map_or(0, |queue| queue.count(state))
    }

    /// How many jobs are in each state, over all queues, in the order of [`JobState::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; JobState::ALL.len()] {
        let mut counts = [0; JobState::ALL.len()];
        for queue in self.index.all() {
            for (sum, members) in counts.iter_mut().zip(&queue.members) {
                *sum += members.len() as u64;
            }
        }
        counts
    }

    /// Whether a queue has jobs or was set.
    #[must_use]
    pub fn knows(&self, queue: &QueueId) -> bool {
        self.index.find(queue).is_some()
    }

    /// How many queues have jobs or were set.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.index.queues.len()
    }

    /// Queues that have jobs or were set, in no order.
    pub fn queues(&self) -> impl Iterator<Item = &QueueId> {
        self.index.all().map(|queue| &queue.id)
    }

    /// Jobs for which time brings something, in the order in which it does, and their places, behind one: those that have ended are kept until then.
    pub fn due_after(
        &self,
        after: Option<(Time, JobId)>,
    ) -> impl Iterator<Item = ((Time, JobId), &Job)> {
        let due = self.index.due_after(after);
        due.filter_map(|place| Some((place, self.jobs.get(&place.1)?)))
    }

    /// Jobs of a queue behind an id, in the order of their ids.
    pub fn jobs_of(
        &self,
        queue: &QueueId,
        after: Option<JobId>,
    ) -> impl Iterator<Item = (JobId, &Job)> {
        self.jobs_in(queue, &JobState::ALL, after)
    }

    /// The same of those in some states. Looks at no others.
    pub fn jobs_in(
        &self,
        queue: &QueueId,
        states: &[JobState],
        after: Option<JobId>,
    ) -> impl Iterator<Item = (JobId, &Job)> {
        let queue = self.index.queue(queue);
        let ids = queue.map(|queue| queue.jobs_in(states, after));
        let ids = ids.into_iter().flatten();
        ids.filter_map(|id| Some((id, self.jobs.get(&id)?)))
    }

    /// Jobs of a queue that may start now, the next one first.
    pub fn next(&self, queue: &QueueId) -> impl Iterator<Item = JobId> {
        self.next_unless(queue, |_| false)
    }

    /// The same without those that charge buckets which are shut: of those that charge the same, as soon as they are.
    pub fn next_unless<'a>(
        &'a self,
        queue: &QueueId,
        is_shut: impl Fn(&ChargedBuckets) -> bool + 'a,
    ) -> impl Iterator<Item = JobId> + 'a {
        let queue = self.index.queue(queue);
        let next = queue.map(|queue| queue.next(is_shut));
        next.into_iter().flatten()
    }

    /// When [`JobFold::tick`] has something to propose, unless a record changes that.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.index.next_due().map(|(at, _)| at)
    }

    /// What time demands to be logged.
    #[must_use]
    pub fn tick(&self, now: Time) -> Option<JobRecord> {
        let due = self.next_due()? <= now;
        due.then_some(JobRecord::Tick)
    }
}
