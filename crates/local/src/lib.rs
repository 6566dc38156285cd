//! The embedded backends: everything in this process, nothing to install.
//!
//! [`MemoryLimits`] implements the limits port, [`MemoryLocks`] that of locks. They leave decisions to the
//! pure machines of `trellis-core`, and add what those lack: a clock, locks, and calls that wait.

mod limits;
mod locks;

pub use limits::{MemoryLimits, MemoryLimitsConfig};
pub use locks::{MemoryLocks, MemoryLocksConfig};
