//! The index of a segment, kept behind its frames so that opening a log does not read them.

use super::Malformed;
use super::manifest::put_count;
use super::wire::Wire;
use crate::log::disk::index::{Entry, Extent, SegmentIndex};
use trellis_core::Time;

pub(in crate::log::disk) fn encode_summary(index: &SegmentIndex) -> Vec<u8> {
    let mut out = Vec::new();
    let extents: Vec<_> = index.extents().collect();
    put_count(&mut out, extents.len());
    for (partition, extent) in extents {
        out.extend_from_slice(&partition.to_le_bytes());
        for value in [extent.first, extent.end, extent.last_time.0, extent.bytes] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        put_count(&mut out, extent.entries.len());
        for entry in &extent.entries {
            for value in [
                entry.offset,
                entry.time.0,
                entry.position,
                entry.bytes_before,
            ] {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
    out
}

pub(in crate::log::disk) fn decode_summary(bytes: &[u8]) -> Result<SegmentIndex, Malformed> {
    let mut wire = Wire(bytes);
    let mut index = SegmentIndex::default();
    for _ in 0..wire.count(40)? {
        let partition = wire.u32()?;
        let mut extent = Extent {
            first: wire.u64()?,
            end: wire.u64()?,
            last_time: Time(wire.u64()?),
            bytes: wire.u64()?,
            entries: Vec::new(),
        };
        for _ in 0..wire.count(32)? {
            extent.entries.push(Entry {
                offset: wire.u64()?,
                time: Time(wire.u64()?),
                position: wire.u64()?,
                bytes_before: wire.u64()?,
            });
        }
        // What a reader relies on.
        if extent.entries.is_empty() || extent.first >= extent.end {
            return Err(Malformed);
        }
        index.put(partition, extent);
    }
    wire.end()?;
    Ok(index)
}
