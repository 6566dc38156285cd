//! The client against a daemon that the tests play themselves, over a loopback socket.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test helpers fail by panicking"
)]

mod fake;

mod administration;
mod errors;
mod pipeline;
mod pipeline_ends;
mod reservations;
mod sending;
mod unary;
