//! What is logged anew: the state, so that a start need not read everything, and bytes of jobs that are needed and stand far behind.
//!
//! A checkpoint begins with a record, and is the state there, told in parts between other records. Once its end was read back, what stands before
//! its begin is dropped, as far as no job needs it. What a job needs from before the last checkpoint is moved after the next one, so
//! nothing stands in the way for long.

use super::round::Round;
use super::shard::Shard;
use super::task::ShardTask;
use std::collections::VecDeque;
use trellis_core::jobs::{JobId, JobRecord, Part, Slice};
use trellis_core::log::{Durability, Offset};

/// Bytes of a part of a checkpoint, about: little enough that nobody waits for it.
const SLICE: usize = 64 * 1024;

/// Bytes of jobs that are moved at once, about.
const MOVE_BYTES: usize = 512 * 1024;

/// What is logged of a move beside its bytes, at most. Without it many small ones would make the next checkpoint due, which
/// moves them again, for ever.
const MOVE_OVERHEAD: usize = 256;

/// The most parts of jobs that are moved for one checkpoint.
const MOST_MOVES: usize = 10_000;

/// A checkpoint under way.
#[derive(Default)]
struct Checkpoint {
    number: u64,
    /// Once its begin was read back.
    begin: Option<Offset>,
    slices: u64,
    is_whole: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct Upkeep {
    /// Bytes since the last checkpoint.
    since: usize,
    /// Where that began, and its number.
    last: (Offset, u64),
    /// Bytes that it took, with those that were moved.
    size: usize,
    underway: Option<Checkpoint>,
    moves: VecDeque<(JobId, Part, Offset)>,
}

impl Upkeep {
    /// After so many bytes behind the begin of a checkpoint, whose place and number are known.
    pub fn new(since: usize, last: (Offset, u64)) -> Self {
        Self {
            since,
            last,
            ..Self::default()
        }
    }

    /// Whether there is something to do although nobody asks.
    pub fn is_due(&self, shard: &Shard) -> bool {
        let least = shard.config.checkpoint_bytes.max(2 * self.size);
        let keeps = shard.log.durability() != Durability::Volatile;
        keeps && (self.underway.is_some() || !self.moves.is_empty() || self.since > least)
    }

    /// So many bytes were read back.
    pub fn count(&mut self, bytes: usize) {
        self.since += bytes;
    }

    /// A record that counts was read back.
    pub fn see(&mut self, offset: Offset, record: &JobRecord) {
        let Some(underway) = &mut self.underway else {
            return;
        };
        match record {
            JobRecord::CheckpointBegin { number } if *number == underway.number => {
                underway.begin = Some(offset);
                self.since = 0;
            }
            JobRecord::CheckpointEnd { number, .. } if *number == underway.number => {
                underway.is_whole = true;
            }
            _ => {}
        }
    }

    /// What was told of a checkpoint was not written: that is void, and a later one is whole.
    pub fn give_up(&mut self, shard: &Shard) {
        if self.underway.take().is_some() {
            shard.state.lock().fold.end_snapshot();
        }
        self.since = 0;
    }

    /// Remembers what a part needs from before the last checkpoint.
    fn note_moves(&mut self, slice: &Slice) {
        let Slice::Jobs(jobs) = slice else {
            return;
        };
        for job in jobs {
            for (part, place) in job.needed() {
                let far = place.offset < self.last.0 && place.bytes > 0;
                if far && self.moves.len() < MOST_MOVES {
                    self.moves.push_back((job.id, part, place.offset));
                }
            }
        }
    }
}

impl ShardTask {
    /// Adds what is to be logged anew.
    pub async fn keep_up(&mut self, round: &mut Round) {
        if !self.upkeep.is_due(&self.shard) {
            return;
        }
        if let Some(underway) = &mut self.upkeep.underway {
            let slice = self.shard.state.lock().fold.next_slice(SLICE);
            let Some(slice) = slice else {
                round.push(JobRecord::CheckpointEnd {
                    number: underway.number,
                    slices: underway.slices,
                });
                return;
            };
            underway.slices += 1;
            self.upkeep.note_moves(&slice);
            round.push(JobRecord::Slice(slice));
        } else if self.upkeep.moves.is_empty() {
            let number = self.upkeep.last.1 + 1;
            self.upkeep.underway = Some(Checkpoint {
                number,
                ..Checkpoint::default()
            });
            round.push(JobRecord::CheckpointBegin { number });
        } else {
            self.move_some(round).await;
        }
    }

    /// Logs again what stands far behind and is needed.
    async fn move_some(&mut self, round: &mut Round) {
        let mut bytes = 0;
        while bytes < MOVE_BYTES
            && let Some((job, part, from)) = self.upkeep.moves.pop_front()
        {
            // What is not there any more need not be moved.
            if let Ok(data) = self.shard.bytes(job, part).await {
                bytes += data.len() + MOVE_OVERHEAD;
                round.push(JobRecord::Moved {
                    job,
                    part,
                    from,
                    data,
                });
            }
        }
        self.upkeep.size += bytes;
    }

    /// Once a checkpoint was read back, drops what stands before it and is not needed.
    pub async fn drop_old(&mut self) {
        let whole = self.upkeep.underway.take_if(|underway| underway.is_whole);
        let Some(Checkpoint {
            number,
            begin: Some(begin),
            ..
        }) = whole
        else {
            return;
        };
        self.upkeep.last = (begin, number);
        self.upkeep.size = self.upkeep.since;
        let oldest = self.shard.state.lock().fold.end_snapshot();
        let before = oldest.map_or(begin, |oldest| oldest.min(begin));
        if let Err(error) = self.shard.log.trim(self.shard.partition, before).await {
            tracing::warn!(partition = self.shard.partition.0, %error, "a partition of jobs cannot be trimmed now");
        }
    }
}
