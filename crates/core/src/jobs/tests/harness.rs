//! One owner and its partition, on a log without faults.

use super::super::*;
use crate::limits::{ActualAmount, Charge, ReservationId};
use crate::log::{Offset, Partition, Record};
use crate::{FairKey, Key, Micros, Name, Namespace, Time};

pub(super) const SECOND: Micros = Micros::from_secs(1);
pub(super) const OWNER: Epoch = Epoch {
    number: 1,
    owner: 7,
};

/// When everything begins.
pub(super) const BEGIN: Time = Time(1_800_000_000_000_000);

pub(super) fn queue(name: &str) -> QueueId {
    QueueId {
        namespace: Namespace::new("default", "namespace").unwrap(),
        name: Name::new(name, "queue").unwrap(),
    }
}

/// A job of the queue `ocr`.
pub(super) fn spec() -> JobSpec {
    JobSpec::new(queue("ocr"), "page")
}

pub(super) fn with(change: impl FnOnce(&mut JobSpec)) -> JobSpec {
    let mut spec = spec();
    change(&mut spec);
    spec
}

pub(super) fn turn(key: &str, weight: u32) -> Turn {
    Turn {
        fair_key: FairKey::new(key, "fair_key").unwrap(),
        weight,
    }
}

pub(super) fn charge(limit: &str) -> Charge {
    let limit = Name::new(limit, "limit").unwrap();
    Charge::new(limit, Key::new("tenant", "key").unwrap(), 5).unwrap()
}

/// What an attempt has used of what it has taken from `llm`.
pub(super) fn used(amount: i64) -> ActualAmount {
    let Charge { limit, key, .. } = charge("llm");
    ActualAmount { limit, key, amount }
}

pub(super) fn reservation() -> ReservationId {
    ReservationId::new("reserved").unwrap()
}

pub(super) fn worker() -> Name {
    Name::new("worker", "worker").unwrap()
}

/// All that a fold knows, in one order: two that are equal here are equal.
pub(super) fn image(fold: &mut JobFold) -> Vec<Slice> {
    let underway = fold.snapshot.take();
    let mark = fold.mark();
    fold.snapshot = Some(super::super::snapshot::Snapshot::new(fold));
    let mut slices = Vec::new();
    while let Some(slice) = fold.next_slice(usize::MAX) {
        slices.push(match slice {
            Slice::Queues(mut queues) => {
                queues.sort_by(|one, other| one.id.cmp(&other.id));
                Slice::Queues(queues)
            }
            Slice::Turns(mut turns) => {
                let key = |it: &TurnSlice| (it.queue.clone(), it.priority, it.fair_key.clone());
                turns.sort_by_key(key);
                Slice::Turns(turns)
            }
            other => other,
        });
    }
    fold.snapshot = underway;
    assert_eq!(fold.mark(), mark);
    slices
}

/// See the module.
pub(super) struct Run {
    pub fold: JobFold,
    pub writer: JobWriter,
    pub now: Time,
    pub changes: Vec<Change>,
    pub log: Vec<Record>,
    ids: u64,
}

impl Run {
    pub fn new() -> Self {
        let mut run = Self {
            fold: JobFold::default(),
            writer: JobWriter::new(OWNER, BEGIN),
            now: BEGIN,
            changes: Vec::new(),
            log: Vec::new(),
            ids: 0,
        };
        run.append(Entry::first(4));
        assert_eq!(run.put(&JobRecord::EpochStart), Verdict::Done);
        run
    }

    /// Appends a record and applies it.
    pub fn append(&mut self, record: Record) -> Verdict {
        let offset = Offset(self.log.len() as u64);
        let entry = Entry::decode(&record).unwrap();
        self.log.push(record);
        self.changes.clear();
        self.fold.apply(offset, &entry, &mut self.changes)
    }

    pub fn put(&mut self, record: &JobRecord) -> Verdict {
        let record = self.writer.write(record, self.now);
        self.append(record)
    }

    /// Lets time pass, and has it logged if something is due.
    pub fn pass(&mut self, span: Micros) {
        self.now = self.now + span;
        while let Some(record) = self.fold.tick(self.now) {
            self.put(&record);
        }
    }

    pub fn ask(&mut self, spec: &JobSpec) -> (JobId, Submission) {
        self.ids += 1;
        let id = JobId::new(self.now, Partition(0), self.ids);
        let spec = Box::new(spec.clone());
        match self.put(&JobRecord::Submitted { id, spec }) {
            Verdict::Submitted(submission) => (id, submission),
            other => panic!("{other:?}"),
        }
    }

    /// Submits a job, which is taken in.
    pub fn submit(&mut self, spec: &JobSpec) -> JobId {
        let (id, submission) = self.ask(spec);
        assert_eq!(submission, Submission::New);
        id
    }

    pub fn try_lease(&mut self, job: JobId) -> Option<LeaseId> {
        let worker = worker();
        let charged = self.fold.job(job)?.options().charges.first();
        let verdict = self.put(&JobRecord::Leased {
            job,
            worker,
            reservation: charged.map(|_| reservation()),
        });
        (verdict == Verdict::Done).then(|| self.writer.last().lease())
    }

    /// Leases the next job of a queue.
    pub fn next_of(&mut self, queue: &QueueId) -> Option<(JobId, LeaseId)> {
        let job = self.fold.next(queue).next()?;
        Some((job, self.try_lease(job).unwrap()))
    }

    /// Leases the next job of `ocr`.
    pub fn next(&mut self) -> Option<(JobId, LeaseId)> {
        self.next_of(&queue("ocr"))
    }

    pub fn end(&mut self, (job, lease): (JobId, LeaseId), how: AttemptEnd) -> Verdict {
        self.put(&JobRecord::Ended { job, lease, how })
    }

    pub fn succeed(&mut self, held: (JobId, LeaseId)) -> Verdict {
        self.end(held, AttemptEnd::Succeeded("text".into()))
    }

    /// What a job is at.
    pub fn state(&self, job: JobId) -> Option<JobState> {
        self.fold.job(job).map(Job::state)
    }

    /// Jobs in the order in which they would start, each done at once.
    pub fn drain(&mut self) -> Vec<JobId> {
        let mut order = Vec::new();
        while let Some(held) = self.next() {
            order.push(held.0);
            self.succeed(held);
        }
        order
    }
}

/// An attempt in vain that may be made again.
pub(super) fn failed() -> AttemptEnd {
    AttemptEnd::Failed {
        error: "no".into(),
        retryable: true,
        retry_after: None,
    }
}
