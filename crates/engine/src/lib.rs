//! What is made of several ports. Nothing here knows a driver.
//!
//! - [`ObeyedPipelines`]: pipelines whose limits the limits port obeys.

mod pipelines;

pub use pipelines::{ObeyedPipelines, PipelineLimits};
