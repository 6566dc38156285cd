//! Finding out what a folder holds when a log is opened. Nothing is changed here.
//!
//! The newest segment that was begun in order is read whole; its manifest says which older ones there are and
//! where their frames end, so that of those only the summaries are read. A segment whose beginning was not synced has no
//! record, and the one before it is the newest.

use super::error::OpenError;
use super::files::{File, Files, read_up_to};
use super::format::{
    HeaderFault, Kind, Manifest, SEGMENT_HEADER, SegmentHeader, VERSION, decode_summary,
    segment_name, segment_number,
};
use super::frames::Frames;
use super::index::SegmentIndex;
use super::scan::{Scanned, Tail, scan};
use std::collections::BTreeMap;
use trellis_core::Time;
use trellis_core::log::History;

/// The suffix of a segment that a repair is writing.
pub(super) const UNFINISHED: &str = ".new";

/// A segment that is not written any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Where its frames end.
    pub(super) length: u64,
    pub(super) index: SegmentIndex,
}

/// A partition, as the newest segment tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) last_time: Time,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// `None` for a new log.
    pub(super) history: Option<History>,
    pub(super) segments: BTreeMap<u64, Sealed>,
    pub(super) places: BTreeMap<u32, Place>,
    /// Files that belong to no log any more.
    pub(super) leftovers: Vec<String>,
    /// Higher than the number of any file.
    pub(super) next: u64,
}

impl Loaded {
    /// Takes over what a manifest says of partitions.
    pub(super) fn manifest(&mut self, manifest: &Manifest) {
        for entry in &manifest.partitions {
            let place = self.places.entry(entry.partition).or_default();
            place.start = place.start.max(entry.start);
            place.end = place.end.max(entry.end);
            place.last_time = place.last_time.max(entry.last_time);
        }
    }

    /// Takes over what stands in a segment that was read whole.
    pub(super) fn contents(&mut self, scanned: &Scanned) {
        for (partition, extent) in scanned.index.extents() {
            let place = self.places.entry(partition).or_default();
            place.end = place.end.max(extent.end);
            place.last_time = place.last_time.max(scanned.last_time(partition));
        }
        for (partition, start) in &scanned.trims {
            let place = self.places.entry(*partition).or_default();
            place.start = place.start.max(*start);
            place.end = place.end.max(*start);
        }
    }
}

/// The header of a segment's file, `None` when the file is too short for one.
pub(super) fn header(
    file: &dyn File,
    name: &str,
) -> Result<Option<Result<SegmentHeader, HeaderFault>>, OpenError> {
    let mut bytes = [0; SEGMENT_HEADER];
    let read = read_up_to(file, &mut bytes, 0).map_err(OpenError::io("read", name))?;
    Ok((read == SEGMENT_HEADER).then(|| SegmentHeader::decode(&bytes)))
}

/// Whether a file is one that a repair was writing.
pub(super) fn is_unfinished(name: &str) -> bool {
    let segment = name.strip_suffix(UNFINISHED);
    segment.is_some_and(|segment| segment_number(segment).is_some())
}

/// A segment's own header, which must be right.
pub(super) fn right_header(
    file: &dyn File,
    number: u64,
    name: &str,
) -> Result<SegmentHeader, OpenError> {
    match header(file, name)? {
        Some(Ok(header)) if header.number == number => Ok(header),
        Some(Ok(_)) => Err(damaged(name, 0, "the header is that of another file")),
        Some(Err(fault)) => Err(header_fault(name, fault)),
        None => Err(damaged(name, 0, "the file ends within its header")),
    }
}

fn header_fault(name: &str, fault: HeaderFault) -> OpenError {
    match fault {
        HeaderFault::Version(found) => OpenError::Version {
            file: name.to_owned(),
            found,
            known: VERSION,
        },
        HeaderFault::Magic => damaged(name, 0, "the file does not begin as a segment does"),
        HeaderFault::Checksum => damaged(name, 0, "the header fails its checksum"),
    }
}

/// What to do about a segment whose file is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnMissing {
    Refuse,
    GiveUp,
}

/// Looks at a folder.
pub(super) fn load(files: &dyn Files, on_missing: OnMissing) -> Result<Loaded, OpenError> {
    let names = files.list().map_err(OpenError::io("list", "the folder"))?;
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let unfinished = names.into_iter().filter(|name| is_unfinished(name));
    let mut loaded = Loaded {
        leftovers: unfinished.collect(),
        next: numbers.last().map_or(1, |last| last + 1),
        ..Loaded::default()
    };
    while let Some(number) = numbers.pop() {
        let Some((header, newest)) = newest(files, number)? else {
            loaded.leftovers.push(segment_name(number));
            continue;
        };
        loaded.history = Some(header.history);
        older(files, &mut loaded, &numbers, (&header, &newest), on_missing)?;
        loaded.contents(&newest);
        loaded.keep(number, newest);
        break;
    }
    Ok(loaded)
}

