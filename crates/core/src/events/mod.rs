//! Events: what they are, how they stand in the log, where a reader goes on, which ones it wants, and how a group shares them.
//!
//! - [`Events`]: the port; [`Subscription`]: a reader.
//! - [`Event`]: what has happened, in the attributes of `CloudEvents`, checked; [`Topic`]: where it is published.
//! - [`to_record`], [`from_record`], [`heading`], [`read_event`]: an event as a record of the log; [`Stamp`]: who appended it.
//! - [`Cursor`], [`CursorWriter`], [`Resume`]: where a subscription goes on, whatever has happened to the log meanwhile.
//! - [`Filter`]: which events a subscription wants.
//! - [`group`]: members that share a topic; [`control`]: what is logged of topics and groups.

pub mod control;
mod cursor;
mod event;
mod filter;
pub mod group;
mod port;
mod record;
mod stamp;

pub use cursor::{Cursor, CursorWriter, GapReason, Resume, partition_of};
pub use event::{Attribute, Event, MAX_ATTRIBUTES, MAX_DATA_BYTES, NewEvent, Topic};
pub use filter::{Filter, MAX_FILTER_VALUES, Pattern};
pub use port::{
    DeadEvent, Delivered, Events, EventsStatus, GroupId, GroupSpec, GroupState, Heard, ListTopics,
    Position, Published, Publishing, Replay, Room, Settlement, Start, StoredEvent, Subscribe,
    Subscription, TopicRetention, TopicState,
};
pub use record::{
    Heading, TopicHeaders, Unnamed, Unreadable, from_record, heading, read_event, to_record,
};
pub use stamp::Stamp;
