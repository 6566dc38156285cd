//! Jobs: what is logged of them, and what the records amount to.
//!
//! - [`Jobs`]: the port.
//! - [`JobSpec`], [`QueueSpec`]: what a caller asks for; [`JobId`], [`LeaseId`], [`QueueId`]: names.
//! - [`JobRecord`], [`Entry`]: one change, and as the log has it; [`JobWriter`]: the owner's pen, [`Sheet`] what it writes on.
//! - [`JobFold`]: the state of a partition. Nothing but a record changes it, and the same records give the same.
//! - [`Replay`]: how the state comes back.
//!
//! **One owner.** A partition belongs to whoever logged the first `EpochStart` of the highest number. Every other record carries its
//! owner's epoch and a rising sequence, and counts only if the epoch is the current one where it stands and the sequence is above all before. So
//! copies are void, and so is what a former owner appends, or what comes late. A sequence that is left out tells that the log has lost
//! records.
//!
//! **One outcome.** A job ends by the first record in the order of the log that ends it, and by no other. An attempt speaks
//! for its job only while its lease is the one under way.
//!
//! **Time** is that of the owner's records, and never falls. Each record first carries out what has become due by its time; when nothing is
//! to be logged otherwise, `Tick` says that time has come. Chance is a function of a job's id.
//!
//! **Who is next**: the highest priority; there, fair keys by turns, in proportion to their weights; of a key, who came first. A job
//! keeps its place when it runs again. Turns are start-time fair queueing (Goyal, Vin, Cheng 1996): a job's tag is that of the one before it of
//! its key and a share, or that of the last one started if that is higher.

mod attempt;
mod batch;
mod charges;
mod fold;
mod ids;
mod index;
mod job;
mod join;
mod look;
mod port;
mod purge;
mod queue;
mod ready;
mod record;
mod replay;
mod slice;
mod snapshot;
mod spec;
mod status;
mod stream;
mod submit;
mod table;
mod watch;
mod wire;
mod writer;

pub use batch::{Batch, BatchSpec, BatchState, InBatch, MAX_BATCH_JOBS, OnFailure, Stop};
pub use charges::{ChargedBucket, ChargedBuckets, MAX_CHARGES, SettleDue, Taken, check_used};
pub use fold::{Batching, Change, Chunking, JobFold, Submission, Verdict};
pub use ids::{BatchId, Epoch, JobHasher, JobId, JobMap, JobSet, LeaseId};
pub use job::{Ending, Job, JobState, Lease, Outcome, Phase, Place};
pub use join::Cached;
pub use port::{
    Assigned, Attempt, Decision, JobView, Jobs, ListJobs, QueueState, Reserve, Submitted,
    Submitting, SubmittingBatch,
};
pub use purge::{MAX_PURGED, check_purged};
pub use record::{AttemptEnd, Entry, JobRecord, Mark, Part};
pub use replay::{Checkpoint, Checkpoints, Replay, Replayed, Restore};
pub use slice::{BatchSlice, HeadSlice, JobSlice, QueueSlice, SettleSlice, Slice, TurnSlice};
pub use spec::{
    DEFAULT_PRIORITY, JobOptions, JobSpec, MAX_LABELS, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES,
    MAX_WEIGHT, MEMORY, OnConflict, PRIORITIES, Payload, QueueId, QueueSpec, Request, RetryPolicy,
    Turn, Unique,
};
pub use status::{JobsStatus, PICKUP_BOUNDS, Pickups};
pub use stream::{Chunk, ChunkBounds, Progress, Report, Said, Stream};
pub use watch::{
    BatchEvent, BatchNews, BatchView, BatchWatch, JobEvent, JobNews, JobWatch, WatchAttempts,
};
pub use writer::{JobWriter, Sheet};

#[cfg(test)]
mod tests;
