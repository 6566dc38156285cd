//! The ordered log in this process: in memory, and on disk.
//!
//! [`MemoryLog`] and [`DiskLog`] implement the log port. What both have in common: bounds are checked in the call,
//! readers are told through one watched value per partition, and old records go by [`Retention`].

mod disk;
mod memory;
mod retention;
mod tell;

pub use disk::{DiskLog, DiskLogOptions, DiskLogStatus, Lost, OnDamage, OpenError};
pub use memory::{MemoryLog, MemoryLogOptions};
pub use retention::Retention;

use trellis_core::log::LogLimits;

/// The bounds of both logs by default: batches up to what one message of the contract may hold.
pub const DEFAULT_LIMITS: LogLimits = LogLimits {
    partitions: 64,
    batch_bytes: 4 * 1024 * 1024,
    batch_records: 16_384,
};
