//! Frames as bytes, and how a segment begins.

use super::files::{File, Files, write_whole};
use super::format::{FrameHeader, Kind, Manifest, SEGMENT_HEADER, SegmentHeader, segment_name};
use bytes::Bytes;
use crc32c::crc32c;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// What a frame is made of.
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    pub(super) body: Bytes,
}

impl Frame {
    pub(super) fn new(header: FrameHeader, body: Bytes) -> Self {
        let header = FrameHeader {
            body: u32::try_from(body.len()).unwrap_or(u32::MAX),
            body_crc: crc32c(&body),
            ..header
        };
        Self { header, body }
    }
}

/// Appends the bytes of a group that begins at a position of a segment; tells the frames' headers as written, and where
/// each stands.
pub(super) fn encode(
    frames: &[Frame],
    segment: u64,
    position: u64,
    out: &mut Vec<u8>,
) -> Vec<(FrameHeader, u64)> {
    let mut placed = Vec::with_capacity(frames.len());
    let begin = out.len();
    for (index, frame) in frames.iter().enumerate() {
        let distance = out.len() - begin;
        let at = position + distance as u64;
        let header = FrameHeader {
            group: u32::try_from(distance).unwrap_or(u32::MAX),
            last: index + 1 == frames.len(),
            ..frame.header
        };
        let end = out.len() + usize::try_from(header.length()).unwrap_or(0);
        out.extend_from_slice(&header.encode(segment, at));
        out.extend_from_slice(&frame.body);
        out.resize(end, 0);
        placed.push((header, at));
    }
    placed
}

/// Why a segment was not begun.
#[derive(Debug)]
pub(super) struct NotBegun {
    pub(super) error: io::Error,
    /// Whether its file is gone, so that it can be tried again and nothing is taken for the beginning of one.
    pub(super) removed: bool,
}

/// Begins a segment; tells its file and where the next group is to stand. When it returns, header, manifest and name are
/// durable.
pub(super) fn begin(
    files: &dyn Files,
    header: &SegmentHeader,
    manifest: &Manifest,
) -> Result<(Arc<dyn File>, u64), NotBegun> {
    let name = segment_name(header.number);
    let mut bytes = header.encode().to_vec();
    let frame = Frame::new(
        FrameHeader::new(Kind::Manifest, header.begun),
        manifest.encode().into(),
    );
    encode(&[frame], header.number, SEGMENT_HEADER as u64, &mut bytes);
    let begun = files.create(&name).and_then(|file| {
        write_whole(&*file, &bytes, 0)?;
        file.sync_data()?;
        files.sync()?;
        Ok(file)
    });
    begun
        .map(|file| (file, bytes.len() as u64))
        .map_err(|error| {
            let removed = match files.remove(&name) {
                Ok(()) => files.sync().is_ok(),
                Err(error) => error.kind() == ErrorKind::NotFound,
            };
            NotBegun { error, removed }
        })
}
