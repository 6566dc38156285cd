//! The committer: one group after the other, each written at once, synced, and only then told of.
//!
//! | what fails | what is done | what callers hear |
//! |---|---|---|
//! | writing a group (disk full, I/O error) | the file is cut off where it was, and that is synced | nothing was appended |
//! | syncing a group | the file is not written again; a new one is begun whose manifest leaves the group out | nothing was appended |
//! | one of these remedies | nothing is appended before a restart | unknown, then `Unavailable` |
//! | beginning a file when one is full | the full one goes on growing, unless the failed beginning cannot be removed | nothing |

use super::begin::{Frame, NotBegun, begin, encode};
use super::files::{File, write_whole};
use super::format::{FrameHeader, Kind, SegmentHeader, encode_summary, segment_name};
use super::load::{Place, Sealed};
use super::queue::Request;
use super::recent::RecentBatch;
use super::shared::{Active, Shared, State};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use trellis_core::log::{Appended, LogError, Offset};
use trellis_core::{Clock, Micros, Time};

/// When an append that met an I/O error may be tried again.
const RETRY_AFTER: Micros = Micros::from_secs(1);

/// See the module.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) file: Arc<dyn File>,
    pub(super) number: u64,
    /// Where the durable frames end and the next group begins.
    pub(super) position: u64,
    /// From here on a new segment is tried.
    pub(super) roll_at: u64,
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    /// Writes what calls ask for, and answers them.
    pub(super) fn commit(&mut self, requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        if self.position >= self.roll_at {
            self.roll();
        }
        if let Some(error) = self.failed() {
            for request in requests {
                request.fail(error.clone());
            }
            return;
        }
        let (frames, taken) = self.frames(requests);
        match self.write(&frames) {
            Ok(()) => {
                for request in taken {
                    request.done();
                }
            }
            Err(error) => {
                for request in taken {
                    request.fail(error.clone());
                }
            }
        }
    }

    fn failed(&self) -> Option<LogError> {
        let state = self.shared.state.lock();
        let reason = state.failed.clone();
        reason.map(|reason| LogError::Unavailable {
            reason,
            retry_after: None,
        })
    }

    /// The frames of requests, in order, and what to answer when they stand. What needs no frame is answered at once.
    fn frames(&self, requests: Vec<Request>) -> (Vec<Frame>, Vec<Taken>) {
        let state = self.shared.state.lock();
        let mut places: BTreeMap<u32, Place> = BTreeMap::new();
        let mut frames = Vec::with_capacity(requests.len());
        let mut taken = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Request::Append {
                    partition,
                    body,
                    count,
                    bytes,
                    time,
                    answer,
                } => {
                    let place = places
                        .entry(partition.0)
                        .or_insert_with(|| state.place(partition));
                    let time = time.max(place.last_time);
                    let header = FrameHeader {
                        partition: partition.0,
                        first: place.end,
                        count,
                        bytes,
                        ..FrameHeader::new(Kind::Batch, time)
                    };
                    (place.end, place.last_time) = (header.end(), time);
                    let appended = Appended {
                        first: Offset(header.first),
                        end: Offset(header.end()),
                        time,
                    };
                    frames.push(Frame::new(header, body));
                    taken.push(Taken::Append(appended, answer));
                }
                Request::Trim {
                    partition,
                    before,
                    answer,
                } => {
                    let place = places
                        .entry(partition.0)
                        .or_insert_with(|| state.place(partition));
                    if before.0 > place.end {
                        let bounds = self.shared.bounds_in(&state, partition);
                        drop(answer.send(Err(LogError::OutOfRange(bounds))));
                    } else if before.0 <= place.start {
                        drop(answer.send(Ok(())));
                    } else {
                        place.start = before.0;
                        frames.push(trim_frame(partition.0, before.0));
                        taken.push(Taken::Trim(answer));
                    }
                }
            }
        }
        (frames, taken)
    }

    /// Writes a group, syncs it and tells of it. After an error none of it stands, unless the error is `Unknown`.
    pub(super) fn write(&mut self, frames: &[Frame]) -> Result<(), LogError> {
        if frames.is_empty() {
            return Ok(());
        }
        if let Some(error) = self.failed() {
            return Err(error);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let placed = encode(frames, self.number, self.position, &mut buffer);
        let end = self.position + buffer.len() as u64;
        let written = write_whole(&*self.file, &buffer, self.position);
        self.buffer = buffer;
        if let Err(error) = written {
            return Err(self.undo(&error));
        }
        if let Err(error) = self.file.sync_data() {
            return Err(self.give_up_file(&error));
        }
        self.position = end;
        self.publish(frames, &placed);
        Ok(())
    }

    /// A group could not be written: the file becomes what it was.
    fn undo(&mut self, error: &io::Error) -> LogError {
        let undone = self
            .file
            .set_len(self.position)
            .and_then(|()| self.file.sync_data());
        match undone {
            Ok(()) => nothing_appended(error),
            Err(undoing) => self.fail(error, &undoing),
        }
    }

    /// A group could not be synced. What the system says of the file from now on proves nothing, so it ends
    /// where the last group that was synced ends.
    fn give_up_file(&mut self, error: &io::Error) -> LogError {
        match self.begin() {
            Ok(()) => nothing_appended(error),
            Err(beginning) => self.fail(error, &beginning.error),
        }
    }

    /// Nothing is appended before a restart, which finds out what stands.
    fn fail(&mut self, error: &io::Error, remedy: &io::Error) -> LogError {
        let reason = format!("{error}; and undoing it failed: {remedy}");
        self.shared.state.lock().failed = Some(format!(
            "an append failed ({reason}): restart the daemon when the disk is right again"
        ));
        LogError::Unknown { reason }
    }

    /// Makes durable frames known to readers.
    fn publish(&self, frames: &[Frame], placed: &[(FrameHeader, u64)]) {
        let mut risen: BTreeMap<u32, u64> = BTreeMap::new();
        let mut state = self.shared.state.lock();
        state.active.length = self.position;
        for (frame, (header, at)) in frames.iter().zip(placed) {
            match header.kind {
                Kind::Batch => {
                    state.take_in(header, *at, &frame.body);
                    risen.insert(header.partition, header.end());
                }
                Kind::Trim => {
                    let place = state.places.get_mut(header.partition as usize);
                    if let Some(place) = place {
                        place.start = place.start.max(header.first);
                    }
                }
                Kind::Removal | Kind::Manifest | Kind::Summary => {}
            }
        }
        drop(state);
        for (partition, end) in risen {
            if let Some(watched) = self.shared.ends.get(partition as usize) {
                watched.rise(Offset(end));
            }
        }
    }

    /// Goes on in a new segment, when one can be begun. The full one gets its summary.
    pub(super) fn roll(&mut self) {
        if self.failed().is_some() {
            return;
        }
        let (file, number, position) = (self.file.clone(), self.number, self.position);
        match self.begin() {
            Ok(()) => self.summarize(&*file, number, position),
            // The old one goes on; another try is made later.
            Err(NotBegun { removed: true, .. }) => {
                self.roll_at = self.position + self.shared.options.segment_bytes / 8;
            }
            // Its manifest would cut off whatever the old one takes in from here on.
            Err(NotBegun { error, .. }) => {
                let remedy = io::Error::other("the file that was begun cannot be removed");
                self.fail(&error, &remedy);
            }
        }
    }

    /// Begins the next segment.
    fn begin(&mut self) -> Result<(), NotBegun> {
        let number = self.number + 1;
        let manifest = self.shared.state.lock().manifest();
        let header = SegmentHeader {
            number,
            history: self.shared.history,
            begun: self.clock.now().wall,
            length: 0,
        };
        let (file, position) = begin(&*self.shared.files, &header, &manifest)?;
        let mut state = self.shared.state.lock();
        let active = Active {
            number,
            length: position,
            ..Active::default()
        };
        let old = std::mem::replace(&mut state.active, active);
        if old.index.is_empty() {
            // It is not in the manifest; if it cannot be removed now it is at the next start.
            let _ = self.shared.files.remove(&segment_name(old.number));
        } else {
            let sealed = Sealed {
                length: self.position,
                index: old.index,
            };
            state.sealed.insert(old.number, Arc::new(sealed));
        }
        drop(state);
        (self.file, self.number, self.position) = (file, number, position);
        self.roll_at = self.shared.options.segment_bytes;
        Ok(())
    }

    /// Puts the index of a segment behind its frames. Without one the segment is read when the log is opened, so nothing
    /// depends on it.
    fn summarize(&self, file: &dyn File, number: u64, position: u64) {
        let state = self.shared.state.lock();
        let body = if number == state.active.number {
            encode_summary(&state.active.index)
        } else {
            let sealed = state.sealed.get(&number);
            sealed.map_or_else(Vec::new, |sealed| encode_summary(&sealed.index))
        };
        drop(state);
        if body.is_empty() {
            return;
        }
        let header = FrameHeader::new(Kind::Summary, self.clock.now().wall);
        let frame = Frame::new(header, body.into());
        let mut buffer = Vec::new();
        encode(&[frame], number, position, &mut buffer);
        let _ = write_whole(file, &buffer, position).and_then(|()| file.sync_data());
    }

    /// Ends in order: the last segment gets its summary, which also shows later that nothing before it is torn.
    pub(super) fn end(&mut self) {
        let state = self.shared.state.lock();
        let worth = state.failed.is_none() && !state.active.index.is_empty();
        drop(state);
        if worth {
            self.summarize(&*self.file, self.number, self.position);
        }
    }
}

