//! Where a reader or a new group begins.

use super::lane::{CHUNK, Lane};
use super::topics::TopicEntry;
use trellis_core::events::{GapReason, Resume, Start};
use trellis_core::log::{Bounds, LogError, Offset, Read};
use trellis_core::{Error, Result, Time};

impl Lane {
    /// The place, and why something may have been missed before it. Errors: `InvalidField` for a time that lies in the future.
    pub async fn place(
        &self,
        entry: &TopicEntry,
        start: Start,
        now: Time,
    ) -> Result<(u64, Option<GapReason>)> {
        let first = entry.held.lock().start;
        match start {
            Start::Earliest => Ok((first, None)),
            Start::Latest => Ok((self.end(), None)),
            Start::Time(time) if time > now => {
                Err(Error::invalid("time", "must not lie in the future"))
            }
            Start::Time(time) => Ok((self.first_at(time).await?.max(first), None)),
            Start::Cursor(cursor) => {
                let bounds = Bounds {
                    start: Offset(first),
                    end: Offset(self.end()),
                    history: self.history,
                };
                let epoch = self.past.lock().epoch_before(cursor.next);
                Ok(match cursor.resume(bounds, Offset(first), epoch) {
                    Resume::At(next) => (next.0, None),
                    Resume::Gap(reason, next) => (next.0, Some(reason)),
                })
            }
        }
    }

    /// The first record that the log took in at a time or later, or the end.
    async fn first_at(&self, time: Time) -> Result<u64> {
        let mut from = self.log.seek(self.partition, time).await?;
        let end = Offset(self.end());
        while from < end {
            let read = match self.log.read(self.partition, from, CHUNK).await {
                Err(LogError::OutOfRange(bounds)) if from < bounds.start => {
                    from = bounds.start;
                    continue;
                }
                Err(LogError::OutOfRange(_)) => Read::default(),
                read => read?,
            };
            if let Some(first) = read.records.iter().find(|record| record.time >= time) {
                return Ok(first.offset.0);
            }
            if read.next <= from {
                self.log.wait(self.partition, from).await?;
            }
            from = from.max(read.next);
        }
        Ok(from.0)
    }
}
