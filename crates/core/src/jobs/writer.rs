//! What an owner puts on its records.

use super::ids::Epoch;
use super::record::{Entry, JobRecord, Mark};
use crate::Time;
use crate::log::{RECORD_OVERHEAD, Record};
use crate::wire::Put;
use bytes::Bytes;

/// The checksum over all records up to one, from that up to the one before.
pub(super) fn chained(before: u32, checksum: u32) -> u32 {
    crc32c::crc32c_append(before, &checksum.to_be_bytes())
}

/// The owner's pen. A copy of it goes on from the same place: for a batch of which it is certain that it does not stand.
#[derive(Clone, Copy, Debug)]
pub struct JobWriter {
    last: Mark,
    /// `EpochStart` is written.
    begun: bool,
}

impl JobWriter {
    /// For the owner of a new epoch, whose records are not before a time.
    #[must_use]
    pub fn new(epoch: Epoch, time: Time) -> Self {
        let last = Mark {
            epoch,
            time,
            ..Mark::default()
        };
        Self { last, begun: false }
    }

    /// Whose it is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.last.epoch
    }

    /// The mark of the record that was written last.
    #[must_use]
    pub fn last(&self) -> Mark {
        self.last
    }

    /// The next record as the log has it. The first must be `EpochStart`, and no other.
    pub fn write(&mut self, record: &JobRecord, now: Time) -> Record {
        let mut sheet = Sheet::default();
        self.write_on(&mut sheet, record, now);
        sheet.into_records().pop().unwrap_or_default()
    }

    /// The same, behind those that a sheet has.
    pub fn write_on(&mut self, sheet: &mut Sheet, record: &JobRecord, now: Time) {
        let (start, last) = (!self.begun, self.last);
        debug_assert_eq!(start, *record == JobRecord::EpochStart);
        self.begun = true;
        Entry::put(&mut sheet.keys, record, |checksum| {
            self.last = Mark {
                epoch: last.epoch,
                sequence: if start { 0 } else { last.sequence + 1 },
                time: last.time.max(now),
                chain: chained(if start { 0 } else { last.chain }, checksum),
            };
            self.last
        });
        sheet.ends.push((sheet.keys.0.len(), record.data()));
    }
}

/// Records that are appended together, their keys in one allocation.
#[derive(Default)]
pub struct Sheet {
    keys: Put,
    /// Where the key of each ends, and its data.
    ends: Vec<(usize, Bytes)>,
}

impl Sheet {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The size of the last one, as [`Record::bytes`] counts it.
    #[must_use]
    pub fn last_bytes(&self) -> usize {
        let mut ends = self.ends.iter().rev();
        let Some((end, data)) = ends.next() else {
            return 0;
        };
        let start = ends.next().map_or(0, |(end, _)| *end);
        end - start + data.len() + RECORD_OVERHEAD
    }

    /// Takes the last one away.
    pub fn strike_last(&mut self) {
        self.ends.pop();
        let end = self.ends.last().map_or(0, |(end, _)| *end);
        self.keys.0.truncate(end);
    }

    /// As the log takes them.
    #[must_use]
    pub fn into_records(self) -> Vec<Record> {
        let keys = Bytes::from(self.keys.0);
        let mut start = 0;
        let records = self.ends.into_iter().map(|(end, value)| {
            let key = keys.slice(start..end);
            start = end;
            Record {
                key,
                value,
                ..Record::default()
            }
        });
        records.collect()
    }
}
