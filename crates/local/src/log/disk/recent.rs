//! The newest batches, kept in memory for readers that follow: they wait for no disk.

use bytes::Bytes;
use std::collections::VecDeque;
use trellis_core::Time;

/// A batch as it stands in the log.
#[derive(Clone, Debug)]
pub(super) struct RecentBatch {
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) time: Time,
    pub(super) body: Bytes,
    /// Size as the port counts it.
    pub(super) bytes: u32,
}

impl RecentBatch {
    /// One above its last offset.
    pub(super) fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    fn cost(&self) -> usize {
        self.body.len() + size_of::<Self>()
    }
}

/// The newest batches of all partitions, up to a bound on bytes.
pub(super) struct Recent {
    max_bytes: usize,
    bytes: usize,
    /// The partition of each batch, the oldest first.
    order: VecDeque<u32>,
    batches: Box<[VecDeque<RecentBatch>]>,
}

impl Recent {
    pub(super) fn new(partitions: u32, max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            order: VecDeque::new(),
            batches: (0..partitions).map(|_| VecDeque::new()).collect(),
        }
    }

    fn of(&mut self, partition: u32) -> Option<&mut VecDeque<RecentBatch>> {
        self.batches.get_mut(partition as usize)
    }

    /// Adds the newest batch of a partition, and lets the oldest of any go.
    pub(super) fn push(&mut self, partition: u32, batch: RecentBatch) {
        if self.max_bytes == 0 {
            return;
        }
        let cost = batch.cost();
        let Some(batches) = self.of(partition) else {
            return;
        };
        batches.push_back(batch);
        self.order.push_back(partition);
        self.bytes += cost;
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let gone = self.of(oldest).and_then(VecDeque::pop_front);
            self.bytes -= gone.map_or(0, |batch| batch.cost());
        }
    }

    /// The batches from an offset on, up to a size; `None` when they do not reach back to it.
    pub(super) fn from(
        &self,
        partition: u32,
        from: u64,
        max_bytes: usize,
    ) -> Option<Vec<RecentBatch>> {
        let batches = self.batches.get(partition as usize)?;
        if batches.front()?.first > from {
            return None;
        }
        let begin = batches.partition_point(|batch| batch.end() <= from);
        let mut bytes = 0;
        let wanted = batches.range(begin..).take_while(|batch| {
            // The first one may lie partly below `from`, so it does not count.
            let wanted = bytes <= max_bytes;
            bytes += if batch.first < from {
                0
            } else {
                batch.bytes as usize
            };
            wanted
        });
        Some(wanted.cloned().collect())
    }
}
