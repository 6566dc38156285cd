//! The rules again, by looking at everything each time: no index, no order that is kept, nothing that is counted.

mod batches;
mod charges;
mod check;
mod joins;
mod told;

use super::super::*;
use crate::limits::Usage;
use crate::log::Offset;
use crate::{FairKey, Micros, Time};
use batches::ModelBatch;
use std::collections::BTreeMap;
use told::Told;

const SHARE: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct ModelJob {
    pub id: JobId,
    pub spec: JobSpec,
    pub number: u64,
    pub state: JobState,
    pub attempts: u32,
    until: Time,
    lease: Option<LeaseId>,
    since: Time,
    tag: Option<u64>,
    /// It waits for another one of its cache key.
    joined: bool,
    /// All that was ever told of it, in order: whose it is, and the chunk, the report, or nothing, for a reset.
    told: Vec<(LeaseId, Told)>,
    /// What is to be settled of the attempt under way, if it has taken something.
    usage: Option<Usage>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    owner: Option<(Epoch, u64)>,
    time: Time,
    watermark: Time,
    jobs: Vec<ModelJob>,
    specs: BTreeMap<QueueId, QueueSpec>,
    started: BTreeMap<(QueueId, u8), u64>,
    settlements: BTreeMap<LeaseId, Usage>,
    batches: BTreeMap<BatchId, ModelBatch>,
    lasts: BTreeMap<(QueueId, u8, Option<FairKey>), u64>,
}

impl ModelJob {
    fn turn(&self) -> (QueueId, u8, Option<FairKey>) {
        let turn = self.spec.options.turn.as_ref();
        let key = turn.map(|turn| turn.fair_key.clone());
        (self.spec.queue.clone(), self.spec.priority, key)
    }

    fn order(&self) -> (u8, Option<u64>, u64) {
        (9 - self.spec.priority, self.tag, self.number)
    }

    fn is_open(&self) -> bool {
        !self.state.is_ended()
    }

    fn due(&self) -> Option<Time> {
        match self.state {
            JobState::Ready => None,
            JobState::Running => self.spec.options.timeout.map(|most| self.since + most),
            _ => Some(self.until),
        }
    }
}

impl Model {
    /// Jobs that are known.
    pub fn jobs(&self) -> impl Iterator<Item = &ModelJob> {
        self.jobs.iter()
    }

    fn spec(&self, queue: &QueueId) -> QueueSpec {
        self.specs.get(queue).copied().unwrap_or_default()
    }

    fn find(&mut self, id: JobId) -> Option<&mut ModelJob> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    pub fn apply(&mut self, offset: Offset, entry: &Entry) {
        let Some(mark) = entry.mark else {
            return;
        };
        let start = entry.record == JobRecord::EpochStart;
        let right = match self.owner {
            None => start,
            Some((epoch, _)) if start => mark.epoch.number > epoch.number,
            Some((epoch, last)) => mark.epoch == epoch && mark.sequence > last,
        };
        if !right {
            return;
        }
        self.owner = Some((mark.epoch, mark.sequence));
        self.time = self.time.max(mark.time);
        let leased = |job: &ModelJob| Some((job.id, job.lease?));
        let before: Vec<_> = self.jobs().filter_map(leased).collect();
        self.pass();
        self.settle(&before);
        let before: Vec<_> = self.jobs().filter_map(leased).collect();
        self.carry_out(offset, mark, &entry.record);
        self.hear(&entry.record);
        self.charge(mark, &entry.record);
        self.group(&entry.record);
        self.settle(&before);
        // A key that nobody of waits is forgotten.
        let jobs = &self.jobs;
        self.lasts.retain(|key, _| {
            let mut waiting = jobs.iter().filter(|job| job.state == JobState::Ready);
            waiting.any(|job| job.turn() == *key)
        });
        let jobs = &self.jobs;
        let known = |queue: &QueueId| jobs.iter().any(|job| job.spec.queue == *queue);
        let batches = &self.batches;
        let capped = |queue: &QueueId| batches.values().any(|it| it.caps(queue));
        let specs = &self.specs;
        let set = |queue: &QueueId| {
            specs
                .get(queue)
                .is_some_and(|it| *it != QueueSpec::default())
        };
        self.started
            .retain(|(queue, _), _| known(queue) || set(queue) || capped(queue));
    }

