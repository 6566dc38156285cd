//! Events on every log: the suite of the port, lives one after the other, and what a log that breaks its promises does.

#![allow(clippy::unwrap_used, reason = "tests: a failure is a failed test")]

mod configured;
mod lives;
mod random;
#[path = "../shared/mod.rs"]
mod shared;
mod suite;
mod support;
