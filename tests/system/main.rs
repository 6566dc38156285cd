//! Tests of the real binary over real connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: a failure is a failed test"
)]

mod events;
mod hostile;
mod jobs;
mod jobs_ends;
mod jobs_pipelines;
mod logging;
mod requests;
mod settings;
mod shutdown;
mod until;
mod waiters;
