//! Repairing a damaged log: what can be read is kept, what cannot is given up and told.
//!
//! Every segment is read whole. A damaged one is written anew, without what cannot be read, under another name, and then
//! takes the place of the old one, which stays beside it. Each step leaves a log that can be opened or salvaged again, so it
//! may stop anywhere.

use super::begin::{Frame, encode};
use super::error::OpenError;
use super::files::{File, Files, write_whole};
use super::format::{
    FrameHeader, HeaderFault, Kind, Manifest, PartitionEntry, SEGMENT_HEADER, SegmentHeader,
    encode_summary, segment_name, segment_number,
};
use super::frames::{Fault, Frames};
use super::index::SegmentIndex;
use super::load::{Loaded, UNFINISHED, header, is_unfinished, right_header};
use super::scan::{Scanned, Tail, next_frame, scan};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use trellis_core::Time;
use trellis_core::log::History;

/// The suffix of a file that was written anew.
const DAMAGED: &str = ".damaged";

/// A stretch of a file that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The file's name; the damaged file is kept under this name and `.damaged`.
    pub file: String,
    /// Where the stretch begins.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// What is wrong there.
    pub reason: String,
}

/// What is known of the log while its segments are gone through, the oldest first.
struct Salvage<'a> {
    files: &'a dyn Files,
    history: Option<History>,
    /// Where the frames of older segments end, by the newest manifest that can be read; and that manifest's segment.
    known: Option<(u64, BTreeMap<u64, u64>)>,
    /// What the segments gone through so far amount to.
    sofar: Loaded,
    lost: Vec<Lost>,
}

/// What a segment is to the log.
enum Part {
    /// None of it, but for its name.
    Removed,
    /// A part whose frames end here.
    Until(u64),
    /// A part, and only its own frames tell where they end.
    Open,
}

/// Repairs the log of a folder. One that is not damaged is not changed.
pub(super) fn salvage(files: &dyn Files) -> Result<Vec<Lost>, OpenError> {
    let names = files.list().map_err(OpenError::io("list", "the folder"))?;
    for name in names.iter().filter(|name| is_unfinished(name)) {
        files.remove(name).map_err(OpenError::io("remove", name))?;
    }
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| segment_number(name))
        .collect();
    numbers.sort_unstable();
    let mut salvage = Salvage {
        files,
        history: None,
        known: None,
        sofar: Loaded::default(),
        lost: Vec::new(),
    };
    for number in numbers.iter().rev() {
        salvage.look(*number)?;
    }
    salvage.miss(&numbers);
    for number in numbers {
        salvage.segment(number)?;
    }
    Ok(salvage.lost)
}

