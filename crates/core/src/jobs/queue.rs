//! What is known of one queue, and which of its jobs are next.

use super::batch::LineKey;
use super::charges::ChargedBuckets;
use super::ids::{BatchId, JobId};
use super::job::{Job, JobState, Phase};
use super::join::{self, Joins};
use super::ready::{Ready, Waiting};
use super::spec::{PRIORITIES, QueueId, QueueSpec};
use crate::{RequestId, UniqueKey};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// The place of a ready job: the highest priority, then its turn, then who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    rank: u8,
    tag: u64,
    number: u64,
}

impl Order {
    fn of(job: &Job) -> Self {
        Self {
            rank: PRIORITIES - job.priority,
            tag: job.tag.unwrap_or(0),
            number: job.number,
        }
    }
}

/// Jobs of one concurrency key, or of one batch: as many of the first as may start are shown, the others are hidden.
#[derive(Debug, Default)]
struct Line {
    running: u32,
    shown: BTreeMap<Order, Waiting>,
    hidden: BTreeMap<Order, Waiting>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    pub id: QueueId,
    pub spec: QueueSpec,
    /// By priority: the tag of the job that was started last, which never falls.
    pub started: [u64; PRIORITIES as usize],
    /// All its jobs, by state, in the order of [`JobState::ALL`].
    pub members: [BTreeSet<JobId>; JobState::ALL.len()],
    /// Those that have not ended, by what is unique of them.
    pub unique: HashMap<UniqueKey, JobId>,
    pub requests: HashMap<RequestId, JobId>,
    /// Those that may start, as far as their keys are concerned.
    ready: Ready,
    lines: HashMap<LineKey, Line>,
    /// Jobs by their cache keys.
    pub joins: Joins,
    /// Batches that run so many of their jobs at once.
    pub caps: HashMap<BatchId, u32>,
}

impl Queue {
    pub fn new(id: QueueId) -> Self {
        Self {
            id,
            spec: QueueSpec::default(),
            started: [0; PRIORITIES as usize],
            members: Default::default(),
            unique: HashMap::new(),
            requests: HashMap::new(),
            ready: Ready::default(),
            lines: HashMap::new(),
            joins: Joins::new(),
            caps: HashMap::new(),
        }
    }

    /// Whether forgetting it changes nothing.
    pub fn is_idle(&self) -> bool {
        let none = self.members.iter().all(BTreeSet::is_empty);
        none && self.caps.is_empty() && self.spec == QueueSpec::default()
    }

    pub fn count(&self, state: JobState) -> u64 {
        self.members[state as usize].len() as u64
    }

