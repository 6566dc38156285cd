//! A reader that follows a partition and checks every answer against the port's contract.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use trellis_core::Time;
use trellis_core::log::{Log, LogRecord, Offset, Partition, Read};

/// Enough for a few records of a case at a time, so that most tails take several reads.
const BUDGET: usize = 2_000;

/// What has been read of a partition, in order.
pub struct Tail {
    log: Arc<dyn Log>,
    partition: Partition,
    next: Offset,
    seen: BTreeMap<Offset, LogRecord>,
}

impl fmt::Debug for Tail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tail")
            .field("partition", &self.partition)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Tail {
    /// A reader that begins at `from`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, partition: Partition, from: Offset) -> Self {
        Self {
            log,
            partition,
            next: from,
            seen: BTreeMap::new(),
        }
    }

    /// Reads on until everything below `end` has been seen.
    pub async fn until(&mut self, end: Offset) {
        while self.next < end {
            let bounds = self.log.wait(self.partition, self.next).await.unwrap();
            assert!(bounds.end > self.next, "woken for nothing: {bounds:?}");
            let read = self
                .log
                .read(self.partition, self.next, BUDGET)
                .await
                .unwrap();
            assert!(
                read.next > self.next,
                "a read after a wait got no further: {read:?}"
            );
            self.take(read);
        }
    }

    fn take(&mut self, read: Read) {
        let mut least = self.next;
        let mut before_last = 0;
        for (index, record) in read.records.iter().enumerate() {
            assert!(record.offset >= least, "offsets fall: {record:?}");
            least = record.offset.next();
            if index + 1 < read.records.len() {
                before_last += record.record.bytes();
            }
        }
        assert!(read.next >= least, "records at or after next: {read:?}");
        assert!(before_last < BUDGET, "a read went on beyond its budget");
        self.next = read.next;
        self.seen
            .extend(read.records.into_iter().map(|it| (it.offset, it)));
        let times: Vec<Time> = self.seen.values().map(|record| record.time).collect();
        assert!(times.is_sorted(), "times fall: {times:?}");
    }

    /// Where it reads on.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The record at an offset.
    #[must_use]
    pub fn at(&self, offset: Offset) -> Option<&LogRecord> {
        self.seen.get(&offset)
    }

    /// All records, in order.
    pub fn seen(&self) -> impl Iterator<Item = &LogRecord> {
        self.seen.values()
    }

    /// The values, in order.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        self.seen().map(|it| text(&it.record.value)).collect()
    }

    /// The values, in the order in which each was seen first.
    #[must_use]
    pub fn first_values(&self) -> Vec<String> {
        let mut first: Vec<String> = Vec::new();
        for value in self.values() {
            if !first.contains(&value) {
                first.push(value);
            }
        }
        first
    }
}

fn text(value: &Bytes) -> String {
    String::from_utf8_lossy(value).into_owned()
}
