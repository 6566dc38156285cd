//! Where to read: in memory, or at which place of which file.

use super::format::decode_records;
use super::reader::{Plan, Reading};
use super::recent::RecentBatch;
use super::shared::Shared;
use trellis_core::Time;
use trellis_core::log::{LogError, LogResult, Offset, Partition, Read};

/// Where records are.
pub(super) enum Source {
    Nothing,
    Memory(Vec<RecentBatch>),
    Disk(Plan),
}

/// Hands out records that are in memory.
pub(super) fn from_memory(
    batches: Vec<RecentBatch>,
    partition: Partition,
    from: Offset,
    max_bytes: usize,
) -> LogResult<Read> {
    let mut reading = Reading::new(from, max_bytes);
    for batch in batches {
        let records = decode_records(batch.body, batch.count).map_err(|_| LogError::Damaged {
            partition,
            position: "memory".to_owned(),
            reason: "a batch does not follow the format".to_owned(),
        })?;
        if !reading.take(batch.first, batch.time, records) {
            break;
        }
    }
    Ok(reading.read)
}

impl Shared {
    /// Records that are in memory, or where on disk they are.
    pub(super) fn find(
        &self,
        partition: Partition,
        from: Offset,
        max_bytes: usize,
    ) -> LogResult<Source> {
        self.options.limits.check_partition(partition)?;
        let state = self.state.lock();
        let place = state.place(partition);
        if from.0 < place.start || from.0 > place.end {
            return Err(LogError::OutOfRange(self.bounds_in(&state, partition)));
        }
        if from.0 == place.end {
            return Ok(Source::Nothing);
        }
        if let Some(batches) = state.recent.from(partition.0, from.0, max_bytes) {
            return Ok(Source::Memory(batches));
        }
        let plan = state.segments().find_map(|(segment, index, stop)| {
            let extent = index.extent(partition.0).filter(|it| it.end > from.0)?;
            Some(Plan {
                partition,
                segment,
                position: extent.entry_for(from.0)?.position,
                stop,
                end: extent.end,
            })
        });
        Ok(plan.map_or(Source::Nothing, Source::Disk))
    }

    /// Where to look for a time, or the answer.
    pub(super) fn find_time(&self, partition: Partition, time: Time) -> Result<Plan, Offset> {
        let state = self.state.lock();
        let place = state.place(partition);
        let plan = state.segments().find_map(|(segment, index, stop)| {
            let extent = index.extent(partition.0)?;
            let there = extent.last_time >= time && extent.end > place.start;
            let entry = extent.entry_at(time).filter(|_| there)?;
            Some(Plan {
                partition,
                segment,
                position: entry.position,
                stop,
                end: extent.end,
            })
        });
        plan.ok_or(Offset(place.end))
    }
}
