//! The ordered log that jobs and events stand on: the port that every backend implements, and what goes through it.
//!
//! - [`Log`]: the port; [`Appending`]: an append under way.
//! - [`Record`], [`Header`], [`Batch`]: what is appended. [`LogRecord`], [`Read`]: what is read.
//! - [`Partition`], [`Offset`], [`History`], [`Bounds`]: where.
//! - [`LogError`]: why not.
//!
//! What records mean is not known here: a log keeps bytes in order.

mod error;
mod port;
mod types;

pub use error::{LogError, LogResult};
pub use port::{Appending, Log};
pub use types::{
    Appended, Batch, Bounds, Durability, HEADER_OVERHEAD, Header, History, LogLimits, LogRecord,
    Offset, Partition, RECORD_OVERHEAD, Read, Record,
};