impl Loaded {
    /// Keeps a segment that has records; one without is a leftover.
    pub(super) fn keep(&mut self, number: u64, scanned: Scanned) {
        if scanned.index.is_empty() {
            self.leftovers.push(segment_name(number));
            return;
        }
        let sealed = Sealed {
            length: scanned.end,
            index: scanned.index,
        };
        self.segments.insert(number, sealed);
    }
}

/// Reads what may be the newest segment; `None` when its beginning was never synced.
fn newest(files: &dyn Files, number: u64) -> Result<Option<(SegmentHeader, Scanned)>, OpenError> {
    let name = segment_name(number);
    let file = files.open(&name).map_err(OpenError::io("open", &*name))?;
    if let Some(Err(fault @ HeaderFault::Version(_))) = header(&*file, &name)? {
        return Err(header_fault(&name, fault));
    }
    // What the last life has written and not synced counts from here on.
    file.settle().map_err(OpenError::io("sync", &*name))?;
    let scanned = scan(&*file, number, None).map_err(OpenError::io("read", &*name))?;
    match (scanned.tail, &scanned.manifest) {
        (Tail::Damaged { at, reason }, _) => Err(damaged(&name, at, reason)),
        (_, None) => Ok(None),
        // Whoever wrote the manifest wrote the header in the same sector.
        (Tail::Clean | Tail::Torn, Some(_)) => {
            Ok(Some((right_header(&*file, number, &name)?, scanned)))
        }
    }
}

fn damaged(name: &str, position: u64, reason: &str) -> OpenError {
    OpenError::Damaged {
        file: name.to_owned(),
        position,
        reason: reason.to_owned(),
    }
}

/// Loads the segments before the newest one.
fn older(
    files: &dyn Files,
    loaded: &mut Loaded,
    present: &[u64],
    (newest_header, newest): (&SegmentHeader, &Scanned),
    on_missing: OnMissing,
) -> Result<(), OpenError> {
    let manifest = newest.manifest.clone().unwrap_or_default();
    loaded.manifest(&manifest);
    let removed = |number: &u64| newest.removals.contains(number);
    let expected: BTreeMap<u64, u64> = manifest.segments.into_iter().collect();
    for number in present {
        let gone = removed(number) || !expected.contains_key(number);
        if gone {
            loaded.leftovers.push(segment_name(*number));
        }
    }
    for (number, length) in expected {
        if removed(&number) {
            continue;
        }
        let name = segment_name(number);
        if !present.contains(&number) {
            match on_missing {
                OnMissing::Refuse => return Err(OpenError::Missing { file: name }),
                OnMissing::GiveUp => continue,
            }
        }
        let file = files.open(&name).map_err(OpenError::io("open", &*name))?;
        let header = right_header(&*file, number, &name)?;
        if header.history != newest_header.history {
            return Err(OpenError::Foreign { file: name });
        }
        let length = if header.length > 0 {
            header.length
        } else {
            length
        };
        let index = index(&*file, number, length, &name)?;
        loaded.segments.insert(number, Sealed { length, index });
    }
    Ok(())
}

/// The index of a segment whose frames end at `length`: its summary, or what reading it shows.
fn index(file: &dyn File, number: u64, length: u64, name: &str) -> Result<SegmentIndex, OpenError> {
    let size = file.length().map_err(OpenError::io("read", name))?;
    if size < length {
        return Err(damaged(name, size, "the file ends too early"));
    }
    if let Some(index) = summary(file, number, length, size) {
        return Ok(index);
    }
    let scanned = scan(file, number, Some(length)).map_err(OpenError::io("read", name))?;
    match scanned.tail {
        Tail::Damaged { at, reason } => Err(damaged(name, at, reason)),
        Tail::Clean | Tail::Torn => Ok(scanned.index),
    }
}

/// The summary behind the frames, if there is a right one.
fn summary(file: &dyn File, number: u64, length: u64, size: u64) -> Option<SegmentIndex> {
    let mut frames = Frames::new(file, number, length, size);
    let header = frames.header().ok()??;
    let body = frames.body(&header).ok()?;
    let whole = header.kind == Kind::Summary && header.last;
    decode_summary(body).ok().filter(|_| whole)
}
