//! What the whole-system tests share: a real `trellisd` on ports of its own, and clients for it.
//!
//! The programs here start real processes and talk to them over loopback addresses only. A process is
//! ended by its number when its handle is dropped, whatever happened before.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "support of tests: a failure here is a failed test"
)]

pub mod bench;
pub mod daemon;
pub mod proxy;
pub mod raw;
pub mod redis;

/// README.md, so that its Rust examples are compiled as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
