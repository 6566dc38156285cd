//! The suite of the locks port.
//!
//! [`locks_conformance!`](crate::locks_conformance) runs it on a [`Subject`], which obeys the
//! [`Settings`] that the suite hands to its constructor. [`cases`] holds the cases one by one;
//! [`history`] checks whether what callers saw can have happened one after the other.

mod ask;
mod bench;
#[allow(missing_docs, reason = "the name of a case states the behaviour")]
pub mod cases;
pub mod history;
mod session;
mod settings;
mod suite;

pub use bench::Bench;
pub use settings::Settings;

/// A backend of the locks port under test.
pub type Subject = crate::Subject<dyn trellis_core::locks::Locks>;

/// What a case needs.
mod prelude {
    pub(super) use super::ask::{Waiting, grant};
    pub(super) use super::bench::{Bench, HOUR, SECOND, code, ms};
    pub(super) use super::settings::Settings;
    pub(super) use tokio::time::Instant;
    pub(super) use trellis_core::locks::{
        LockMode, LockOutcome, LostReason, OnBreak, SessionNews, Token,
    };
    pub(super) use trellis_core::{ErrorCode, Micros};
}
