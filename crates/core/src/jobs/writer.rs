//! What an owner puts on its records.

use super::ids::Epoch;
use super::record::{Entry, JobRecord, Mark};
use crate::Time;
use crate::log::{RECORD_OVERHEAD, Record};
use crate::wire::Put;
use bytes::Bytes;

/// Bytes of a usual key, by which room is made.
const USUAL_BYTES: usize = 96;

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
        let mut key = Put::default();
        self.put(&mut key, record, now);
        Record {
            key: key.0.into(),
            value: record.data().clone(),
            ..Record::default()
        }
    }

    /// The same, behind those that a sheet has.
    pub fn write_on(&mut self, sheet: &mut Sheet, record: JobRecord, now: Time) {
        let checksum = self.put(&mut sheet.keys, &record, now);
        sheet.ends.push(sheet.keys.0.len());
        sheet.entries.push(Entry {
            mark: Some(self.last),
            record,
            checksum,
        });
    }

    /// Writes the key of a record, and tells the checksum over what it says.
    fn put(&mut self, out: &mut Put, record: &JobRecord, now: Time) -> u32 {
        let (start, last) = (!self.begun, self.last);
        debug_assert_eq!(start, *record == JobRecord::EpochStart);
        self.begun = true;
        Entry::put(out, record, |checksum| {
            self.last = Mark {
                epoch: last.epoch,
                sequence: if start { 0 } else { last.sequence + 1 },
                time: last.time.max(now),
                chain: chained(if start { 0 } else { last.chain }, checksum),
            };
            self.last
        })
    }
}

/// Records that are appended together, their keys in one allocation.
#[derive(Default)]
pub struct Sheet {
    keys: Put,
    /// Where the key of each ends.
    ends: Vec<usize>,
    entries: Vec<Entry>,
}

impl Sheet {
    /// An empty one with room for so many.
    #[must_use]
    pub fn for_records(count: usize) -> Self {
        Self {
            keys: Put(Vec::with_capacity(count * USUAL_BYTES)),
            ends: Vec::with_capacity(count),
            entries: Vec::with_capacity(count),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The size of the last one, as [`Record::bytes`] counts it.
    #[must_use]
    pub fn last_bytes(&self) -> usize {
        let Some(entry) = self.entries.last() else {
            return 0;
        };
        let before = self.ends.len().checked_sub(2);
        let start = before.map_or(0, |before| self.ends[before]);
        self.keys.0.len() - start + entry.record.data().len() + RECORD_OVERHEAD
    }

    /// Takes the last one away, and gives back what it says.
    pub fn strike_last(&mut self) -> Option<JobRecord> {
        self.ends.pop();
        self.keys.0.truncate(self.ends.last().copied().unwrap_or(0));
        self.entries.pop().map(|entry| entry.record)
    }

    /// As the log takes them; and as they are read from it, so that whoever wrote them need not.
    #[must_use]
    pub fn into_records(self) -> (Vec<Record>, Vec<Entry>) {
        let keys = Bytes::from(self.keys.0);
        let mut start = 0;
        let records = self.ends.iter().zip(&self.entries).map(|(end, entry)| {
            let key = keys.slice(start..*end);
            start = *end;
            Record {
                key,
                value: entry.record.data().clone(),
                ..Record::default()
            }
        });
        (records.collect(), self.entries)
    }
}