/// A request whose frame is being written.
enum Taken {
    Append(Appended, super::queue::Answer<Appended>),
    Trim(super::queue::Answer<()>),
}

impl Taken {
    // A caller that is gone does not want to know.

    fn done(self) {
        match self {
            Self::Append(appended, answer) => drop(answer.send(Ok(appended))),
            Self::Trim(answer) => drop(answer.send(Ok(()))),
        }
    }

    fn fail(self, error: LogError) {
        match self {
            Self::Append(_, answer) => drop(answer.send(Err(error))),
            Self::Trim(answer) => drop(answer.send(Err(error))),
        }
    }
}

impl State {
    /// Takes in a batch that is durable.
    fn take_in(&mut self, header: &FrameHeader, at: u64, body: &Bytes) {
        self.active.index.note(header, at);
        if let Some(place) = self.places.get_mut(header.partition as usize) {
            (place.end, place.last_time) = (header.end(), header.time);
        }
        let batch = RecentBatch {
            first: header.first,
            count: header.count,
            time: header.time,
            body: body.clone(),
            bytes: header.bytes,
        };
        self.recent.push(header.partition, batch);
    }
}

/// A partition starts higher from here on.
pub(super) fn trim_frame(partition: u32, start: u64) -> Frame {
    let header = FrameHeader {
        partition,
        first: start,
        ..FrameHeader::new(Kind::Trim, Time(0))
    };
    Frame::new(header, Bytes::new())
}

fn nothing_appended(error: &io::Error) -> LogError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            LogError::Full {
                reason: format!("{error}; make room on the disk, or trim"),
            }
        }
        _ => LogError::Unavailable {
            reason: error.to_string(),
            retry_after: Some(RETRY_AFTER),
        },
    }
}