    fn carry_out(&mut self, offset: Offset, mark: Mark, record: &JobRecord) {
        match record {
            JobRecord::Submitted { id, spec } => self.submit(offset, *id, spec),
            JobRecord::Leased { job, .. } => self.lease(*job, mark.lease()),
            JobRecord::Ended { job, lease, how } => {
                let current = self.find(*job).and_then(|job| job.lease);
                if current == Some(*lease) {
                    self.end(*job, how);
                }
            }
            JobRecord::Found { job, .. } => {
                let job = self.find(*job).filter(|job| job.is_open());
                if let Some(id) = job.filter(|job| job.lease.is_none()).map(|job| job.id) {
                    self.finish(id, JobState::Succeeded);
                }
            }
            JobRecord::Forgotten(job) => {
                let job = self.find(*job).filter(|job| !job.is_open());
                if let Some(id) = job.map(|job| job.id) {
                    self.forget(id);
                }
            }
            JobRecord::Purged { queue, states } => {
                let own = self.jobs().filter(|job| job.spec.queue == *queue);
                let own = own.filter(|job| states.contains(&job.state));
                let mut own: Vec<JobId> = own.map(|job| job.id).collect();
                own.sort();
                for id in own {
                    self.purge(id);
                }
            }
            JobRecord::Cancelled(job) => self.finish(*job, JobState::Cancelled),
            JobRecord::QueueSet { queue, spec } => {
                self.specs.insert(queue.clone(), *spec);
            }
            _ => {}
        }
    }

    fn pass(&mut self) {
        loop {
            if let Some(id) = self.stopped() {
                self.finish(id, JobState::Cancelled);
                continue;
            }
            let known = self.jobs().filter_map(|job| Some((job.due()?, 0, job.id)));
            let open = self.jobs().filter(|job| job.is_open());
            let late = open.filter_map(|job| Some((job.spec.options.deadline?, 1, job.id)));
            let all = known.chain(late).chain(self.forgotten());
            let Some((_, kind, id)) = all.min().filter(|it| it.0 <= self.time) else {
                return;
            };
            if kind == 2 {
                self.batches.remove(&BatchId(id));
                continue;
            }
            let state = self.find(id).unwrap().state;
            match state {
                _ if kind == 1 => self.finish(id, JobState::Expired),
                JobState::Delayed => self.make_ready(id),
                JobState::Running => self.fail(id, None),
                _ => {
                    self.watermark = self.watermark.max(id.made() + Micros(1_000));
                    self.forget(id);
                }
            }
        }
    }

    fn forget(&mut self, id: JobId) {
        self.jobs.retain(|job| job.id != id);
    }

    /// Unless it runs.
    fn purge(&mut self, id: JobId) {
        match self.find(id).map(|job| job.state) {
            Some(JobState::Delayed | JobState::Ready) => self.finish(id, JobState::Cancelled),
            Some(state) if state.is_ended() => self.forget(id),
            _ => {}
        }
    }

    fn submit(&mut self, offset: Offset, id: JobId, spec: &JobSpec) {
        if self.find(id).is_some() || id.made() < self.watermark {
            return;
        }
        let own = || self.jobs().filter(|job| job.spec.queue == spec.queue);
        let request = |job: &ModelJob| job.spec.options.request.as_ref().map(|it| it.id.clone());
        let asked = spec.options.request.as_ref().map(|it| it.id.clone());
        if asked.is_some() && own().any(|job| request(job) == asked) {
            return;
        }
        if !self.has_place(spec) {
            return;
        }
        let mut open = own().filter(|job| job.is_open()).count() as u64;
        let mut replaced = None;
        if let Some(unique) = &spec.options.unique {
            let same = |job: &&ModelJob| {
                let other = job.spec.options.unique.as_ref();
                job.is_open() && other.is_some_and(|other| other.key == unique.key)
            };
            if let Some(old) = own().find(same) {
                if unique.on_conflict != OnConflict::Replace {
                    return;
                }
                open -= 1;
                replaced = Some(old.id);
            }
        }
        if open >= self.spec(&spec.queue).max_jobs.unwrap_or(u64::MAX) {
            return;
        }
        if let Some(old) = replaced {
            self.finish(old, JobState::Replaced);
        }
        let later = spec.run_at.filter(|at| *at > self.time);
        self.jobs.push(ModelJob {
            id,
            spec: spec.clone(),
            number: offset.0,
            state: JobState::Delayed,
            attempts: 0,
            until: later.unwrap_or_default(),
            lease: None,
            since: Time(0),
            tag: None,
            joined: false,
            told: Vec::new(),
            usage: None,
        });
        self.take(spec);
        if later.is_none() {
            self.make_ready(id);
        }
    }

    fn make_ready(&mut self, id: JobId) {
        let job = self.find(id).unwrap().clone();
        let key = job.turn();
        let mut tag = job.tag;
        if tag.is_none() {
            let weight = job.spec.options.turn.as_ref().map_or(1, |turn| turn.weight);
            let waiting = |other: &ModelJob| other.state == JobState::Ready && other.turn() == key;
            let waits = self.jobs().any(waiting);
            let last = self.lasts.get(&key).filter(|_| waits);
            let last = last.map(|last| last + SHARE / u64::from(weight));
            let started = self.started.get(&(key.0.clone(), key.1));
            tag = last.max(started.copied()).or(Some(0));
            if !waits {
                self.lasts.remove(&key);
            }
        }
        let last = self.lasts.entry(key).or_default();
        *last = (*last).max(tag.unwrap());
        let job = self.find(id).unwrap();
        (job.state, job.tag, job.lease) = (JobState::Ready, tag, None);
        self.join(id);
    }

