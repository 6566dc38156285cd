//! What is made of several ports. Nothing here knows a driver.
//!
//! - [`EventEngine`]: events on an ordered log.
//! - [`ObeyedPipelines`]: pipelines whose limits the limits port obeys.

mod events;
mod pipelines;

pub use events::{EventEngine, EventsConfig, EventsTask};
pub use pipelines::{ObeyedPipelines, PipelineLimits};
