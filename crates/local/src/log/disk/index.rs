//! Where the records of each partition stand in a segment: sparse, one entry for every 64 KiB of a partition.

use super::format::FrameHeader;
use std::collections::BTreeMap;
use trellis_core::Time;

/// Bytes of a partition's records after which it gets another entry. A reader passes over at most so many, and the
/// frames of other partitions between them, before it is where it wants to be.
const SPACING: u64 = 64 * 1024;

/// A place to begin to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The first offset of the frame that stands there.
    pub(super) offset: u64,
    /// When it was taken in.
    pub(super) time: Time,
    /// Where it stands in the file.
    pub(super) position: u64,
    /// Size of the partition's records before it in this segment.
    pub(super) bytes_before: u64,
}

/// The records of one partition in one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) first: u64,
    /// One above the last offset.
    pub(super) end: u64,
    pub(super) last_time: Time,
    /// Size of the records, as the port counts it.
    pub(super) bytes: u64,
    /// By offset; never empty.
    pub(super) entries: Vec<Entry>,
}

impl Extent {
    /// The last place from which on everything at or after an offset stands.
    pub(super) fn entry_for(&self, offset: u64) -> Option<&Entry> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries.get(after.saturating_sub(1))
    }

    /// The last place before which everything was taken in before a time.
    pub(super) fn entry_at(&self, time: Time) -> Option<&Entry> {
        let after = self.entries.partition_point(|entry| entry.time < time);
        self.entries.get(after.saturating_sub(1))
    }
}

/// The records of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentIndex {
    extents: BTreeMap<u32, Extent>,
}

impl SegmentIndex {
    /// Notes a batch.
    pub(super) fn note(&mut self, frame: &FrameHeader, position: u64) {
        let extent = self
            .extents
            .entry(frame.partition)
            .or_insert_with(|| Extent {
                first: frame.first,
                ..Extent::default()
            });
        let due = match extent.entries.last() {
            Some(last) => extent.bytes - last.bytes_before >= SPACING,
            None => true,
        };
        if due {
            extent.entries.push(Entry {
                offset: frame.first,
                time: frame.time,
                position,
                bytes_before: extent.bytes,
            });
        }
        extent.end = frame.end();
        extent.last_time = frame.time;
        extent.bytes += u64::from(frame.bytes);
    }

    /// Takes over what is known of a partition.
    pub(super) fn put(&mut self, partition: u32, extent: Extent) {
        self.extents.insert(partition, extent);
    }

    /// The records of a partition.
    pub(super) fn extent(&self, partition: u32) -> Option<&Extent> {
        self.extents.get(&partition)
    }

    /// All partitions, by number.
    pub(super) fn extents(&self) -> impl Iterator<Item = (u32, &Extent)> {
        self.extents
            .iter()
            .map(|(partition, extent)| (*partition, extent))
    }

    /// Whether it has no record.
    pub(super) fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }
}
