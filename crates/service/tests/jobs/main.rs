//! Submitters and workers on their streams, over an engine in memory: credit, leases, breaks, drains, and what they may not say. And the
//! client's jobs and workers, over a daemon that is started anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: a failure is a failed test"
)]

mod bench;
mod breaks;
mod client_batch;
mod client_jobs;
mod client_options;
mod client_shutdown;
mod client_stream;
mod client_worker;
mod daemon;
mod drains;
#[path = "../../../engine/tests/jobs/support.rs"]
#[allow(dead_code, reason = "the tests of the engine use the others")]
mod engines;
#[path = "../../../engine/tests/shared/mod.rs"]
#[allow(dead_code, reason = "the tests of the engine use the others")]
mod shared;
mod submit;
#[path = "../support/mod.rs"]
mod support;
mod watching;
mod work;
