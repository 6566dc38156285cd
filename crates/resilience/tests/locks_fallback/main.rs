//! A store that comes and goes, and which locks its daemon grants meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is test code, which clippy recognizes in test functions only"
)]

mod bed;
mod leases;
mod sessions;
