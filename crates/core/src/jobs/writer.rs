//! What an owner puts on its records.

use super::ids::Epoch;
use super::record::{Entry, JobRecord, Mark};
use crate::Time;
use crate::log::Record;

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
        let (body, checksum) = Entry::body(record);
        let start = !self.begun;
        debug_assert_eq!(start, *record == JobRecord::EpochStart);
        self.begun = true;
        self.last = Mark {
            epoch: self.last.epoch,
            sequence: if start { 0 } else { self.last.sequence + 1 },
            time: self.last.time.max(now),
            chain: chained(if start { 0 } else { self.last.chain }, checksum),
        };
        Entry::to_log(Some(&self.last), body, record.data())
    }
}
