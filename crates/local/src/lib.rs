//! The embedded backends: everything in this process, nothing to install.
//!
//! [`MemoryLimits`], [`MemoryCache`], [`MemoryLocks`] and [`MemoryPipelines`] implement the ports. They leave
//! decisions to the pure machines of `trellis-core`, and add what those lack: a clock, locks, and calls that wait.
//! [`log`] holds the ordered logs, in memory and on disk.

mod cache;
mod limits;
mod locks;
pub mod log;
mod pipelines;
mod shards;

pub use cache::{MemoryCache, MemoryCacheConfig};
pub use limits::{MemoryLimits, MemoryLimitsConfig};
pub use locks::{MemoryLocks, MemoryLocksConfig};
pub use pipelines::{MemoryPipelines, MemoryPipelinesConfig};