    /// Jobs in these states behind an id, in the order of their ids.
    pub fn jobs_in(
        &self,
        states: &[JobState],
        after: Option<JobId>,
    ) -> impl Iterator<Item = JobId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let lines = JobState::ALL.into_iter().filter(|it| states.contains(it));
        let lines = lines.map(|state| &self.members[state as usize]);
        let lines = lines.map(|line| line.range((from, Bound::Unbounded)));
        let lines = lines.filter_map(|mut line| Some((*line.next()?, line)));
        let mut lines: Vec<_> = lines.collect();
        std::iter::from_fn(move || {
            let heads = lines.iter().enumerate();
            let (at, _) = heads.min_by_key(|(_, (head, _))| *head)?;
            let (head, rest) = &mut lines[at];
            let first = *head;
            match rest.next() {
                Some(next) => *head = *next,
                None => drop(lines.swap_remove(at)),
            }
            Some(first)
        })
    }

    pub fn running(&self) -> u64 {
        self.count(JobState::Running)
    }

    /// Jobs that have not ended.
    pub fn open(&self) -> u64 {
        let open = [JobState::Delayed, JobState::Ready, JobState::Running];
        open.into_iter().map(|state| self.count(state)).sum()
    }

    /// Jobs that may start now, the next one first, but for those that charge what is shut.
    pub fn next<'a>(
        &'a self,
        is_shut: impl Fn(&ChargedBuckets) -> bool + 'a,
    ) -> impl Iterator<Item = JobId> + 'a {
        let most = self.spec.concurrency.map_or(u64::MAX, u64::from);
        let room = if self.spec.paused {
            0
        } else {
            most.saturating_sub(self.running())
        };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        self.ready.iter(is_shut).take(room)
    }

    /// Whether a ready job may start now.
    pub fn may_start(&self, job: &Job) -> bool {
        let most = self.spec.concurrency.map_or(u64::MAX, u64::from);
        let ready = self.ready.contains(Order::of(job), job.buckets());
        ready && !self.spec.paused && self.running() < most
    }

    /// Takes a job in, as it is.
    pub fn enlist(&mut self, id: JobId, job: &Job) {
        self.members[job.state() as usize].insert(id);
        join::enlist(&mut self.joins, id, job);
        let options = job.options();
        if let Some(request) = &options.request {
            self.requests.insert(request.id.clone(), id);
        }
        if matches!(job.phase, Phase::Ended(_)) {
            return;
        }
        if let Some(unique) = &options.unique {
            self.unique.insert(unique.key.clone(), id);
        }
        if job.joined {
            return;
        }
        let order = Order::of(job);
        match (&job.phase, self.line_of(job)) {
            (Phase::Ready, None) => {
                let buckets = job.buckets().cloned();
                self.ready.insert(order, Waiting { id, buckets });
            }
            (Phase::Ready, Some(key)) => {
                let buckets = job.buckets().cloned();
                let line = self.lines.entry(key.clone()).or_default();
                line.hidden.insert(order, Waiting { id, buckets });
                self.level(&key);
            }
            (Phase::Running(_), Some(key)) => {
                self.lines.entry(key.clone()).or_default().running += 1;
                self.level(&key);
            }
            _ => {}
        }
    }

    /// Takes a job out, as it was.
    pub fn unlist(&mut self, id: JobId, job: &Job) {
        self.members[job.state() as usize].remove(&id);
        join::unlist(&mut self.joins, id, job);
        let options = job.options();
        if let Some(request) = &options.request
            && self.requests.get(&request.id) == Some(&id)
        {
            self.requests.remove(&request.id);
        }
        if let Some(unique) = &options.unique
            && self.unique.get(&unique.key) == Some(&id)
        {
            self.unique.remove(&unique.key);
        }
        let order = Order::of(job);
        match &job.phase {
            Phase::Ready => self.ready.remove(order, job.buckets()),
            Phase::Running(_) => {}
            Phase::Delayed(_) | Phase::Ended(_) => return,
        }
        let Some(key) = self.line_of(job) else {
            return;
        };
        if let Some(line) = self.lines.get_mut(&key) {
            line.shown.remove(&order);
            line.hidden.remove(&order);
            if job.lease().is_some() {
                line.running -= 1;
            }
        }
        self.level(&key);
    }

    /// Runs its jobs otherwise. Looks at each key that has jobs.
    pub fn set(&mut self, spec: QueueSpec) {
        self.spec = spec;
        let keys: Vec<LineKey> = self.lines.keys().cloned().collect();
        for key in keys {
            self.level(&key);
        }
    }

    /// Shows as many of a key's jobs as may start: the first ones.
    fn level(&mut self, key: &LineKey) {
        let most = self.room_of(key);
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let room = most.saturating_sub(line.running) as usize;
        while line.shown.len() < room
            && let Some((order, waiting)) = line.hidden.pop_first()
        {
            line.shown.insert(order, waiting.clone());
            self.ready.insert(order, waiting);
        }
        while let Some((order, waiting)) = line.last_to_hide(room) {
            line.shown.remove(&order);
            self.ready.remove(order, waiting.buckets.as_ref());
            line.hidden.insert(order, waiting);
            if line.shown.len() < room
                && let Some((order, waiting)) = line.hidden.pop_first()
            {
                line.shown.insert(order, waiting.clone());
                self.ready.insert(order, waiting);
            }
        }
        if line.running == 0 && line.shown.is_empty() && line.hidden.is_empty() {
            self.lines.remove(key);
        }
    }
}

impl Line {
    /// The last that is shown, if it is one too many or stands behind one that is hidden.
    fn last_to_hide(&self, room: usize) -> Option<(Order, Waiting)> {
        let (&last, waiting) = self.shown.last_key_value()?;
        let earlier = self.hidden.first_key_value();
        let overtaken = earlier.is_some_and(|(first, _)| *first < last);
        (self.shown.len() > room || overtaken).then(|| (last, waiting.clone()))
    }
}
