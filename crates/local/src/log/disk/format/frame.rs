//! The header of a frame.

use crc32c::{crc32c, crc32c_append};
use trellis_core::Time;

/// Bytes of a frame's header.
pub(in crate::log::disk) const FRAME_HEADER: usize = 48;

/// Frames begin at multiples of it.
pub(super) const ALIGNMENT: u64 = 8;

/// Longer bodies are not written, so a longer one is damage.
const MAX_BODY: u32 = 64 * 1024 * 1024;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::disk) enum Kind {
    /// Records.
    Batch,
    /// A partition starts higher from here on.
    Trim,
    /// What there was when the segment began.
    Manifest,
    /// The index of the segment.
    Summary,
    /// A segment is about to be removed.
    Removal,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Batch,
            2 => Self::Trim,
            3 => Self::Manifest,
            4 => Self::Summary,
            5 => Self::Removal,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::Trim => 2,
            Self::Manifest => 3,
            Self::Summary => 4,
            Self::Removal => 5,
        }
    }
}

/// See the format's documentation for each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::disk) struct FrameHeader {
    pub(in crate::log::disk) kind: Kind,
    pub(in crate::log::disk) last: bool,
    pub(in crate::log::disk) partition: u32,
    pub(in crate::log::disk) group: u32,
    pub(in crate::log::disk) first: u64,
    pub(in crate::log::disk) time: Time,
    pub(in crate::log::disk) count: u32,
    pub(in crate::log::disk) bytes: u32,
    pub(in crate::log::disk) body: u32,
    pub(in crate::log::disk) body_crc: u32,
}

impl FrameHeader {
    /// A frame of a kind, everything else 0; to be filled in.
    pub(in crate::log::disk) fn new(kind: Kind, time: Time) -> Self {
        Self {
            kind,
            last: false,
            partition: 0,
            group: 0,
            first: 0,
            time,
            count: 0,
            bytes: 0,
            body: 0,
            body_crc: 0,
        }
    }

    /// One above the last offset of a batch.
    pub(in crate::log::disk) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Bytes of the whole frame, padding included.
    pub(in crate::log::disk) fn length(&self) -> u64 {
        frame_length(u64::from(self.body))
    }

    /// Its bytes, in a segment and at a position.
    pub(in crate::log::disk) fn encode(&self, segment: u64, position: u64) -> [u8; FRAME_HEADER] {
        let kind = [self.kind.byte(), u8::from(self.last), 0, 0];
        let fields: [&[u8]; 9] = [
            &self.body.to_le_bytes(),
            &kind,
            &self.partition.to_le_bytes(),
            &self.group.to_le_bytes(),
            &self.first.to_le_bytes(),
            &self.time.0.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.bytes.to_le_bytes(),
            &self.body_crc.to_le_bytes(),
        ];
        let mut bytes = [0; FRAME_HEADER];
        for (place, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *place = *byte;
        }
        if let Some((checked, crc)) = bytes.split_last_chunk_mut::<4>() {
            *crc = salted(segment, position, checked).to_le_bytes();
        }
        bytes
    }

    /// Reads a header that stands in a segment at a position; `None` when these bytes were not written as one there.
    pub(in crate::log::disk) fn decode(
        bytes: &[u8; FRAME_HEADER],
        segment: u64,
        position: u64,
    ) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let body = u32::from_le_bytes(take(&mut rest)?);
        let [kind, last, zero, zero_too] = take(&mut rest)?;
        let kind = Kind::of(kind)?;
        if body > MAX_BODY || last > 1 || zero != 0 || zero_too != 0 {
            return None;
        }
        let header = Self {
            kind,
            last: last == 1,
            body,
            partition: u32::from_le_bytes(take(&mut rest)?),
            group: u32::from_le_bytes(take(&mut rest)?),
            first: u64::from_le_bytes(take(&mut rest)?),
            time: Time(u64::from_le_bytes(take(&mut rest)?)),
            count: u32::from_le_bytes(take(&mut rest)?),
            bytes: u32::from_le_bytes(take(&mut rest)?),
            body_crc: u32::from_le_bytes(take(&mut rest)?),
        };
        let (checked, crc) = bytes.split_last_chunk::<4>()?;
        let right = salted(segment, position, checked) == u32::from_le_bytes(*crc);
        right.then_some(header)
    }
}

/// Bytes of a frame with so many bytes of body.
fn frame_length(body: u64) -> u64 {
    (FRAME_HEADER as u64 + body).next_multiple_of(ALIGNMENT)
}

/// A frame is right in one place only: bytes that strayed, or were there before, are not taken for it.
fn salted(segment: u64, position: u64, bytes: &[u8]) -> u32 {
    let salt = crc32c_append(crc32c(&segment.to_le_bytes()), &position.to_le_bytes());
    crc32c_append(salt, bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (value, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*value)
}
