//! What is found by something other than its id: jobs by queue and by time, and the turns of fair keys. All of it follows from the jobs, but for
//! what queues are told to do and how far turns are.

use super::batch::BatchIndex;
use super::ids::{BatchId, JobId};
use super::job::{Job, Phase};
use super::queue::Queue;
use super::spec::QueueId;
use crate::{FairKey, Time};
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// What a turn of weight 1 costs. Divisible by many weights, and far below what would overflow.
const TURN: u64 = 1 << 20;

/// Those who take turns: within a queue, those of one priority. Jobs without a fair key are one of them.
pub(super) type TurnKey = (usize, u8, Option<FairKey>);

/// How far one of them is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turns {
    /// The tag of the job that came last.
    pub last: u64,
    /// Jobs that are ready.
    waiting: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub queues: Slab<Queue>,
    names: HashMap<QueueId, usize>,
    /// By the time at which their phase changes.
    due: BTreeSet<(Time, JobId)>,
    deadlines: BTreeSet<(Time, JobId)>,
    pub turns: BTreeMap<TurnKey, Turns>,
    pub batches: BatchIndex,
}

/// What time brings to a job or a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Its phase is over.
    Phase(JobId),
    /// Its deadline has passed.
    Deadline(JobId),
    /// A batch is stopped: its next job ends.
    Stop(BatchId),
    /// A batch is forgotten.
    Batch(BatchId),
}

impl Index {
    /// Where a queue stands, if there is one.
    pub fn find(&self, id: &QueueId) -> Option<usize> {
        self.names.get(id).copied()
    }

    pub fn queue(&self, id: &QueueId) -> Option<&Queue> {
        self.queues.get(self.find(id)?)
    }

    /// Where a queue stands; it is made if there is none.
    pub fn find_or_make(&mut self, id: &QueueId) -> usize {
        if let Some(at) = self.find(id) {
            return at;
        }
        let at = self.queues.insert(Queue::new(id.clone()));
        self.names.insert(id.clone(), at);
        at
    }

    /// Forgets a queue about which nothing is known.
    pub fn sweep(&mut self, at: usize) {
        if self.queues.get(at).is_some_and(Queue::is_idle) {
            let queue = self.queues.remove(at);
            self.names.remove(&queue.id);
        }
    }

    /// Queues by name, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().map(|(_, queue)| queue)
    }

    /// Gives a job that is ready for the first time its place: behind those of its key, and not before what has been started.
    pub fn take_turn(&mut self, job: &mut Job) {
        if job.tag.is_some() {
            return;
        }
        let turn = job.options().turn.as_ref();
        let cost = TURN / u64::from(turn.map_or(1, |turn| turn.weight).max(1));
        let last = self
            .turns
            .get(&turn_key(job))
            .map(|turns| turns.last + cost);
        let started = self.queues[job.queue].started[usize::from(job.priority)];
        job.tag = Some(started.max(last.unwrap_or(0)));
    }

    /// A job is started: those who come from here on stand behind it.
    pub fn start(&mut self, job: &Job) {
        let started = &mut self.queues[job.queue].started[usize::from(job.priority)];
        *started = (*started).max(job.tag.unwrap_or(0));
    }

    /// Takes a job in, as it is.
    pub fn enlist(&mut self, id: JobId, job: &Job) {
        if let Some(due) = job.due() {
            self.due.insert((due, id));
        }
        if let Some(deadline) = job.deadline() {
            self.deadlines.insert((deadline, id));
        }
        if job.phase == Phase::Ready {
            let turns = self.turns.entry(turn_key(job)).or_default();
            turns.waiting += 1;
            turns.last = turns.last.max(job.tag.unwrap_or(0));
        }
        self.batches.enlist(id, job);
        self.queues[job.queue].enlist(id, job);
    }

    /// Takes a job out, as it was.
    pub fn unlist(&mut self, id: JobId, job: &Job) {
        if let Some(due) = job.due() {
            self.due.remove(&(due, id));
        }
        if let Some(deadline) = job.deadline() {
            self.deadlines.remove(&(deadline, id));
        }
        if job.phase == Phase::Ready {
            let key = turn_key(job);
            if let Some(turns) = self.turns.get_mut(&key) {
                turns.waiting -= 1;
                if turns.waiting == 0 {
                    self.turns.remove(&key);
                }
            }
        }
        self.batches.unlist(job);
        self.queues[job.queue].unlist(id, job);
    }

    /// Jobs by when their phase changes, behind a place.
    pub fn due_after(
        &self,
        after: Option<(Time, JobId)>,
    ) -> impl Iterator<Item = (Time, JobId)> + '_ {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.due.range((after, Bound::Unbounded)).copied()
    }

    /// The first thing that time brings, and when.
    pub fn next_due(&self) -> Option<(Time, Due)> {
        if let Some(batch) = self.batches.stopping() {
            return Some((Time(0), Due::Stop(batch)));
        }
        let phase = self.due.first().map(|(at, id)| (*at, Due::Phase(*id)));
        let deadline = self.deadlines.first();
        let deadline = deadline.map(|(at, id)| (*at, Due::Deadline(*id)));
        let batch = self.batches.next_forgotten();
        let batch = batch.map(|(at, id)| (at, Due::Batch(id)));
        // Of those of one time, the first named here.
        let all = [phase, deadline, batch].into_iter().flatten();
        all.min_by_key(|(at, _)| *at)
    }
}

/// Among whom a job takes turns.
pub(super) fn turn_key(job: &Job) -> TurnKey {
    let turn = job.options().turn.as_ref();
    let key = turn.map(|turn| turn.fair_key.clone());
    (job.queue, job.priority, key)
}