    /// Whether a job may start.
    pub fn may_start(&self, id: JobId) -> bool {
        let Some(job) = self.jobs().find(|job| job.id == id) else {
            return false;
        };
        if job.state != JobState::Ready || job.joined {
            return false;
        }
        let spec = self.spec(&job.spec.queue);
        let own = || self.jobs().filter(|it| it.spec.queue == job.spec.queue);
        let running = own().filter(|it| it.state == JobState::Running);
        let running = u32::try_from(running.count()).unwrap();
        let room = spec.concurrency.is_none_or(|most| running < most);
        !spec.paused && room && self.has_key(job, spec)
    }

    fn has_key(&self, job: &ModelJob, spec: QueueSpec) -> bool {
        let key = |job: &ModelJob| -> Option<String> {
            let options = &job.spec.options;
            let key = options.concurrency_key.as_ref().map(ToString::to_string);
            key.or_else(|| self.cap(job).map(|(batch, _)| batch.to_string()))
        };
        if key(job).is_none() {
            return true;
        }
        let most = self
            .cap(job)
            .map_or(spec.key_concurrency, |(_, most)| Some(most));
        let same = self
            .jobs()
            .filter(|it| it.spec.queue == job.spec.queue && key(it) == key(job));
        let before = same.filter(|it| {
            let running = it.state == JobState::Running;
            let ready = it.state == JobState::Ready && !it.joined;
            running || (ready && it.order() < job.order())
        });
        let before = u32::try_from(before.count()).unwrap();
        most.is_none_or(|most| before < most)
    }

    /// Jobs of a queue that may start, the next one first.
    pub fn next(&self, queue: &QueueId) -> Vec<JobId> {
        let own = self.jobs().filter(|job| job.spec.queue == *queue);
        let mut ready: Vec<&ModelJob> = own.filter(|job| self.may_start(job.id)).collect();
        ready.sort_by_key(|job| job.order());
        ready.into_iter().map(|job| job.id).collect()
    }

    fn lease(&mut self, id: JobId, lease: LeaseId) {
        if !self.may_start(id) {
            return;
        }
        let time = self.time;
        let job = self.find(id).unwrap();
        job.state = JobState::Running;
        job.attempts += 1;
        (job.lease, job.since) = (Some(lease), time);
        if !job.told.is_empty() {
            job.told.push((lease, Told::Reset));
        }
        let (key, tag) = (
            (job.spec.queue.clone(), job.spec.priority),
            job.tag.unwrap(),
        );
        let started = self.started.entry(key).or_default();
        *started = (*started).max(tag);
    }

    fn end(&mut self, id: JobId, how: &AttemptEnd) {
        let time = self.time;
        match how {
            AttemptEnd::Succeeded(_) => self.finish(id, JobState::Succeeded),
            AttemptEnd::Failed {
                retryable: true,
                retry_after,
                ..
            } => self.fail(id, *retry_after),
            AttemptEnd::Failed { .. } => self.finish(id, JobState::Failed),
            AttemptEnd::Throttled(wait) => {
                let job = self.find(id).unwrap();
                job.attempts -= 1;
                (job.state, job.until, job.lease) = (JobState::Delayed, time + *wait, None);
            }
            AttemptEnd::Released => {
                if let Some(usage) = &mut self.find(id).unwrap().usage {
                    *usage = Usage::RefundAll;
                }
                self.find(id).unwrap().attempts -= 1;
                self.make_ready(id);
            }
            AttemptEnd::Lost => {
                let job = self.find(id).unwrap();
                if job.attempts >= job.spec.options.retry.max_attempts {
                    self.finish(id, JobState::Dead);
                } else {
                    self.make_ready(id);
                }
            }
        }
    }

    fn fail(&mut self, id: JobId, retry_after: Option<Micros>) {
        let time = self.time;
        let job = self.find(id).unwrap();
        let retry = &job.spec.options.retry;
        if job.attempts >= retry.max_attempts {
            return self.finish(id, JobState::Dead);
        }
        let wait = retry.backoff(id, job.attempts);
        job.until = time + wait.max(retry_after.unwrap_or_default());
        (job.state, job.lease) = (JobState::Delayed, None);
    }

    fn finish(&mut self, id: JobId, state: JobState) {
        let time = self.time;
        let Some(job) = self.find(id).filter(|job| job.is_open()) else {
            return;
        };
        (job.state, job.lease) = (state, None);
        let queue = job.spec.queue.clone();
        let spec = self.spec(&queue);
        let kept = match state {
            JobState::Dead | JobState::Failed => spec.dead_retention,
            _ => spec.result_retention,
        };
        self.find(id).unwrap().until = time + kept.max(MEMORY);
        self.leave(id, state);
        self.release(id, state);
    }
}
