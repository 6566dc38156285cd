//! What is logged of topics and groups: the control partition.
//!
//! - [`ControlRecord`]: one change, or part of a checkpoint.
//! - [`ControlFold`]: what the records amount to. Nothing but a record changes it, and the same records give the same.
//!
//! A **checkpoint** is the whole state, in records between a begin and an end of one number. One without its end, or into
//! which another record has come, says nothing. What stands before a complete one is not needed any more.

mod fold;
mod record;
mod wire;

pub use fold::{ControlFold, GroupData};
pub use record::ControlRecord;

#[cfg(test)]
mod tests;
