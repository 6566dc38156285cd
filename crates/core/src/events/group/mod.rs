//! Groups: members that share a topic, each event handled by one of them at a time and acknowledged by itself.
//!
//! - [`GroupFold`]: what a group's records amount to; the same records give the same state, on every daemon.
//! - [`GroupRecord`]: what is logged of a group.
//! - [`GroupMachine`]: who has what, for how long, and what comes next; it proposes records and forgets with its daemon.
//!
//! An event is **settled** when it was acknowledged or is a dead letter. The **floor** is the first offset that is not
//! settled; it moves by acknowledgements, never by sending. What is delivered the first time is not logged; that it is to be
//! delivered again is, before it is sent, and with it how often it was. So after a crash an event may be
//! delivered once more than is counted, and none is ever left out.

mod fold;
mod machine;
mod record;

pub use fold::{DeadLetter, GroupFold, Retry};
pub use machine::{Delivery, GroupConfig, GroupMachine, LeaseKey, Refused};
pub use record::{DeadReason, GroupPart, GroupRecord};

#[cfg(test)]
mod tests;
