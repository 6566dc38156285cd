//! Owners that come and go, on a log that does what a log may do: batches that are copied, land late, or never, and trimmed records that come
//! back. Each owner appends one batch at a time, and again until it has read it back, as the engine does.

use super::super::*;
use super::checkpoints::replayed;
use super::harness::{BEGIN, SECOND, queue};
use super::model::Model;
use crate::log::{Offset, Record};
use crate::random::Random;
use crate::{Micros, Time};
use std::collections::BTreeMap;

/// A rule that is broken, to see that it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Nothing,
    /// A former owner counts.
    Epochs,
    /// A copy counts.
    Copies,
    /// An attempt that is over speaks for its job.
    Leases,
    /// What a job still needs is trimmed.
    Trims,
}

/// A broken promise.
pub(super) type Held = Result<(), String>;

/// A checkpoint under way.
#[derive(Clone, Copy, Default)]
pub(super) struct Checkpointing {
    pub number: u64,
    pub begin: Option<Offset>,
    pub slices: u64,
}

pub(super) struct Owner {
    pub fold: JobFold,
    writer: JobWriter,
    pub next: usize,
    /// A batch that was not read back.
    underway: Vec<Record>,
    pub checkpoint: Option<Checkpointing>,
}

/// See the module.
pub(super) struct World {
    pub random: Random,
    pub broken: Broken,
    pub now: Time,
    /// All that has ever landed.
    pub log: Vec<Record>,
    /// What is below was trimmed.
    start: usize,
    late: Vec<Vec<Record>>,
    pub(super) owners: Vec<Owner>,
    model: Model,
    modelled: usize,
    /// What workers have had.
    pub(super) attempts: Vec<(JobId, LeaseId)>,
    /// How jobs ended, as somebody was told.
    outcomes: BTreeMap<JobId, JobState>,
    pub figures: Figures,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub owners: usize,
    pub deposed: usize,
    pub submitted: usize,
    pub ended: usize,
    pub copies: usize,
    pub late: usize,
    pub checkpoints: usize,
    pub chunks: usize,
    pub settled: usize,
    /// Jobs of batches that ended.
    pub batches: usize,
}

pub(super) fn queues() -> [QueueId; 2] {
    [queue("ocr"), queue("mail")]
}

/// What a job's worker gets, and what its checkpoints and results say.
pub(super) fn data(job: JobId) -> bytes::Bytes {
    job.to_string().into()
}

impl World {
    pub fn new(seed: u64, broken: Broken) -> Self {
        Self {
            random: Random(seed),
            broken,
            now: BEGIN,
            log: Vec::new(),
            start: 0,
            late: Vec::new(),
            owners: Vec::new(),
            model: Model::default(),
            modelled: 0,
            attempts: Vec::new(),
            outcomes: BTreeMap::new(),
            figures: Figures::default(),
        }
    }

    /// Something happens.
    pub fn step(&mut self) -> Held {
        let owners = self.owners.len();
        match self.random.below(100) {
            0..=1 if owners < 3 => self.begin()?,
            2..=3 if owners > 1 || self.random.percent(20) => {
                if owners > 0 {
                    let gone = self.random.below(owners);
                    self.owners.remove(gone);
                }
            }
            4..=9 => {
                let most = [SECOND.0 / 10, SECOND.0, 900 * SECOND.0][self.random.below(3)];
                self.now = self.now + Micros(self.random.up_to(most));
            }
            10..=17 if !self.late.is_empty() => {
                let at = self.random.below(self.late.len());
                let batch = self.late.remove(at);
                self.log.extend(batch);
            }
            _ if owners > 0 => {
                let at = self.random.below(owners);
                self.act(at)?;
            }
            _ => self.begin()?,
        }
        Ok(())
    }

    /// A daemon reads the log and wants to own the partition.
    fn begin(&mut self) -> Held {
        // What was trimmed may be there again.
        let back = self.random.below(7);
        let first = self.start.saturating_sub(back);
        let (fold, _) = replayed(&self.log, first);
        self.catch_up();
        if self.broken == Broken::Nothing || self.broken == Broken::Trims {
            self.model.check(&fold, &queues())?;
        }
        let number = fold.epoch().map_or(0, |epoch| epoch.number) + 1;
        self.figures.owners += 1;
        let owner = self.figures.owners as u64;
        let mut writer = JobWriter::new(Epoch { number, owner }, fold.time());
        let mut underway = Vec::new();
        if fold.partitions().is_none() {
            underway.push(Entry::first(4));
        }
        underway.push(writer.write(&JobRecord::EpochStart, self.now));
        self.owners.push(Owner {
            fold,
            writer,
            next: self.log.len(),
            underway,
            checkpoint: None,
        });
        Ok(())
    }

    fn act(&mut self, at: usize) -> Held {
        if self.owners[at].underway.is_empty() {
            let records = self.propose(at);
            let owner = &mut self.owners[at];
            let (now, writer) = (self.now, &mut owner.writer);
            owner.underway = records.iter().map(|it| writer.write(it, now)).collect();
            return Ok(());
        }
        let batch = self.owners[at].underway.clone();
        self.append(batch);
        if self.random.percent(70) {
            self.read(at)?;
        }
        Ok(())
    }

    fn append(&mut self, batch: Vec<Record>) {
        match self.random.below(10) {
            0 => {}
            1 => {
                self.figures.late += 1;
                self.late.push(batch);
            }
            2 => {
                self.figures.copies += 1;
                self.log.extend(batch.clone());
                if self.random.percent(50) {
                    self.log.extend(batch);
                } else {
                    self.late.push(batch);
                }
            }
            _ => self.log.extend(batch),
        }
    }

