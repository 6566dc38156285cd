//! What there is when a segment begins. The manifest of the newest segment says which older files belong to the log.

use super::Malformed;
use super::wire::Wire;
use trellis_core::Time;

/// A partition as a manifest tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::log::disk) struct PartitionEntry {
    pub(in crate::log::disk) partition: u32,
    pub(in crate::log::disk) start: u64,
    pub(in crate::log::disk) end: u64,
    pub(in crate::log::disk) last_time: Time,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::log::disk) struct Manifest {
    /// Number and end of the frames of each older segment.
    pub(in crate::log::disk) segments: Vec<(u64, u64)>,
    /// The partitions that ever had a record.
    pub(in crate::log::disk) partitions: Vec<PartitionEntry>,
}

impl Manifest {
    pub(in crate::log::disk) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_count(&mut out, self.segments.len());
        for (number, length) in &self.segments {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
        }
        put_count(&mut out, self.partitions.len());
        for entry in &self.partitions {
            out.extend_from_slice(&entry.partition.to_le_bytes());
            for value in [entry.start, entry.end, entry.last_time.0] {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        out
    }

    pub(in crate::log::disk) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut wire = Wire(bytes);
        let mut manifest = Self::default();
        for _ in 0..wire.count(16)? {
            manifest.segments.push((wire.u64()?, wire.u64()?));
        }
        for _ in 0..wire.count(28)? {
            manifest.partitions.push(PartitionEntry {
                partition: wire.u32()?,
                start: wire.u64()?,
                end: wire.u64()?,
                last_time: Time(wire.u64()?),
            });
        }
        wire.end()?;
        Ok(manifest)
    }
}

/// Writes a number of items; there are never 2^32 segments or partitions.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
}
