//! What attempts tell while they run: chunks of the result, and how far they are, numbered in one sequence for each job.
//!
//! Only what the newest attempt to tell something has told is valid. A lease after something was told voids it, and that takes a number too,
//! so that readers learn it wherever they stand. Of progress the newest report is kept.

use super::fold::{Chunking, JobFold, Verdict, done, place};
use super::ids::{JobId, LeaseId};
use super::job::{Job, Place};
use super::spec::MAX_TEXT_BYTES;
use crate::log::Offset;
use crate::{Result, check_rules};
use bytes::Bytes;

/// How far an attempt is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// So much of it is done, in whatever the worker counts.
    pub done: u64,
    /// Of so much, if that is known.
    pub total: Option<u64>,
    /// For whoever looks.
    pub message: Box<str>,
}

impl Report {
    /// Checks every bound. Errors: `InvalidField`.
    pub fn check(&self) -> Result<()> {
        check_rules([
            (
                self.total.is_none_or(|total| self.done <= total),
                "done",
                "must be at most the total",
            ),
            (
                self.message.len() <= MAX_TEXT_BYTES,
                "message",
                "must be at most 4096 bytes",
            ),
        ])
    }
}

/// What a worker tells of an attempt under way; what it leaves out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// For whoever watches.
    pub report: Option<Report>,
    /// For the next attempt.
    pub checkpoint: Option<Bytes>,
}

/// What the chunks of one attempt may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkBounds {
    /// So many.
    pub count: u32,
    /// So many bytes in sum.
    pub bytes: u64,
}

/// A piece of the result of an attempt under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The how manieth of the attempt it is, from 0.
    pub index: u32,
    /// At least one byte, at most [`super::MAX_PAYLOAD_BYTES`].
    pub data: Bytes,
}

/// What was told of a job and is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The number of what is told next; the first has 1.
    pub next: u64,
    /// Whose it is.
    pub lease: LeaseId,
    /// The number by which that lease voided what was told before.
    pub reset: Option<u64>,
    /// Chunks, in order: their numbers, and where they stand.
    pub chunks: Vec<(u64, Place)>,
    /// How far the attempt is, and the number of that.
    pub report: Option<(u64, Report)>,
}

/// One thing that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// What was told before is void.
    Reset,
    /// A chunk, which stands there.
    Chunk(Place),
    /// How far the attempt is.
    Report(&'a Report),
}

impl Stream {
    /// The first thing with this number or a higher one.
    #[must_use]
    pub fn from(&self, number: u64) -> Option<(u64, Said<'_>)> {
        let reset = self.reset.map(|at| (at, Said::Reset));
        let first = self.chunks.partition_point(|(at, _)| *at < number);
        let chunk = self.chunks.get(first);
        let chunk = chunk.map(|(at, place)| (*at, Said::Chunk(*place)));
        let report = self.report.as_ref();
        let report = report.map(|(at, report)| (*at, Said::Report(report)));
        let all = [reset, chunk, report].into_iter().flatten();
        all.filter(|(at, _)| *at >= number)
            .min_by_key(|(at, _)| *at)
    }

    /// Where a chunk stands.
    #[must_use]
    pub fn chunk(&self, number: u64) -> Option<Place> {
        let at = self.chunks.binary_search_by_key(&number, |(at, _)| *at);
        at.ok().map(|at| self.chunks[at].1)
    }

    fn bytes(&self) -> u64 {
        let bytes = self.chunks.iter().map(|(_, place)| u64::from(place.bytes));
        bytes.sum()
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Another attempt begins.
    pub(super) fn void(&mut self, lease: LeaseId) {
        self.reset = Some(self.number());
        self.lease = lease;
        self.chunks.clear();
        self.report = None;
    }

    pub(super) fn moved(&mut self, number: u64, to: Place) {
        let at = self.chunks.binary_search_by_key(&number, |(at, _)| *at);
        if let Ok(at) = at {
            self.chunks[at].1 = to;
        }
    }
}

impl Job {
    /// What was told of it.
    #[must_use]
    pub fn stream(&self) -> Option<&Stream> {
        self.stream.as_deref()
    }

    /// The number of what is told of it next.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.stream().map_or(1, |stream| stream.next)
    }

    fn stream_of(&mut self, lease: LeaseId) -> &mut Stream {
        self.stream.get_or_insert_with(|| {
            Box::new(Stream {
                next: 1,
                lease,
                ..Stream::default()
            })
        })
    }
}

impl JobFold {
    pub(super) fn progress(
        &mut self,
        offset: Offset,
        (id, lease): (JobId, LeaseId),
        progress: &Progress,
    ) -> Verdict {
        let has = self.has(id, lease);
        if has {
            self.alter(id, |job| {
                if let Some(checkpoint) = &progress.checkpoint {
                    job.left = Some(place(offset, checkpoint));
                }
                if let Some(report) = &progress.report {
                    let stream = job.stream_of(lease);
                    stream.report = Some((stream.number(), report.clone()));
                }
            });
        }
        done(has)
    }

    pub(super) fn chunk(
        &mut self,
        offset: Offset,
        (id, lease): (JobId, LeaseId),
        (chunk, most): (&Chunk, ChunkBounds),
    ) -> Verdict {
        if !self.has(id, lease) {
            return Verdict::Void;
        }
        let stream = self.jobs.get(&id).and_then(Job::stream);
        let count = stream.map_or(0, |stream| stream.chunks.len());
        // Bounded by a `u32`.
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let bytes = stream.map_or(0, Stream::bytes) + chunk.data.len() as u64;
        if chunk.index < count {
            return Verdict::Chunk(Chunking::Repeat);
        }
        if chunk.index > count {
            return Verdict::Chunk(Chunking::Gap(count));
        }
        if count >= most.count || bytes > most.bytes {
            return Verdict::Chunk(Chunking::Full);
        }
        let mut number = 0;
        self.alter(id, |job| {
            let stream = job.stream_of(lease);
            number = stream.number();
            stream.chunks.push((number, place(offset, &chunk.data)));
        });
        Verdict::Chunk(Chunking::Taken(number))
    }
}
