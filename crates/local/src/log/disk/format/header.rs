//! The header of a segment.

use crc32c::crc32c;
use trellis_core::Time;
use trellis_core::log::History;

/// Bytes of a segment's header.
pub(in crate::log::disk) const SEGMENT_HEADER: usize = 64;

/// The version of the format that this code reads and writes.
pub(in crate::log::disk) const VERSION: u32 = 1;

/// Not text, so that no editor takes it for some, and broken by whoever converts line ends.
const MAGIC: [u8; 8] = *b"\x89TRLOG\r\n";

/// See the format's documentation for each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::disk) struct SegmentHeader {
    pub(in crate::log::disk) number: u64,
    pub(in crate::log::disk) history: History,
    pub(in crate::log::disk) begun: Time,
    /// Where its frames end, if that was known when it was begun.
    pub(in crate::log::disk) length: u64,
}

/// Why bytes are not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::disk) enum HeaderFault {
    /// Another format, or damage.
    Magic,
    /// This format in a version that this code does not know.
    Version(u32),
    /// Damage.
    Checksum,
}

impl SegmentHeader {
    pub(in crate::log::disk) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.history.0.to_le_bytes());
        out.extend_from_slice(&self.begun.0.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut bytes = [0; SEGMENT_HEADER];
        for (place, byte) in bytes.iter_mut().zip(out) {
            *place = byte;
        }
        bytes
    }

    pub(in crate::log::disk) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Result<Self, HeaderFault> {
        let (checked, tail) = bytes.split_at(56);
        let mut rest = checked;
        let fault = HeaderFault::Checksum;
        let magic: [u8; 8] = take(&mut rest).ok_or(fault)?;
        if magic != MAGIC {
            return Err(HeaderFault::Magic);
        }
        let version = u32::from_le_bytes(take(&mut rest).ok_or(fault)?);
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        let mut expected = crc32c(checked).to_le_bytes().to_vec();
        expected.extend_from_slice(&[0; 4]);
        if tail != expected {
            return Err(fault);
        }
        let _zero: [u8; 4] = take(&mut rest).ok_or(fault)?;
        Ok(Self {
            number: u64::from_le_bytes(take(&mut rest).ok_or(fault)?),
            history: History(u128::from_le_bytes(take(&mut rest).ok_or(fault)?)),
            begun: Time(u64::from_le_bytes(take(&mut rest).ok_or(fault)?)),
            length: u64::from_le_bytes(take(&mut rest).ok_or(fault)?),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (value, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*value)
}
