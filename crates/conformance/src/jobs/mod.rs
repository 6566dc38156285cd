//! The suite of the jobs port.
//!
//! [`jobs_conformance!`](crate::jobs_conformance) runs it on a [`Subject`], which obeys the [`Settings`] that the suite hands
//! to its constructor. [`cases`] holds the cases one by one. Cases use the port alone.

mod bench;
#[allow(missing_docs, reason = "the name of a case states the behaviour")]
pub mod cases;
mod settings;
mod suite;

pub use bench::Bench;
pub use settings::{Settings, declare_limits};

/// A backend of the jobs port under test.
pub type Subject = crate::Subject<dyn trellis_core::jobs::Jobs>;

/// What a case needs.
mod prelude {
    pub(super) use super::bench::{
        Bench, HOUR, SECOND, attempt, code, failed, ms, namely, next, rest, succeeded,
    };
    pub(super) use super::settings::{PAGES, Settings};
    pub(super) use trellis_core::jobs::{
        AttemptEnd, Decision, JobSpec, JobState, OnConflict, QueueSpec, Request, RetryPolicy, Turn,
        Unique,
    };
    pub(super) use trellis_core::{ErrorCode, Micros};
}
