//! The state as it was at one place of the log, told in parts while the state goes on: what is changed before it was told is kept as it was.

use super::batch::Batch;
use super::charges::SettleDue;
use super::fold::{Head, JobFold};
use super::ids::{BatchId, JobId, LeaseId};
use super::index::{TurnKey, Turns};
use super::job::{Asked, Job, Outcome, Phase, Place};
use super::record::Part;
use super::slice::{BatchSlice, HeadSlice, JobSlice, QueueSlice, SettleSlice, Slice, TurnSlice};
use super::spec::QueueId;
use super::table::JobTable;
use crate::log::Offset;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// What a queue, and the turns of a key, take in a checkpoint at most.
const QUEUE_BYTES: usize = 720;
const TURNS_BYTES: usize = 800;

/// What a settlement takes there, about: a reservation of 4,096 bytes, and eight amounts.
const SETTLEMENT_BYTES: usize = 8_192;

/// What a batch takes there, about.
const BATCH_BYTES: usize = 900;

/// A map as it was, told in order.
#[derive(Debug)]
struct Frozen<K, V> {
    /// Told up to here.
    told: Option<K>,
    /// What has changed since, as it was; `None` for what was not there.
    kept: BTreeMap<K, Option<V>>,
}

impl<K: Ord + Clone, V: Clone> Frozen<K, V> {
    fn new() -> Self {
        Self {
            told: None,
            kept: BTreeMap::new(),
        }
    }

    /// Something is about to be changed.
    fn keep(&mut self, key: &K, now: Option<&V>) {
        let told = self.told.as_ref().is_some_and(|told| key <= told);
        if !told && !self.kept.contains_key(key) {
            self.kept.insert(key.clone(), now.cloned());
        }
    }

    /// The next ones, after those that were told, of what `after` tells of the state as it is, until they weigh so much; none when all were told.
    fn next<'a>(
        &mut self,
        after: impl Fn(Option<&K>) -> Option<(&'a K, &'a V)>,
        most: usize,
        weigh: impl Fn(&V) -> usize,
    ) -> Vec<(K, V)>
    where
        K: 'a,
        V: 'a,
    {
        let (mut next, mut weight) = (Vec::new(), 0);
        while weight < most {
            let live = after(self.told.as_ref());
            let kept = self.kept.first_key_value();
            let is_kept = match (&live, &kept) {
                (None, None) => break,
                (Some((live, _)), Some((kept, _))) => kept <= live,
                (live, _) => live.is_none(),
            };
            let was = if is_kept {
                self.kept.pop_first()
            } else {
                live.map(|(key, value)| (key.clone(), Some(value.clone())))
            };
            let Some((key, value)) = was else {
                break;
            };
            self.told = Some(key.clone());
            if let Some(value) = value {
                weight += weigh(&value);
                next.push((key, value));
            }
        }
        next
    }
}

