//! Reading the control partition from its start.

use super::super::lane::{CHUNK, Folding, LaneError};
use super::CONTROL;
use trellis_core::events::Stamp;
use trellis_core::events::control::{ControlFold, ControlRecord};
use trellis_core::log::{Log, LogError, LogRecord, Offset, Read};
use trellis_core::{Error, ErrorCode, Result};

/// How far the partition was read, and what it amounts to.
#[derive(Default)]
pub(in crate::events) struct Replayed {
    pub fold: ControlFold,
    pub next: Offset,
    /// The newest record that counts.
    pub last: Stamp,
    /// Bytes since the newest complete checkpoint.
    pub bytes: usize,
    /// Where the newest checkpoint begins, and its number.
    pub begun: Option<(Offset, u64)>,
}

/// A record that counts.
pub(in crate::events) struct Applied {
    pub record: ControlRecord,
    pub stamp: Stamp,
    pub changed: bool,
}

impl Replayed {
    /// Reads up to an offset, waiting for it, and hands on what counts.
    pub async fn read_to(
        &mut self,
        log: &dyn Log,
        end: Offset,
        mut then: impl FnMut(&Applied),
    ) -> Folding<()> {
        while self.next < end {
            let read = match log.read(CONTROL, self.next, CHUNK).await {
                // A former trim that is told by now.
                Err(LogError::OutOfRange(bounds)) if self.next < bounds.start => {
                    self.next = bounds.start;
                    continue;
                }
                Err(LogError::OutOfRange(_)) => Read::default(),
                read => read?,
            };
            for record in &read.records {
                if let Some(applied) = self.apply(record)? {
                    then(&applied);
                }
            }
            if read.next > self.next {
                self.next = read.next;
            } else if self.next < end {
                log.wait(CONTROL, self.next).await?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, found: &LogRecord) -> Folding<Option<Applied>> {
        let unreadable = |why: &str| LaneError::Unreadable(found.offset, why.to_owned());
        let stamp = Stamp::of(&found.record).ok_or_else(|| unreadable("it has no writer"))?;
        if stamp <= self.last {
            return Ok(None);
        }
        self.last = stamp;
        let record = ControlRecord::decode(&found.record.value);
        let record = record.map_err(|error| unreadable(&error.message))?;
        self.bytes += found.record.bytes();
        if let ControlRecord::CheckpointBegin { number, .. } = record {
            self.begun = Some((found.offset, number));
        }
        let changed = self.fold.apply(&record);
        Ok(Some(Applied {
            record,
            stamp,
            changed,
        }))
    }

    /// Checks the first record's promise. Errors: `Internal` for a log of another count.
    pub fn check(&self, partitions: u32) -> Result<()> {
        match self.fold.partitions() {
            Some(count) if count == partitions => Ok(()),
            Some(count) => Err(Error::invalid(
                "partitions",
                format!("must be {count}, as this log was begun with"),
            )),
            None => Err(Error::new(
                ErrorCode::Internal,
                "the log of topics and groups has lost its beginning",
            )),
        }
    }
}
