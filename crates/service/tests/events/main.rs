//! The events service and its client over a plain backend, which fails and holds back when it is told to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
#![allow(
    clippy::unnecessary_wraps,
    reason = "fields of messages are made as messages hold them"
)]

mod bench;
mod client_consumer;
mod client_publisher;
mod client_subscription;
mod consume;
mod fake;
mod groups;
mod publish;
mod subscribe;
#[path = "../support/mod.rs"]
mod support;
mod switch;
mod topics;
