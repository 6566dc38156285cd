//! Typed client of the Trellis daemon.
//!
//! It is taken from the repository, by path or by git, and runs on Tokio:
//!
//! ```toml
//! [dependencies]
//! trellis-client = { path = "../trellis/crates/client" } # or { git = "the repository's URL" }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! ```no_run
//! use std::time::Duration;
//! use trellis_client::{Acquired, Actual, Charge, Client, Spec};
//!
//! # async fn run() -> trellis_client::Result<()> {
//! let limits = Client::connect("http://127.0.0.1:7117").await?.limits();
//!
//! // 100 requests a minute for each user. The spec makes the limit on the first call.
//! let per_user = Spec::window(100, Duration::from_mins(1));
//! let charge = Charge::new("llm.requests", 1).key("user-7").spec(per_user);
//! match limits.try_acquire(charge).await? {
//!     Acquired::Granted(_) => println!("go on"),
//!     Acquired::Denied { retry_after, .. } => println!("try again after {retry_after:?}"),
//!     other => println!("{other:?}"),
//! }
//!
//! // A call whose cost is known only afterwards: wait for room, reserve, settle.
//! let acquired = limits
//!     .acquire()
//!     .charge(Charge::new("llm.tokens", 4_000))
//!     .charge(Charge::new("llm.slots", 1))
//!     .max_wait(Duration::from_secs(5))
//!     .reserve(Duration::from_mins(1))
//!     .send()
//!     .await?;
//! if let Some(reservation) = acquired.granted().and_then(|grant| grant.reservation) {
//!     // ... the work; a reservation dropped on an early return is released ...
//!     reservation.settle([Actual::new("llm.tokens", 1_312)]).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Sending
//!
//! A call with options is a builder ([`Acquire`], [`Extend`], [`SetLimit`], [`DeleteLimit`],
//! [`ResetLimit`], [`ReportThrottled`]) and does nothing until it is sent: by `.send().await` or, for
//! short, by `.await`. A list ([`ListLimits`], [`ListBuckets`]) is read by `.page(..)`, `.all()` or
//! `.stream()`. Every other call is an `async` method, sent when it is awaited.
//!
//! # Answers and errors
//!
//! A refusal that is a normal outcome is not an error: [`Acquired::Denied`], `Never`, `TimedOut` and
//! `Lost` arrive as `Ok`, so `?` does not stop at them, and only [`Acquired::Granted`] allows the work.
//! An [`Error`] is a fault or bad input; it tells whether and how to repeat the call:
//!
//! ```
//! use trellis_client::{Error, RetryAdvice};
//!
//! fn explain(error: &Error) -> String {
//!     match error.retry_advice() {
//!         RetryAdvice::Never => format!("give up: {error}"),
//!         RetryAdvice::Later(pause) => format!("nothing was done; again after {pause:?}"),
//!         RetryAdvice::SameRequestId => "perhaps done; again with the same request id".into(),
//!     }
//! }
//! ```
//!
//! # Deadlines
//!
//! Every call has one: the call timeout (10 s unless set by [`ClientBuilder::call_timeout`]), plus the
//! `max_wait` of an acquire that waits; a batch has its longest `max_wait`. Making a connection may take
//! 5 s ([`ClientBuilder::connect_timeout`]), and a connection that answers no ping is given up after
//! 20 s ([`ClientBuilder::keep_alive`]). Dropping a call's future takes the call back.
//!
//! # Very many calls
//!
//! [`Limits::pipeline`] gives a handle with the same calls over one shared stream:
//!
//! ```no_run
//! # use trellis_client::{Charge, Client};
//! # async fn run(client: Client) -> trellis_client::Result<()> {
//! let pipeline = client.limits().namespace("billing").pipeline();
//! let acquired = pipeline.try_acquire(Charge::new("invoices", 1)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Values computed once
//!
//! [`Client::cache`] keeps values, and has each computed by one caller at a time, of all that ask:
//!
//! ```no_run
//! # use std::time::Duration;
//! # use trellis_client::{Client, cache::{CacheKey, Keep}};
//! # async fn ask_model(_: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
//! # async fn run(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let cache = client.cache("answers");
//! let key = CacheKey::new("answer").model("small-1").parameter("temperature", "0").text("Hello");
//! let keep = Keep::new(Duration::from_mins(5));
//! let answer: String = cache.get_or_compute_as(key, keep, || ask_model("Hello")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What has happened
//!
//! [`Client::topic`] publishes events in order, tells them to subscribers, and deals them out to groups: see [`events`].
//!
//! # What is to be done
//!
//! [`Client::queue`] submits jobs, which are done by workers, and tells what became of them: see [`jobs`].
//!
//! # What this crate leaves to others
//!
//! It depends on the contract (`trellis-proto`) alone, checks nothing that the daemon checks, and
//! retries nothing unasked. It needs a Tokio runtime.

mod acquire;
mod acquired;
mod address;
mod again;
mod awaited;
mod background;
mod bucket;
mod builder;
pub mod cache;
mod charge;
mod client;
mod convert;
mod definition;
mod error;
pub mod events;
mod extend;
pub mod jobs;
mod limits;
mod list;
mod locks;
mod mail;
mod pipeline;
mod pipelines;
mod reservation;
mod route;
mod scope;
mod settlement;
mod spec;
mod status;

pub use acquire::{Acquire, Priority};
pub use acquired::{Acquired, ChargeResult, Grant, SpecSource};
pub use bucket::{Bucket, Peeked, ReportThrottled, Reset, ResetLimit, Throttled};
pub use builder::ClientBuilder;
pub use charge::{Charge, Charges};
pub use client::Client;
pub use definition::{
    Declared, DeleteLimit, Deleted, KeyOverride, LevelPolicy, Limit, SetLimit, Sharing,
};
pub use error::{Error, ErrorKind, ErrorReason, FieldViolation, Result, RetryAdvice};
pub use extend::{Extend, Extended};
pub use limits::Limits;
pub use list::{ListBuckets, ListLimits, Page};
pub use locks::{
    Election, HeldLock, Leader, Lock, LockGuard, LockHolder, LockState, Locked, Locks, LostReason,
    Ran,
};
pub use pipeline::Pipeline;
pub use pipelines::{PipelineChange, PipelineSource, PipelineState, PipelineValue, Pipelines};
pub use reservation::Reservation;
pub use scope::Scope;
pub use settlement::{Actual, Settled, SettledCharge};
pub use spec::{CalendarUnit, RateSpec, Span, Spec};
pub use status::{
    DaemonStatus, FallbackStatus, LimitsStatus, LocksStatus, Member, Mode, RpcStatus, StoreStatus,
};

/// The generated client that every call goes through.
type Stub = trellis_proto::v1::limit_service_client::LimitServiceClient<tonic::transport::Channel>;
