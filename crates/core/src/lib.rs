//! The heart of Trellis: its vocabulary, its ports and the machines that decide.
//!
//! Everything here is pure: a decision is a function of a state, a time and an input. There is no
//! socket, no runtime, no wall clock and no randomness in this crate; they are handed in.
//!
//! - [`Error`], [`ErrorCode`]: why a call failed, and whether trying again helps.
//! - [`Clock`], [`Now`], [`Time`], [`Micros`]: time, injected.
//! - [`Namespace`], [`Name`], [`Key`], [`FairKey`], [`OrderingKey`], [`RequestId`],
//!   [`UniqueKey`], [`ConcurrencyKey`], [`EntryKey`], [`Tag`]: names that cannot be malformed.
//! - [`Scope`]: the guarantee an answer carries.
//! - [`cache`]: the cache: its port, and the machine by which a value is computed once.
//! - [`events`]: events: what they are, where a reader goes on, how a group shares them.
//! - [`jobs`]: the job queue: what is logged of jobs, and what the records amount to.
//! - [`limits`]: the quota: its port, and the machine that memory backends run.
//! - [`locks`]: mutual exclusion by leases: its port, and the machine that memory backends run.
//! - [`log`]: the ordered log that jobs and events stand on: its port.
//! - [`pipelines`]: named settings that are changed at run time: their port, and which value is in force.

pub mod cache;
mod cluster;
mod error;
pub mod events;
mod hash;
pub mod jobs;
pub mod limits;
pub mod locks;
pub mod log;
mod name;
pub mod pipelines;
#[cfg(test)]
mod random;
mod requests;
mod scope;
mod time;
mod wire;

pub use cluster::{Cluster, MemberState, StoreState, StoreView};
pub use error::{Error, ErrorCode, Violation, check_rules};
pub use name::{
    ConcurrencyKey, EntryKey, FairKey, Key, MAX_NAME_BYTES, Name, Namespace, OrderingKey,
    RequestId, Tag, UniqueKey, same_text,
};
pub use scope::Scope;
pub use time::{Clock, Micros, Now, Time};

/// The answer of every port.
pub type Result<T> = std::result::Result<T, Error>;
