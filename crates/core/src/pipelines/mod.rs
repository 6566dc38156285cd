//! Pipelines: named settings that are changed at run time and obeyed at once.
//!
//! - [`Pipelines`]: the port. [`PipelineView`]: how a call looks a setting up while it is carried out.
//! - [`Catalogue`]: the pipelines of one namespace: which value of which place is in force. Pure.
//! - [`Settings`]: values by step, each within its bounds.
//!
//! What a daemon starts with ([`Base`]) is the same for every namespace; only updates belong to one.

mod base;
mod builtin;
mod catalogue;
mod name;
mod pipeline;
mod port;
mod setting;

pub use base::{Base, PipelineBounds};
pub use catalogue::{Catalogue, Change};
pub use name::{DEFAULT_STEP, PipelineName, StepName, StepRef};
pub use pipeline::{Pipeline, PipelineSource, limit_parts};
pub use port::{
    ListPipelines, LivePipelines, PipelinePage, PipelineView, PipelineWatch, Pipelines,
    ResetPipeline, UpdatePipeline,
};
pub use setting::{SettingKey, SettingKind, SettingValue, Settings};