    fn catch_up(&mut self) {
        while let Some(record) = self.log.get(self.modelled) {
            let entry = Entry::decode(record).unwrap();
            self.model.apply(Offset(self.modelled as u64), &entry);
            self.modelled += 1;
        }
    }

    /// An owner reads to the end, and goes on, or learns that it is none.
    fn read(&mut self, at: usize) -> Held {
        let mut owner = self.owners.remove(at);
        while owner.next < self.log.len() {
            self.read_one(&mut owner)?;
        }
        self.catch_up();
        self.model.check(&owner.fold, &queues())?;
        self.check_places(&owner.fold)?;
        let (mine, last) = (owner.writer.epoch(), owner.writer.last());
        let mark = owner.fold.mark().unwrap_or_default();
        if mark.epoch == mine && mark.sequence >= last.sequence {
            owner.underway.clear();
        } else if mark.epoch.number >= mine.number && mark.epoch != mine {
            self.figures.deposed += 1;
            return Ok(());
        }
        if owner.fold.lost() > 0 && self.broken == Broken::Nothing {
            return Err(format!("{} records seem lost", owner.fold.lost()));
        }
        self.owners.insert(at, owner);
        Ok(())
    }

    fn read_one(&mut self, owner: &mut Owner) -> Held {
        let offset = Offset(owner.next as u64);
        let mut entry = Entry::decode(&self.log[owner.next]).unwrap();
        owner.next += 1;
        let mine = entry
            .mark
            .is_some_and(|it| it.epoch == owner.writer.epoch());
        self.break_rule(&owner.fold, &mut entry);
        let mut changes = Vec::new();
        let verdict = owner.fold.apply(offset, &entry, &mut changes);
        for change in &changes {
            self.tell(&owner.fold, change)?;
        }
        match &entry.record {
            JobRecord::Submitted { .. } if verdict != Verdict::Void && mine => {
                self.figures.submitted += 1;
            }
            JobRecord::Chunk { .. } if matches!(verdict, Verdict::Chunk(Chunking::Taken(_))) => {
                self.figures.chunks += 1;
            }
            JobRecord::Settled(_) if verdict == Verdict::Done && mine => {
                self.figures.settled += 1;
            }
            JobRecord::Leased { job, .. } if verdict == Verdict::Done && mine => {
                self.attempts.push((*job, entry.mark.unwrap().lease()));
            }
            JobRecord::CheckpointBegin { .. } if verdict == Verdict::Done => {
                let own = owner.checkpoint.as_mut().filter(|_| mine);
                match own {
                    Some(checkpoint) => checkpoint.begin = Some(offset),
                    None => drop(owner.fold.end_snapshot()),
                }
            }
            JobRecord::CheckpointEnd { .. } if verdict == Verdict::Done && mine => {
                self.trim(owner, offset);
            }
            _ => {}
        }
        Ok(())
    }

    fn trim(&mut self, owner: &mut Owner, end: Offset) {
        let oldest = owner.fold.end_snapshot();
        let begin = owner.checkpoint.take().and_then(|it| it.begin);
        let mut before = begin.into_iter().chain(oldest).min();
        if self.broken == Broken::Trims {
            before = Some(end);
        }
        if let Some(before) = before {
            let before = usize::try_from(before.0).unwrap();
            self.start = self.start.max(before);
            self.figures.checkpoints += 1;
        }
    }

    fn break_rule(&self, fold: &JobFold, entry: &mut Entry) {
        let (Some(mark), Some(last)) = (&mut entry.mark, fold.mark()) else {
            return;
        };
        if entry.record == JobRecord::EpochStart {
            return;
        }
        let foreign = mark.epoch != last.epoch;
        match self.broken {
            Broken::Epochs if foreign => {
                (mark.epoch, mark.sequence) = (last.epoch, last.sequence + 1);
            }
            Broken::Copies if !foreign && mark.sequence <= last.sequence => {
                mark.sequence = last.sequence + 1;
            }
            Broken::Leases => {
                if let JobRecord::Ended { job, lease, .. } | JobRecord::Chunk { job, lease, .. } =
                    &mut entry.record
                    && let Some(current) = fold.job(*job).and_then(Job::lease)
                {
                    *lease = current.id;
                }
            }
            _ => {}
        }
    }

    /// Somebody is told what has become of a job: how it ended, always the same.
    fn tell(&mut self, fold: &JobFold, change: &Change) -> Held {
        let before = self.outcomes.get(&change.job).copied();
        match (before, change.state) {
            (None, Some(state)) if state.is_ended() => {
                self.figures.ended += 1;
                let batch = fold.job(change.job).and_then(|job| job.options().batch);
                self.figures.batches += usize::from(batch.is_some());
                self.outcomes.insert(change.job, state);
                Ok(())
            }
            (Some(before), Some(state)) if state.is_ended() && state != before => Err(format!(
                "{} ended as {before:?} and as {state:?}",
                change.job
            )),
            _ => Ok(()),
        }
    }

    /// What jobs need stands in the log, and is theirs.
    fn check_places(&self, fold: &JobFold) -> Held {
        let jobs = queues();
        let jobs = jobs.iter().flat_map(|queue| fold.jobs_of(queue, None));
        for (id, job) in jobs {
            let payload = (job.state() != JobState::Succeeded).then_some(job.payload);
            let chunks = job.stream().into_iter().flat_map(|stream| &stream.chunks);
            let chunks = chunks.map(|(_, place)| *place);
            for place in payload.into_iter().chain(job.left).chain(chunks) {
                let at = usize::try_from(place.offset.0).unwrap();
                // Of one that joined another, its result is that one's.
                let own = job.options().cached.is_some() || self.log[at].value == data(id);
                if at < self.start || !own {
                    return Err(format!("what {id} needs at {at} is gone"));
                }
            }
        }
        Ok(())
    }
}