impl Salvage<'_> {
    /// Takes from a segment, the newest first, which log it belongs to and what it says of older ones.
    fn look(&mut self, number: u64) -> Result<(), OpenError> {
        let name = segment_name(number);
        let file = self
            .files
            .open(&name)
            .map_err(OpenError::io("open", &*name))?;
        file.settle().map_err(OpenError::io("sync", &*name))?;
        match header(&*file, &name)? {
            Some(Ok(header)) => match self.history {
                Some(history) if history != header.history => {
                    return Err(OpenError::Foreign { file: name });
                }
                _ => self.history = Some(header.history),
            },
            // Not damage: another version may be able to read it.
            Some(Err(HeaderFault::Version(_))) => {
                right_header(&*file, number, &name)?;
            }
            Some(Err(HeaderFault::Magic | HeaderFault::Checksum)) | None => {}
        }
        if self.known.is_none()
            && let Some(manifest) =
                manifest(&*file, number).map_err(OpenError::io("read", &*name))?
        {
            self.known = Some((number, manifest.segments.into_iter().collect()));
        }
        Ok(())
    }

    /// Notes the segments that are not there.
    fn miss(&mut self, present: &[u64]) {
        let known = self.known.iter().flat_map(|(_, segments)| segments);
        let missing = known.filter(|(number, _)| !present.contains(number));
        let lost = missing.map(|(number, length)| Lost {
            file: segment_name(*number),
            from: 0,
            to: *length,
            reason: "the file is missing".to_owned(),
        });
        self.lost.extend(lost);
    }

    /// Whether a segment is part of the log, and where its frames end if an intact manifest says so.
    fn part(&self, number: u64, header: Option<&SegmentHeader>) -> Part {
        let own = header
            .map(|header| header.length)
            .filter(|length| *length > 0);
        let listed = match &self.known {
            Some((by, segments)) if number < *by => match segments.get(&number) {
                Some(length) => Some(*length),
                None => return Part::Removed,
            },
            _ => None,
        };
        own.or(listed).map_or(Part::Open, Part::Until)
    }

    /// Goes through a segment, and writes it anew if it is damaged.
    fn segment(&mut self, number: u64) -> Result<(), OpenError> {
        let name = segment_name(number);
        let reading = || OpenError::io("read", segment_name(number));
        let file = self
            .files
            .open(&name)
            .map_err(OpenError::io("open", &*name))?;
        let own = header(&*file, &name)?.and_then(Result::ok);
        let own = own.filter(|header| header.number == number);
        let known = match self.part(number, own.as_ref()) {
            Part::Removed => return Ok(()),
            Part::Until(length) => Some(length),
            Part::Open => None,
        };
        let scanned = scan(&*file, number, known).map_err(reading())?;
        let intact = !matches!(scanned.tail, Tail::Damaged { .. });
        let unborn = known.is_none() && scanned.manifest.is_none();
        if intact && (own.is_some() || unborn) {
            self.add(number, scanned);
            return Ok(());
        }
        let end = match known {
            Some(length) => length,
            None => file.length().map_err(reading())?,
        };
        let (frames, mut lost) = readable(&*file, number, end).map_err(reading())?;
        if own.is_none() {
            lost.push((0, SEGMENT_HEADER as u64, "the header cannot be read"));
        }
        self.lost
            .extend(lost.into_iter().map(|(from, to, reason)| Lost {
                file: name.clone(),
                from,
                to,
                reason: reason.to_owned(),
            }));
        let scanned = self.rewrite(number, frames, own.as_ref(), scanned.manifest)?;
        self.add(number, scanned);
        Ok(())
    }

    fn add(&mut self, number: u64, scanned: Scanned) {
        if let Some(manifest) = &scanned.manifest {
            self.sofar.manifest(manifest);
        }
        self.sofar.contents(&scanned);
        self.sofar.keep(number, scanned);
    }

    /// What a segment says that comes behind those gone through so far.
    fn manifest(&self) -> Manifest {
        let segments = self.sofar.segments.iter();
        let places = self.sofar.places.iter();
        Manifest {
            segments: segments.map(|(number, it)| (*number, it.length)).collect(),
            partitions: places
                .map(|(partition, place)| PartitionEntry {
                    partition: *partition,
                    start: place.start,
                    end: place.end,
                    last_time: place.last_time,
                })
                .collect(),
        }
    }

    /// Writes a segment anew with these frames, and puts it in the place of the old one.
    fn rewrite(
        &self,
        number: u64,
        frames: Vec<Frame>,
        own: Option<&SegmentHeader>,
        manifest: Option<Manifest>,
    ) -> Result<Scanned, OpenError> {
        let name = segment_name(number);
        let unfinished = format!("{name}{UNFINISHED}");
        let manifest = manifest.unwrap_or_else(|| self.manifest());
        let mut bytes = vec![0; SEGMENT_HEADER];
        let first = FrameHeader::new(Kind::Manifest, Time(0));
        let mut all = vec![Frame::new(first, manifest.encode().into())];
        all.extend(frames);
        let mut index = SegmentIndex::default();
        for frame in all {
            let at = bytes.len() as u64;
            for (header, at) in encode(&[frame], number, at, &mut bytes) {
                if header.kind == Kind::Batch {
                    index.note(&header, at);
                }
            }
        }
        let length = bytes.len() as u64;
        let header = SegmentHeader {
            number,
            history: self.history.unwrap_or_else(|| History(rand::random())),
            begun: own.map_or(Time(0), |own| own.begun),
            length,
        };
        for (place, byte) in bytes.iter_mut().zip(header.encode()) {
            *place = byte;
        }
        let summary = FrameHeader::new(Kind::Summary, Time(0));
        let summary = Frame::new(summary, encode_summary(&index).into());
        encode(&[summary], number, length, &mut bytes);
        let written = || -> io::Result<Scanned> {
            let file = self.files.create(&unfinished)?;
            write_whole(&*file, &bytes, 0)?;
            file.sync_data()?;
            self.files.sync()?;
            self.files.rename(&name, &format!("{name}{DAMAGED}"))?;
            self.files.rename(&unfinished, &name)?;
            self.files.sync()?;
            scan(&*file, number, Some(length))
        };
        written().map_err(OpenError::io("write", unfinished.clone()))
    }
}

/// The manifest that a segment begins with, if it can be read.
fn manifest(file: &dyn File, number: u64) -> io::Result<Option<Manifest>> {
    let mut frames = Frames::new(file, number, SEGMENT_HEADER as u64, u64::MAX);
    let read = match frames.header() {
        Ok(Some(header)) if header.kind == Kind::Manifest => frames.body(&header),
        Ok(_) => return Ok(None),
        Err(fault) => Err(fault),
    };
    match read {
        Ok(body) => Ok(Manifest::decode(body).ok()),
        Err(Fault::Io(error)) => Err(error),
        Err(Fault::Bad { .. }) => Ok(None),
    }
}

type Stretch = (u64, u64, &'static str);

/// The frames of a segment that can be read, whatever stands between them, and what stands between them.
fn readable(file: &dyn File, number: u64, end: u64) -> io::Result<(Vec<Frame>, Vec<Stretch>)> {
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    let mut frames = Frames::new(file, number, SEGMENT_HEADER as u64, end);
    loop {
        let read = match frames.header() {
            Ok(Some(header)) => frames.body(&header).map(|body| Some((header, body))),
            Ok(None) => return Ok((kept, lost)),
            Err(fault) => Err(fault),
        };
        match read {
            Ok(Some((header, body))) => {
                let before = ends.get(&header.partition).copied().unwrap_or(0);
                let body = Bytes::copy_from_slice(body);
                let wanted = match header.kind {
                    Kind::Batch => header.count > 0 && header.first >= before,
                    Kind::Trim | Kind::Removal => true,
                    Kind::Manifest | Kind::Summary => false,
                };
                if wanted {
                    if header.kind == Kind::Batch {
                        ends.insert(header.partition, header.end());
                    }
                    kept.push(Frame::new(header, body));
                }
                frames.pass(&header);
            }
            Ok(None) => return Ok((kept, lost)),
            Err(Fault::Io(error)) => return Err(error),
            Err(Fault::Bad { at, reason }) => {
                let next = next_frame(file, number, at + 8, end, |_, _| true)?;
                lost.push((at, next.unwrap_or(end), reason));
                let Some(next) = next else {
                    return Ok((kept, lost));
                };
                frames = Frames::new(file, number, next, end);
            }
        }
    }
}
