//! The ordered log that jobs and events stand on: the port that every backend implements, and what goes through it.
//!
//! - [`Log`]: the port; [`Appending`]: an append under way.
//! - [`Record`], [`Headers`], [`Batch`]: what is appended; [`RecordWriter`] writes them. [`LogRecord`], [`Read`]: what is read.
//! - [`Partition`], [`Offset`], [`History`], [`Bounds`]: where.
//! - [`LogError`]: why not. [`wire`]: how byte strings stand one behind the other.
//!
//! What records mean is not known here: a log keeps bytes in order.

mod error;
mod headers;
mod port;
mod types;
pub mod wire;

pub use error::{LogError, LogResult};
pub use headers::{Header, HeaderIter, Headers, RecordWriter};
pub use port::{Appending, Log};
pub use types::{
    Appended, Batch, Bounds, Durability, HEADER_OVERHEAD, History, LogLimits, LogRecord, Offset,
    Partition, RECORD_OVERHEAD, Read, Record, Records,
};
