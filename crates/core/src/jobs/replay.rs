//! How a life begins: which checkpoint is in force, and the state that it tells.
//!
//! The log is read once. A log of which nothing was trimmed is applied from its first record. Of another one the state is that of the last checkpoint that is whole and
//! was begun by an owner, and the records behind its begin; [`Checkpoints`] tells which that is. A checkpoint is taken over while it is read, and what comes between its
//! parts waits for its end. Nobody knows before the end of the log whether another one follows, so each is.
//!
//! A checkpoint is the state where it begins, so nothing that came between its parts is missing from it or told twice.

use super::fold::JobFold;
use super::record::{Entry, JobRecord, Mark};
use crate::log::Offset;

/// A whole checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it begins: the state behind this record. What stands before is needed only by what jobs refer to.
    pub begin: Offset,
    /// Where it ends.
    pub end: Offset,
    /// Which it is.
    pub number: u64,
    mark: Mark,
}

/// A checkpoint that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    begin: Offset,
    number: u64,
    mark: Mark,
    /// The last part, and how many there were.
    last: u64,
    slices: u64,
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoints {
    /// The highest epoch so far.
    epoch: u64,
    begun: Option<Begun>,
    found: Option<Checkpoint>,
}

impl Checkpoints {
    /// Looks at the next record.
    pub fn look(&mut self, offset: Offset, entry: &Entry) {
        let Some(mark) = entry.mark else {
            return;
        };
        // Who is not the owner any more, or is a copy of what was seen.
        if mark.epoch.number < self.epoch {
            return;
        }
        match &entry.record {
            JobRecord::EpochStart if mark.epoch.number > self.epoch => {
                self.epoch = mark.epoch.number;
                self.begun = None;
            }
            JobRecord::CheckpointBegin { number } => {
                let seen = self.begun.map(|begun| begun.mark);
                let seen = seen.into_iter().chain(self.found.map(|found| found.mark));
                let is_copy =
                    |seen: Mark| seen.epoch == mark.epoch && mark.sequence <= seen.sequence;
                if seen.into_iter().any(is_copy) {
                    return;
                }
                self.epoch = mark.epoch.number;
                self.begun = Some(Begun {
                    begin: offset,
                    number: *number,
                    mark,
                    last: mark.sequence,
                    slices: 0,
                });
            }
            JobRecord::Slice(_) => {
                if let Some(begun) = self.begun.as_mut() {
                    begun.is_next_slice(&mark);
                }
            }
            JobRecord::CheckpointEnd { number, slices } => {
                let whole = |begun: &Begun| {
                    begun.mark.epoch == mark.epoch
                        && begun.number == *number
                        && begun.slices == *slices
                };
                if let Some(begun) = self.begun.filter(whole) {
                    self.begun = None;
                    self.found = Some(Checkpoint {
                        begin: begun.begin,
                        end: offset,
                        number: begun.number,
                        mark: begun.mark,
                    });
                }
            }
            _ => {}
        }
    }

    /// The checkpoint in force, after the last record.
    #[must_use]
    pub fn found(&self) -> Option<Checkpoint> {
        self.found
    }
}

impl Begun {
    /// Whether this is a part of it that has not been seen; then it has.
    fn is_next_slice(&mut self, mark: &Mark) -> bool {
        let next = mark.epoch == self.mark.epoch && mark.sequence > self.last;
        if next {
            self.last = mark.sequence;
            self.slices += 1;
        }
        next
    }
}

/// See the module: a log is handed to it record by record.
#[derive(Debug, Default)]
pub struct Replay {
    checkpoints: Checkpoints,
    /// The state so far, once there is one.
    fold: Option<JobFold>,
    /// The state is there from the first record on.
    is_whole: bool,
    /// A checkpoint that is being read, and the records behind its begin.
    underway: Option<(Restore, Vec<(Offset, Entry)>)>,
    /// Bytes behind the last begin, and behind that of the checkpoint in force.
    behind: usize,
    since: usize,
}

/// What a log amounts to.
#[derive(Debug)]
pub struct Replayed {
    /// The state.
    pub fold: JobFold,
    /// The checkpoint in force.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes behind its begin, or of all records.
    pub since: usize,
}

impl Replay {
    /// Of a log of which nothing was trimmed, or of another one.
    #[must_use]
    pub fn new(is_whole: bool) -> Self {
        Self {
            is_whole,
            fold: is_whole.then(JobFold::default),
            ..Self::default()
        }
    }

    /// The next record, of so many bytes.
    pub fn take(&mut self, offset: Offset, entry: Entry, bytes: usize) {
        let (begun, found) = (self.checkpoints.begun, self.checkpoints.found);
        self.checkpoints.look(offset, &entry);
        let (now, whole) = (self.checkpoints.begun, self.checkpoints.found);
        let begins = now.filter(|now| begun.is_none_or(|begun| begun.begin != now.begin));
        self.behind += bytes;
        self.since += bytes;
        if let Some(fold) = &mut self.fold {
            fold.apply(offset, &entry, &mut Vec::new());
            // Nobody tells it.
            fold.end_snapshot();
        }
        if let Some(begun) = begins {
            self.behind = 0;
            let fold = JobFold::default();
            let restore = Restore { begun, fold };
            self.underway = (!self.is_whole).then(|| (restore, Vec::new()));
            return;
        }
        if let Some((restore, behind)) = &mut self.underway {
            restore.take(&entry);
            behind.push((offset, entry));
        }
        if whole != found {
            self.since = self.behind;
            if let Some((restore, behind)) = self.underway.take() {
                let mut fold = restore.into_fold();
                for (offset, entry) in behind {
                    fold.apply(offset, &entry, &mut Vec::new());
                }
                self.fold = Some(fold);
            }
        } else if now.is_none() {
            self.underway = None;
        }
    }

    /// What it amounts to; `None` if the log has lost its beginning.
    #[must_use]
    pub fn end(self) -> Option<Replayed> {
        let fold = self.fold.filter(|fold| fold.partitions().is_some())?;
        Some(Replayed {
            fold,
            checkpoint: self.checkpoints.found,
            since: self.since,
        })
    }
}

/// A state that is taken over from a checkpoint.
#[derive(Debug)]
pub struct Restore {
    begun: Begun,
    fold: JobFold,
}

impl Restore {
    /// Of a checkpoint whose records are about to come, all from its begin to its end.
    #[must_use]
    pub fn new(checkpoint: &Checkpoint) -> Self {
        Self {
            begun: Begun {
                begin: checkpoint.begin,
                number: checkpoint.number,
                mark: checkpoint.mark,
                last: checkpoint.mark.sequence,
                slices: 0,
            },
            fold: JobFold::default(),
        }
    }

    /// Takes the next record over, if it is a part.
    pub fn take(&mut self, entry: &Entry) {
        if let (JobRecord::Slice(slice), Some(mark)) = (&entry.record, &entry.mark)
            && self.begun.is_next_slice(mark)
        {
            self.fold.restore(slice);
        }
    }

    /// The state where the checkpoint begins: the records behind that are to be applied.
    #[must_use]
    pub fn into_fold(mut self) -> JobFold {
        self.fold.head.mark = Some(self.begun.mark);
        self.fold
    }
}
