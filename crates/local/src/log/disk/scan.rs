//! Reading a whole segment, as after a crash: which groups stand, and whether what is wrong at the end is a torn tail.
//!
//! A crash may leave any part of the last group on disk, because it was not synced, and nothing else is uncertain. So what
//! is wrong is **damage** when something proves that it was synced before: a right frame behind it that belongs to a later
//! group; or, in the last group, that no sector is missing, since a disk writes whole sectors, and one that was
//! not written is zero or beyond the end of the file. Everything else is a **torn tail**, which was never acknowledged.

use super::files::{File, read_up_to};
use super::format::{FRAME_HEADER, FrameHeader, Kind, Manifest, SEGMENT_HEADER};
use super::frames::{Fault, Frames};
use super::index::SegmentIndex;
use std::io;
use trellis_core::Time;

/// What disks write as a whole, at least.
const SECTOR: usize = 512;

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    pub(super) manifest: Option<Manifest>,
    pub(super) index: SegmentIndex,
    /// New starts of partitions, in order.
    pub(super) trims: Vec<(u32, u64)>,
    /// Segments that were about to be removed.
    pub(super) removals: Vec<u64>,
    /// Where its frames end, a summary left out.
    pub(super) end: u64,
    pub(super) tail: Tail,
}

/// What stands behind the last whole group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    #[default]
    Clean,
    /// What a crash may leave.
    Torn,
    /// What no crash leaves.
    Damaged { at: u64, reason: &'static str },
}

/// A frame of the group that is being read, kept until its last frame is seen.
enum Pending {
    Batch(FrameHeader, u64),
    Trim(u32, u64),
    Removal(u64),
    Manifest(Manifest),
    Summary,
}

/// Reads a segment from behind its header. Where its frames end is `known` for all but the newest, and then everything up
/// to there must be right.
pub(super) fn scan(file: &dyn File, segment: u64, known: Option<u64>) -> io::Result<Scanned> {
    let begin = SEGMENT_HEADER as u64;
    let mut scanned = Scanned {
        end: begin,
        ..Scanned::default()
    };
    let mut frames = Frames::new(file, segment, begin, known.unwrap_or(u64::MAX));
    let mut group = Vec::new();
    let mut group_at = begin;
    loop {
        let at = frames.position();
        let read = frames.header().and_then(|header| match header {
            Some(header) => pending(&mut frames, &scanned, &header, at, group_at)
                .map(|pending| Some((header, pending))),
            None => Ok(None),
        });
        match read {
            Ok(Some((header, pending))) => {
                group.push(pending);
                frames.pass(&header);
                if header.last {
                    group_at = frames.position();
                    scanned.accept(group.drain(..), group_at);
                }
            }
            Ok(None) => {
                let whole = group.is_empty() && known.is_none_or(|known| known == at);
                scanned.tail = match (whole, known) {
                    (true, _) => Tail::Clean,
                    (false, None) => Tail::Torn,
                    (false, Some(_)) => Tail::Damaged {
                        at,
                        reason: "the segment ends too early",
                    },
                };
                return Ok(scanned);
            }
            Err(Fault::Io(error)) => return Err(error),
            Err(Fault::Bad { at, reason }) => {
                let torn = known.is_none() && torn(file, segment, at)?;
                scanned.tail = if torn {
                    Tail::Torn
                } else {
                    Tail::Damaged { at, reason }
                };
                return Ok(scanned);
            }
        }
    }
}

/// Checks a frame against those before it.
fn pending(
    frames: &mut Frames<'_>,
    scanned: &Scanned,
    header: &FrameHeader,
    at: u64,
    group_at: u64,
) -> Result<Pending, Fault> {
    let bad = |reason| Fault::Bad { at, reason };
    if u64::from(header.group) != at - group_at {
        return Err(bad("a frame belongs to another group than those before it"));
    }
    let body = frames.body(header)?;
    Ok(match header.kind {
        Kind::Batch => {
            let before = scanned.index.extent(header.partition);
            if header.count == 0 || before.is_some_and(|extent| header.first < extent.end) {
                return Err(bad("the offsets of a partition do not rise"));
            }
            Pending::Batch(*header, at)
        }
        Kind::Trim => Pending::Trim(header.partition, header.first),
        Kind::Removal => Pending::Removal(header.first),
        Kind::Manifest => {
            let manifest = Manifest::decode(body);
            Pending::Manifest(manifest.map_err(|_| bad("a manifest does not follow the format"))?)
        }
        Kind::Summary => Pending::Summary,
    })
}

