//! What a case works with: the calls of the port, repeated where the port says that a repeat is right.

use super::tail::Tail;
use bytes::Bytes;
use std::sync::Arc;
use trellis_core::log::{
    Appended, Batch, Bounds, Log, LogError, LogResult, Offset, Partition, Read, Record,
};

/// A log under test.
pub type Bench = crate::Bench<dyn Log>;

/// A record of this value alone.
#[must_use]
pub fn record(value: impl Into<String>) -> Record {
    Record {
        value: Bytes::from(value.into()),
        ..Record::default()
    }
}

/// A batch of records of these values.
#[must_use]
pub fn records<V: Into<String>>(values: impl IntoIterator<Item = V>) -> Batch {
    Batch::new(values.into_iter().map(record).collect()).unwrap()
}

impl Bench {
    /// Appends until it is acknowledged: again after an unknown end and after a wait that the log asked for.
    pub(super) async fn append(&self, partition: Partition, batch: Batch) -> Appended {
        let port = self.port();
        loop {
            match port.append(partition, batch.clone()).outcome().await {
                Ok(appended) => {
                    let records = u64::try_from(batch.records().len()).unwrap();
                    assert_eq!(appended.end.0, appended.first.0 + records);
                    return appended;
                }
                Err(LogError::Unknown { .. } | LogError::Busy { .. }) => {}
                Err(error) => panic!("append: {error}"),
            }
        }
    }

    /// Appends one record of this value.
    pub(super) async fn append_value(&self, partition: Partition, value: &str) -> Appended {
        self.append(partition, records([value])).await
    }

    /// The error that an append must end with.
    pub(super) async fn refused(&self, partition: Partition, batch: Batch) -> LogError {
        self.port()
            .append(partition, batch)
            .outcome()
            .await
            .unwrap_err()
    }

    pub(super) async fn read(
        &self,
        partition: Partition,
        from: Offset,
        max_bytes: usize,
    ) -> LogResult<Read> {
        self.port().read(partition, from, max_bytes).await
    }

    pub(super) async fn bounds(&self, partition: Partition) -> Bounds {
        self.port().bounds(partition).await.unwrap()
    }

    pub(super) async fn trim(&self, partition: Partition, before: Offset) {
        self.port().trim(partition, before).await.unwrap();
    }

    /// A reader from an offset on.
    pub(super) fn tail(&self, partition: Partition, from: Offset) -> Tail {
        Tail::new(self.port(), partition, from)
    }

    /// Everything that the partition holds below `end`, waited for.
    pub(super) async fn all_below(&self, partition: Partition, end: Offset) -> Tail {
        let start = self.bounds(partition).await.start;
        let mut tail = self.tail(partition, start);
        tail.until(end).await;
        tail
    }

    /// The log itself, for calls of a task of its own.
    pub(super) fn log(&self) -> Arc<dyn Log> {
        self.port()
    }
}
