//! What is made of several ports. Nothing here knows a driver.
//!
//! - [`EventEngine`]: events on an ordered log.
//! - [`JobEngine`]: jobs on an ordered log; [`JobEnded`]: what it tells of their ends.
//! - [`EngineTask`]: what must be run for it.
//! - [`ObeyedPipelines`]: pipelines whose limits the limits port obeys.

mod events;
mod jobs;
mod pipelines;
mod steady;
mod task;
mod underway;

pub use events::{EventEngine, EventsConfig};
pub use jobs::{JobEnded, JobEngine, JobPorts, JobsConfig};
pub use pipelines::{ObeyedPipelines, PipelineLimits};
pub use task::EngineTask;
