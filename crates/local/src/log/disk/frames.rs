//! Walking over the frames of a segment, in large reads, every header and every body that is asked for checked.

use super::files::{File, read_up_to};
use super::format::{FRAME_HEADER, FrameHeader};
use crc32c::crc32c;
use std::io;

/// Bytes of one read: enough that a disk is busy with reading, little enough to be kept in memory by many readers.
const CHUNK: usize = 256 * 1024;

/// Why a frame cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file cannot be read.
    Io(io::Error),
    /// There is no right frame at this position.
    Bad { at: u64, reason: &'static str },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A place in a segment.
pub(super) struct Frames<'a> {
    file: &'a dyn File,
    segment: u64,
    position: u64,
    /// Where the walk ends.
    stop: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Frames<'a> {
    /// From a position to `stop`, which is where the frames end or beyond the end of the file.
    pub(super) fn new(file: &'a dyn File, segment: u64, position: u64, stop: u64) -> Self {
        Self {
            file,
            segment,
            position,
            stop,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// Where it is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The header of the frame here, `None` at the end. A file that ends here ends the walk as `stop` does.
    pub(super) fn header(&mut self) -> Result<Option<FrameHeader>, Fault> {
        if self.position >= self.stop {
            return Ok(None);
        }
        let (at, segment) = (self.position, self.segment);
        let bytes = self.bytes(at, FRAME_HEADER)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let header = bytes
            .first_chunk::<FRAME_HEADER>()
            .and_then(|bytes| FrameHeader::decode(bytes, segment, at));
        let header = header.ok_or(Fault::Bad {
            at,
            reason: "the header of a frame fails its checksum",
        })?;
        if at.saturating_add(header.length()) > self.stop {
            return Err(Fault::Bad {
                at,
                reason: "a frame goes beyond the end of its segment",
            });
        }
        Ok(Some(header))
    }

    /// The body of the frame here, whose header was read.
    pub(super) fn body(&mut self, header: &FrameHeader) -> Result<&[u8], Fault> {
        let at = self.position;
        let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
        let frame = self.bytes(at, length)?;
        if frame.len() < length {
            return Err(Fault::Bad {
                at,
                reason: "the file ends within a frame",
            });
        }
        let bad = Fault::Bad {
            at,
            reason: "the body of a frame fails its checksum",
        };
        let end = FRAME_HEADER + header.body as usize;
        let body = frame.get(FRAME_HEADER..end).unwrap_or_default();
        let padding = frame.get(end..).unwrap_or_default();
        if crc32c(body) != header.body_crc || padding.iter().any(|byte| *byte != 0) {
            return Err(bad);
        }
        Ok(body)
    }

    /// Goes past the frame here.
    pub(super) fn pass(&mut self, header: &FrameHeader) {
        self.position += header.length();
    }

    /// So many bytes from a position on, or what there is of them.
    fn bytes(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let end = self.chunk_at + self.chunk.len() as u64;
        if at < self.chunk_at || at + length as u64 > end {
            let left = usize::try_from(self.stop - at).unwrap_or(usize::MAX);
            self.chunk.resize(length.max(CHUNK.min(left)), 0);
            let read = read_up_to(self.file, &mut self.chunk, at)?;
            self.chunk.truncate(read);
            self.chunk_at = at;
        }
        let from = usize::try_from(at - self.chunk_at).unwrap_or(usize::MAX);
        let rest = self.chunk.get(from..).unwrap_or_default();
        Ok(rest.get(..length).unwrap_or(rest))
    }
}
