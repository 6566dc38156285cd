//! The embedded backends: everything in this process, nothing to install.
//!
//! [`MemoryLimits`] implements the limits port. It leaves decisions to the pure machines of
//! `trellis-core`, and adds what they lack: a clock, locks, and calls that wait.

mod limits;

pub use limits::{MemoryLimits, MemoryLimitsConfig};
