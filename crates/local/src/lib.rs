//! The embedded backends: everything in this process, nothing to install.
//!
//! [`MemoryLimits`], [`MemoryCache`], [`MemoryLocks`] and [`MemoryPipelines`] implement the ports. They leave
//! decisions to the pure machines of `trellis-core`, and add what those lack: a clock, locks, and calls that wait.

mod cache;
mod limits;
mod locks;
mod pipelines;
mod shards;

pub use cache::{MemoryCache, MemoryCacheConfig};
pub use limits::{MemoryLimits, MemoryLimitsConfig};
pub use locks::{MemoryLocks, MemoryLocksConfig};
pub use pipelines::{MemoryPipelines, MemoryPipelinesConfig};
