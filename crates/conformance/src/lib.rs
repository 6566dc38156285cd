//! The suites that every backend of a Trellis port must pass.
//!
//! A case is written once, against the port alone, and run on every backend, and again through the
//! service over gRPC. A backend opts in with one line:
//!
//! ```text
//! trellis_conformance::limits_conformance!(my_backend);
//! ```
//!
//! where `my_backend` is a function from [`limits::Settings`] to [`limits::Subject`], `async` or not. That makes one
//! `#[tokio::test]` of every case, so that none can be left out by mistake.
//!
//! - [`log`]: the suite of the log port, by `log_conformance!`, and a log that does all the harm the port allows.
//! - [`events`]: the suite of the events port, by `events_conformance!`.
//! - [`jobs`]: the suite of the jobs port, by `jobs_conformance!`.
//! - [`pipelines`]: that of pipelines, and of the limits that obey them, by `pipelines_conformance!`.
//! - [`limits`]: the suite of the limits port. [`cache`]: that of the cache port, by `cache_conformance!`. [`locks`]: that
//!   of locks.
//! - [`grpc`]: the same port through client, contract and server.
//! - [`Pace`], [`PausedClock`]: how time passes in a case; [`on_real_time`]: what a failure on a busy machine
//!   means; [`store_that_is`]: a store that is cut off.
//!
//! Cases wait for events, never for a duration to be long enough. On a paused runtime they take no
//! time at all, and times are compared to the microsecond.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the crate is test support: a failed expectation is a panic"
)]

mod bench;
pub mod cache;
mod clock;
pub mod events;
pub mod grpc;
pub mod jobs;
pub mod leases;
pub mod limits;
pub mod locks;
pub mod log;
mod pace;
pub mod pipelines;
mod starved;
mod store;
mod subject;
mod task;

pub use bench::Bench;
pub use clock::PausedClock;
pub use pace::Pace;
pub use starved::on_real_time;
pub use store::store_that_is;
pub use subject::{Subject, run};
pub use task::spawn;