impl Scanned {
    /// Takes a whole group over that ends at `end`.
    fn accept(&mut self, group: impl Iterator<Item = Pending>, end: u64) {
        for pending in group {
            match pending {
                Pending::Batch(header, at) => self.index.note(&header, at),
                Pending::Trim(partition, start) => self.trims.push((partition, start)),
                Pending::Removal(segment) => self.removals.push(segment),
                Pending::Manifest(manifest) => self.manifest = Some(manifest),
                // It stands alone in its group, behind the frames.
                Pending::Summary => return,
            }
        }
        self.end = end;
    }

    /// The latest time of a partition's records here.
    pub(super) fn last_time(&self, partition: u32) -> Time {
        let extent = self.index.extent(partition);
        extent.map_or(Time(0), |extent| extent.last_time)
    }
}

/// Whether what is wrong at a position may be what a crash left of the last group.
fn torn(file: &dyn File, segment: u64, at: u64) -> io::Result<bool> {
    let length = file.length()?;
    if proof_behind(file, segment, at, length)? {
        return Ok(false);
    }
    if length.saturating_sub(at) < FRAME_HEADER as u64 {
        return Ok(true);
    }
    let mut header = Frames::new(file, segment, at, u64::MAX);
    if let Ok(Some(header)) = header.header()
        && at + header.length() > length
    {
        return Ok(true);
    }
    sector_missing(file, at, length)
}

/// Whether a right frame of a later group stands behind a position.
fn proof_behind(file: &dyn File, segment: u64, at: u64, length: u64) -> io::Result<bool> {
    let later =
        |header: &FrameHeader, position: u64| position.saturating_sub(u64::from(header.group)) > at;
    Ok(next_frame(file, segment, at, length, later)?.is_some())
}

/// Where the next right frame begins that is `wanted`, at or behind a position.
pub(super) fn next_frame(
    file: &dyn File,
    segment: u64,
    from: u64,
    length: u64,
    wanted: impl Fn(&FrameHeader, u64) -> bool,
) -> io::Result<Option<u64>> {
    const WINDOW: usize = 1024 * 1024;
    let mut begin = from.next_multiple_of(8);
    let mut window = vec![0; WINDOW];
    while begin < length {
        let read = read_up_to(file, &mut window, begin)?;
        let bytes = window.get(..read).unwrap_or_default();
        for (index, candidate) in bytes.windows(FRAME_HEADER).enumerate().step_by(8) {
            let position = begin + index as u64;
            let Some(candidate) = candidate.first_chunk() else {
                continue;
            };
            let Some(header) = FrameHeader::decode(candidate, segment, position) else {
                continue;
            };
            let mut frame = Frames::new(file, segment, position, length);
            if wanted(&header, position) && frame.body(&header).is_ok() {
                return Ok(Some(position));
            }
        }
        if read < WINDOW {
            break;
        }
        // A header may lie across two windows.
        begin += (WINDOW - FRAME_HEADER) as u64;
    }
    Ok(None)
}

/// Whether some sector from a position to the end of the file is zero as far as it lies there.
fn sector_missing(file: &dyn File, at: u64, length: u64) -> io::Result<bool> {
    let mut begin = at;
    let mut sector = [0; SECTOR];
    while begin < length {
        let end = (begin + 1).next_multiple_of(SECTOR as u64).min(length);
        let size = usize::try_from(end - begin).unwrap_or(0);
        let read = read_up_to(file, sector.get_mut(..size).unwrap_or_default(), begin)?;
        let bytes = sector.get(..read).unwrap_or_default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        begin = end;
    }
    Ok(false)
}
