//! The file format, version 1. All numbers are little-endian.
//!
//! A **segment** is a file `<number>.log`, the number in 20 digits: a header of 64 bytes, then frames. It is written
//! from start to end within one life of the daemon and never changed afterwards.
//!
//! | bytes | segment header |
//! |---|---|
//! | 0-7 | magic |
//! | 8-11 | format version |
//! | 12-15 | 0 |
//! | 16-23 | number of the segment |
//! | 24-39 | history of the log |
//! | 40-47 | when it was begun, µs since the Unix epoch |
//! | 48-55 | where its frames end, if it was rewritten by a repair, or 0 |
//! | 56-59 | CRC32C of the bytes before |
//! | 60-63 | 0 |
//!
//! A **frame** is a header of 48 bytes and a body, padded with zeros to a multiple of 8 bytes.
//!
//! | bytes | frame header |
//! |---|---|
//! | 0-3 | length of the body without padding |
//! | 4 | kind: 1 batch, 2 trim, 3 manifest, 4 summary, 5 removal |
//! | 5 | 1 in the last frame of its group, else 0 |
//! | 6-7 | 0 |
//! | 8-11 | partition |
//! | 12-15 | distance to the first frame of its group |
//! | 16-23 | batch: first offset; trim: new start; removal: number of the segment |
//! | 24-31 | when it was taken in, µs since the Unix epoch |
//! | 32-35 | batch: number of records |
//! | 36-39 | batch: size of the records as the port counts it |
//! | 40-43 | CRC32C of the body |
//! | 44-47 | CRC32C of the segment's number, the frame's position and the bytes before |
//!
//! A **group** is what one fdatasync makes durable: its frames stand one after the other, and the last is marked. A group
//! without its last frame counts as never written. The next group is written only when this one is synced, so
//! a frame of a later group proves that everything before that group was durable: that is how damage in the middle is
//! told from a torn tail.
//!
//! The first group of a segment is a **manifest**: which older segments there are and where their frames end, and
//! where every partition starts and ends. Behind the frames of a segment that was ended in order stands a **summary**,
//! its index.

mod batch;
mod frame;
mod header;
mod manifest;
mod summary;
mod wire;

pub(super) use batch::{Malformed, decode_records, encode_records};
pub(super) use frame::{FRAME_HEADER, FrameHeader, Kind};
pub(super) use header::{HeaderFault, SEGMENT_HEADER, SegmentHeader, VERSION};
pub(super) use manifest::{Manifest, PartitionEntry};
pub(super) use summary::{decode_summary, encode_summary};

/// The file name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("{number:020}.log")
}

/// The number of the segment that a file is, if it is one.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let valid = digits.len() == 20 && digits.bytes().all(|it| it.is_ascii_digit());
    digits.parse().ok().filter(|_| valid)
}

#[cfg(test)]
mod tests;
