//! Locks on a real Redis: the suite of the port and random histories, through one daemon and through three; faults.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is test code, which clippy recognizes in test functions only"
)]

#[path = "../support/mod.rs"]
mod support;

mod conformance;
mod faults;
mod history;
mod locking;
mod losses;
