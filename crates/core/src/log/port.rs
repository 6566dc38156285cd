//! The log port: what every backend does, and what a caller may rely on.

use super::error::LogResult;
use super::types::{Appended, Batch, Bounds, Durability, LogLimits, Offset, Partition, Read};
use crate::Time;
use async_trait::async_trait;
use std::fmt;
use std::pin::Pin;

/// An append under way. Dropping it changes nothing: the append goes on.
#[must_use = "whether the batch was appended is told here"]
pub enum Appending {
    /// Decided.
    Done(LogResult<Appended>),
    /// Under way, whether it is polled or not.
    Waiting(Pin<Box<dyn Future<Output = LogResult<Appended>> + Send>>),
}

impl Appending {
    /// Waits for the end. Safe to cancel, in that the append goes on.
    pub async fn outcome(self) -> LogResult<Appended> {
        match self {
            Self::Done(result) => result,
            Self::Waiting(waiting) => waiting.await,
        }
    }
}

impl fmt::Debug for Appending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => formatter.debug_tuple("Done").field(result).finish(),
            Self::Waiting(_) => formatter.write_str("Waiting"),
        }
    }
}

/// Partitions of records in order, appended to at the end and trimmed at the start.
///
/// **Order.** The records of a partition stand in one order, that of their offsets, the same for every reader and for
/// as long as they stand. Offsets strictly rise and are never used again within a history. There may be gaps.
/// Partitions know nothing of each other.
///
/// **Batches.** A batch stands as a whole or not at all, its records at consecutive offsets. One that was
/// acknowledged stands where the answer says, and survives what [`Log::durability`] says.
///
/// **Repeats.** A log behind a network sends again what it has no answer for, so the same batch may stand more than once,
/// acknowledged or not, the copies anywhere behind the first. A reader recognises repeats by what is in
/// the records: whoever appends puts an identity there.
///
/// **Unknown.** An append that ends as [`LogError::Unknown`](super::LogError::Unknown) may stand already, may come to
/// stand later (even after other appends have been acknowledged), or never. Reading up to an end that
/// [`Log::bounds`] told afterwards shows whether it stands so far; appending it again is right in every
/// case, since readers must recognise repeats anyhow. Every other error says that nothing stands and nothing will.
///
/// **Lag.** What was acknowledged may become readable later; [`Log::wait`] tells when. `start` and `end` of
/// [`Log::bounds`] may lag too. A record that was read once can be read again until it is trimmed.
///
/// **Retention.** A log may have been told to drop old records by size or age; then `start` rises by itself.
///
/// **Time.** The times of the records of a partition never fall as long as one daemon appends to it.
///
/// **Cancellation.** Reads, waits and looks may be dropped at any time. An append or trim, once called or first polled, goes on.
#[async_trait]
pub trait Log: Send + Sync {
    /// Bounds on what can be appended. Never waits.
    fn limits(&self) -> LogLimits;

    /// What an acknowledged append survives. Never waits.
    fn durability(&self) -> Durability;

    /// Why nothing can be appended before the daemon is started again, if so. Never waits.
    fn failure(&self) -> Option<String>;

    /// Appends a batch at the end of a partition.
    ///
    /// Begins with the call, not with the first poll: batches that one task appends to a partition stand in the order
    /// of the calls, however many are under way, where nothing ends as `Unknown`. Not idempotent: see Repeats.
    ///
    /// Errors: `Invalid`, `Busy`, `Full`, `Unavailable`, `Unknown`, `Closed`.
    fn append(&self, partition: Partition, batch: Batch) -> Appending;

    /// Reads records from `from` on, until their sizes reach `max_bytes` or the end. Brings at least one
    /// record when there is one, however large.
    ///
    /// A record is either brought or lies at or after `next`. Nothing at `from == end` is an empty answer.
    ///
    /// Errors: `OutOfRange` when `from` lies below the start or beyond the end, `Invalid`, `Damaged`,
    /// `Unavailable`, `Closed`.
    async fn read(&self, partition: Partition, from: Offset, max_bytes: usize) -> LogResult<Read>;

    /// Waits until a read from `from` gets further, by a record or past a gap, and tells the bounds then, whose end
    /// is above `from`. Ends at once when it can. Looks at the state, not at events, so nothing is missed between two calls.
    ///
    /// Errors: `Invalid`, `Unavailable`, `Closed`.
    async fn wait(&self, partition: Partition, from: Offset) -> LogResult<Bounds>;

    /// Drops the records below `before`. Idempotent; below the start it does nothing, and at the end it empties the
    /// partition, whose offsets go on rising.
    ///
    /// Once it has been acknowledged the records may be gone for good. They may also be seen again, for example
    /// after a crash: whoever trims must be able to read again what it has trimmed. It is not undone by a failure:
    /// after an error records may be gone as well.
    ///
    /// Errors: `OutOfRange` beyond the end, `Invalid`, `Unavailable`, `Full`, `Closed`.
    async fn trim(&self, partition: Partition, before: Offset) -> LogResult<()>;

    /// What a partition holds. Errors: `Invalid`, `Unavailable`, `Closed`.
    async fn bounds(&self, partition: Partition) -> LogResult<Bounds>;

    /// Where to read to see everything that the log took in at `time` or later: the first such record, or the
    /// end. A log that knows times only roughly tells an earlier offset, never a later one.
    ///
    /// Errors: `Invalid`, `Damaged`, `Unavailable`, `Closed`.
    async fn seek(&self, partition: Partition, time: Time) -> LogResult<Offset>;
}