/// Tells the first of a map behind a key.
fn behind<'a, K: Ord, V>(
    live: &'a BTreeMap<K, V>,
) -> impl Fn(Option<&K>) -> Option<(&'a K, &'a V)> {
    move |key| {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        live.range((from, Bound::Unbounded)).next()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Snapshot {
    head: Head,
    queues: Vec<QueueSlice>,
    names: HashMap<usize, QueueId>,
    turns: Frozen<TurnKey, Turns>,
    settlements: Frozen<LeaseId, SettleDue>,
    batches: Frozen<BatchId, Batch>,
    jobs: Frozen<JobId, Job>,
    stage: Stage,
    /// The oldest record that a job needs of which was told.
    oldest: Option<Offset>,
}

/// The state as it is.
struct Live<'a> {
    turns: &'a BTreeMap<TurnKey, Turns>,
    settlements: &'a BTreeMap<LeaseId, SettleDue>,
    batches: &'a BTreeMap<BatchId, Batch>,
    jobs: &'a JobTable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Queues,
    Turns,
    Settlements,
    Batches,
    Jobs,
    Told,
}

impl Snapshot {
    /// The state as it is now.
    pub fn new(fold: &JobFold) -> Self {
        let queues = fold.index.queues.iter();
        let names = queues.clone().map(|(at, queue)| (at, queue.id.clone()));
        let slices = queues.map(|(_, queue)| QueueSlice {
            id: queue.id.clone(),
            spec: queue.spec,
            started: queue.started,
        });
        Self {
            head: fold.head,
            queues: slices.collect(),
            names: names.collect(),
            turns: Frozen::new(),
            settlements: Frozen::new(),
            batches: Frozen::new(),
            jobs: Frozen::new(),
            stage: Stage::Head,
            oldest: None,
        }
    }

    /// A job is about to be changed, or to come.
    pub fn keep_job(&mut self, id: JobId, now: Option<&Job>) {
        self.jobs.keep(&id, now);
    }

    /// Turns are about to be changed, or to come.
    pub fn keep_turns(&mut self, key: &TurnKey, now: Option<&Turns>) {
        self.turns.keep(key, now);
    }

    /// A batch is about to be changed, or to come.
    pub fn keep_batch(&mut self, id: BatchId, now: Option<&Batch>) {
        self.batches.keep(&id, now);
    }

    /// What is to be settled of an attempt is about to be changed, or to come.
    pub fn keep_settlement(&mut self, lease: LeaseId, now: Option<&SettleDue>) {
        self.settlements.keep(&lease, now);
    }

    fn next(&mut self, live: &Live<'_>, most: usize) -> Option<Slice> {
        match self.stage {
            Stage::Head => {
                self.stage = Stage::Queues;
                Some(Slice::Head(HeadSlice {
                    partitions: self.head.partitions.unwrap_or_default(),
                    time: self.head.time,
                    watermark: self.head.watermark,
                }))
            }
            Stage::Queues => {
                let count = (most / QUEUE_BYTES).clamp(1, self.queues.len().max(1));
                let rest = self.queues.split_off(count.min(self.queues.len()));
                let some = std::mem::replace(&mut self.queues, rest);
                if some.is_empty() {
                    self.stage = Stage::Turns;
                }
                Some(Slice::Queues(some))
            }
            Stage::Turns => {
                let some = self.turns.next(behind(live.turns), most, |_| TURNS_BYTES);
                if some.is_empty() {
                    self.stage = Stage::Settlements;
                }
                let some = some
                    .into_iter()
                    .filter_map(|(key, turns)| self.turn(key, turns));
                Some(Slice::Turns(some.collect()))
            }
            Stage::Settlements => {
                let some = self
                    .settlements
                    .next(behind(live.settlements), most, |_| SETTLEMENT_BYTES);
                if some.is_empty() {
                    self.stage = Stage::Batches;
                }
                let some = some.into_iter();
                let some = some.map(|(lease, due)| SettleSlice { lease, due });
                Some(Slice::Settlements(some.collect()))
            }
            // Before jobs, which stand in their lines.
            Stage::Batches => {
                let some = self
                    .batches
                    .next(behind(live.batches), most, |_| BATCH_BYTES);
                if some.is_empty() {
                    self.stage = Stage::Jobs;
                }
                let some = some.into_iter();
                let some = some.map(|(id, batch)| BatchSlice { id, batch });
                Some(Slice::Batches(some.collect()))
            }
            Stage::Jobs => {
                let some = self.jobs.next(|id| live.jobs.after(id), most, Job::weight);
                if some.is_empty() {
                    self.stage = Stage::Told;
                }
                let some = some.into_iter().filter_map(|(id, job)| self.job(id, job));
                let some: Vec<JobSlice> = some.collect();
                let needed = some.iter().flat_map(JobSlice::needed);
                let oldest = needed.map(|(_, place)| place.offset).min();
                self.oldest = self.oldest.into_iter().chain(oldest).min();
                Some(Slice::Jobs(some))
            }
            Stage::Told => None,
        }
    }

    fn turn(&self, (queue, priority, fair_key): TurnKey, turns: Turns) -> Option<TurnSlice> {
        Some(TurnSlice {
            queue: self.names.get(&queue)?.clone(),
            priority,
            fair_key,
            last: turns.last,
        })
    }

    fn job(&self, id: JobId, job: Job) -> Option<JobSlice> {
        let queue = self.names.get(&job.queue)?.clone();
        let options = job.options().clone();
        Some(JobSlice {
            id,
            queue,
            number: job.number,
            submitted: job.submitted,
            payload: job.payload,
            is_reference: job.is_reference,
            left: job.left,
            stream: job.stream.map(|stream| *stream),
            joined: job.joined,
            taken: job.taken.map(|taken| *taken),
            priority: job.priority,
            attempts: job.attempts,
            phase: job.phase,
            error: job.error,
            tag: job.tag,
            options,
        })
    }
}

impl JobSlice {
    /// What must stay in the log for it: nobody needs the payload of a job that has succeeded.
    pub fn needed(&self) -> impl Iterator<Item = (Part, Place)> {
        let ending = match &self.phase {
            Phase::Ended(ending) => Some(ending.outcome),
            _ => None,
        };
        let payload = (ending != Some(Outcome::Succeeded)).then_some((Part::Payload, self.payload));
        let chunks = self.stream.iter().flat_map(|stream| &stream.chunks);
        payload
            .into_iter()
            .chain(self.left.map(|left| (Part::Left, left)))
            .chain(chunks.map(|(number, place)| (Part::Chunk(*number), *place)))
    }
}

impl Job {
    /// About how many bytes it takes in a checkpoint.
    fn weight(&self) -> usize {
        let options = self.options();
        let labels = options.labels.iter();
        let labels = labels.map(|(name, value)| name.as_str().len() + value.len() + 4);
        let error = self.error.as_deref().map_or(0, str::len);
        let told = self.stream().map_or(0, |stream| {
            let report = stream.report.as_ref();
            let message = report.map_or(0, |(_, report)| report.message.len());
            64 + 24 * stream.chunks.len() + message
        });
        let charged = options.charges.len() * 530;
        let taken = self.taken().map_or(0, |_| SETTLEMENT_BYTES);
        1_024 + charged + taken + labels.sum::<usize>() + options.trace.len() + error + told
    }
}

impl JobFold {
    /// The next part of the checkpoint that has begun, of about so many bytes, or of one job; `None` when all of it was told.
    pub fn next_slice(&mut self, bytes: usize) -> Option<Slice> {
        let snapshot = self.snapshot.as_mut()?;
        let live = Live {
            turns: &self.index.turns,
            settlements: &self.settlements,
            batches: &self.batches,
            jobs: &self.jobs,
        };
        snapshot.next(&live, bytes.max(1))
    }

    /// The checkpoint is not gone on with, because it is whole, or because it cannot be. Tells the oldest record that a job needed
    /// where it begins.
    pub fn end_snapshot(&mut self) -> Option<Offset> {
        self.snapshot.take()?.oldest
    }

    /// Takes over a part of a checkpoint, into a fold that was nothing before.
    pub(super) fn restore(&mut self, slice: &Slice) {
        match slice {
            Slice::Head(head) => {
                self.head.partitions = Some(head.partitions);
                self.head.time = head.time;
                self.head.watermark = head.watermark;
            }
            Slice::Queues(queues) => {
                for it in queues {
                    let at = self.index.find_or_make(&it.id);
                    let queue = &mut self.index.queues[at];
                    queue.spec = it.spec;
                    queue.started = it.started;
                }
            }
            Slice::Turns(turns) => {
                for it in turns {
                    let queue = self.index.find_or_make(&it.queue);
                    let key = (queue, it.priority, it.fair_key.clone());
                    self.index.turns.entry(key).or_default().last = it.last;
                }
            }
            Slice::Settlements(due) => {
                let due = due.iter().map(|it| (it.lease, it.due.clone()));
                self.settlements.extend(due);
            }
            Slice::Batches(batches) => {
                for it in batches {
                    self.enlist_batch(it.id, it.batch.clone());
                }
            }
            Slice::Jobs(jobs) => {
                for it in jobs {
                    self.restore_job(it);
                }
            }
        }
    }

    fn restore_job(&mut self, it: &JobSlice) {
        let job = Job {
            number: it.number,
            submitted: it.submitted,
            payload: it.payload,
            is_reference: it.is_reference,
            left: it.left,
            stream: it.stream.clone().map(Box::new),
            joined: it.joined,
            taken: it.taken.clone().map(Box::new),
            priority: it.priority,
            attempts: it.attempts,
            phase: it.phase.clone(),
            error: it.error.clone(),
            tag: it.tag,
            queue: self.index.find_or_make(&it.queue),
            asked: Asked::new(&it.options, &it.queue.namespace),
        };
        self.index.enlist(it.id, &job);
        self.jobs.insert(it.id, job);
    }
}
