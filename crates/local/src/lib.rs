//! The embedded backends: everything in this process, nothing to install.
//!
//! [`MemoryLimits`] and [`MemoryCache`] implement the ports of limits and of the cache. They leave decisions
//! to the pure machines of `trellis-core`, and add what those lack: a clock, locks, and calls that wait.

mod cache;
mod limits;

pub use cache::{MemoryCache, MemoryCacheConfig};
pub use limits::{MemoryLimits, MemoryLimitsConfig};
