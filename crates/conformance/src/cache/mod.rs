//! The suite of the cache port.
//!
//! [`cache_conformance!`](crate::cache_conformance) runs it on a [`Subject`], which obeys the
//! [`Settings`] that the suite hands to its constructor. [`cases`] holds the cases one by one.

mod ask;
mod bench;
#[allow(missing_docs, reason = "the name of a case states the behaviour")]
pub mod cases;
mod draft;
mod settings;
mod suite;
mod waiter;

pub use bench::Bench;
pub use settings::Settings;

/// A backend of the cache port under test.
pub type Subject = crate::Subject<dyn trellis_core::cache::Cache>;

/// What every case file uses.
mod prelude {
    pub(super) use super::Bench;
    pub(super) use super::bench::{SECOND, code, field, ms, text};
    pub(super) use super::draft::{entry, negative};
    pub(super) use crate::spawn;
    pub(super) use trellis_core::cache::{
        Begun, ClearTarget, Deleted, Landing, LeaseEnd, Precondition, Progress, Source, StaleMode,
        Version, Written,
    };
    pub(super) use trellis_core::{ErrorCode, Micros};
}
