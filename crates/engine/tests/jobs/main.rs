//! Jobs on every log: the suite of the port, lives one after the other, and random ones on logs that do harm.

#![allow(clippy::unwrap_used, reason = "tests: a failure is a failed test")]

mod charges;
mod late;
mod lives;
mod random;
mod room;
#[path = "../shared/mod.rs"]
mod shared;
mod suite;
mod support;
mod workers;
