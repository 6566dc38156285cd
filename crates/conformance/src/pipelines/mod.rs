//! The suite of the pipelines port, and of the limits that obey it.
//!
//! [`pipelines_conformance!`](crate::pipelines_conformance) runs it on a [`Subject`], which obeys the
//! [`Settings`] that the suite hands to its constructor. [`cases`] holds the cases one by one.

mod bench;
#[allow(missing_docs, reason = "the name of a case states the behaviour")]
pub mod cases;
mod subject;
mod suite;

pub use bench::Bench;
pub use subject::{Served, Settings, Subject};

/// What a case needs.
mod prelude {
    pub(super) use super::bench::{Bench, rate, secs, slots, slow_rate};
    pub(super) use trellis_core::limits::{LevelPolicy, Outcome, SpecSource};
    pub(super) use trellis_core::pipelines::{PipelineSource, SettingKind};
    pub(super) use trellis_core::{ErrorCode, Micros};
}
