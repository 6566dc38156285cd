//! The suite of the events port.
//!
//! [`events_conformance!`](crate::events_conformance) runs it on a [`Subject`], which obeys the [`Settings`] that the suite hands
//! to its constructor. [`cases`] holds the cases one by one. Cases use the port alone, and repeat what the port says may be
//! repeated, so they pass on a log that does all the harm it may.

mod bench;
#[allow(missing_docs, reason = "the name of a case states the behaviour")]
pub mod cases;
mod member;
mod reader;
mod settings;
mod suite;

pub use bench::{Bench, event};
pub use settings::Settings;

/// A backend of the events port under test.
pub type Subject = crate::Subject<dyn trellis_core::events::Events>;

/// What a case needs.
mod prelude {
    pub(super) use super::bench::{ALL, Bench, HOUR, SECOND, code, event, ms, names, room};
    pub(super) use super::settings::Settings;
    pub(super) use trellis_core::events::{
        Event, Filter, GroupSpec, Heard, NewEvent, Pattern, Replay, Settlement, Start,
        TopicRetention,
    };
    pub(super) use trellis_core::{ErrorCode, Micros};
}
