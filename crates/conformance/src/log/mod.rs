//! The suite of the log port, and the log that does all the harm that the port allows.
//!
//! [`log_conformance!`](crate::log_conformance) runs the suite on a [`Subject`], which obeys the [`Settings`] that
//! the suite hands to its constructor. [`cases`] holds the cases one by one. Cases promise no more than the port: they pass on
//! [`HostileLog`] too, so what stands above a log and passes on it relies on nothing else.

mod bench;
#[allow(missing_docs, reason = "the name of a case states the behaviour")]
pub mod cases;
mod hostile;
mod settings;
mod suite;
mod tail;

pub use bench::{Bench, record, records};
pub use hostile::{Harm, HostileLog, Odds};
pub use settings::Settings;
pub use tail::Tail;

/// A backend of the log port under test.
pub type Subject = crate::Subject<dyn trellis_core::log::Log>;

/// What a case needs.
mod prelude {
    pub(super) use super::bench::{Bench, records};
    pub(super) use super::tail::Tail;
    pub(super) use trellis_core::log::{Batch, LogError, LogRecord, Offset, Partition, Record};
    pub(super) const FIRST: Partition = Partition(0);
    pub(super) const SECOND: Partition = Partition(1);
}
