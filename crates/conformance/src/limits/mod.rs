//! The suite of the limits port.
//!
//! [`limits_conformance!`](crate::limits_conformance) runs it on a [`Subject`], which obeys the
//! [`Settings`] that the suite hands to its constructor. [`cases`] holds the cases one by one.

mod ask;
mod bench;
#[allow(missing_docs, reason = "the name of a case states the behaviour")]
pub mod cases;
mod change;
mod dsl;
mod settings;
mod suite;

pub use bench::Bench;
pub use settings::Settings;

/// A backend of the limits port under test.
pub type Subject = crate::Subject<dyn trellis_core::limits::Limits>;

/// What every case file uses.
mod prelude {
    pub(super) use super::bench::{code, remainders};
    pub(super) use super::dsl::{
        HOUR, SECOND, calendar, charge, inline, keyed, ms, rate, slots, strict, used, window,
    };
    pub(super) use super::{Bench, Settings};
    pub(super) use crate::spawn;
    pub(super) use tokio::time::Instant;
    pub(super) use trellis_core::limits::{
        CalendarUnit, LevelPolicy, Outcome, ReservationId, SpecSource,
    };
    pub(super) use trellis_core::{ErrorCode, Micros};
}
