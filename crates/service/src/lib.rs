//! The gRPC services: validate, convert, call a port, map the error.
//!
//! One module per service of the contract. Nothing here knows which backend is behind a port, and
//! nothing here decides: a request that is well formed goes to its port, and the answer comes back as
//! the contract spells it.
//!
//! - [`routes()`]: every service, ready to be served.
//! - [`Announcer`]: what has happened in this daemon, as events.
//! - [`RpcStats`], [`StatsLayer`]: latencies of the RPCs. [`CallLimitLayer`]: calls in flight.

mod announce;
mod cache;
mod config;
mod convert;
mod drain;
mod error;
mod events;
mod items;
mod jobs;
mod layers;
mod limits;
mod lock_session;
mod locks;
mod obey;
mod pipelined;
mod pipelines;
mod routes;
mod status;
mod stream;
mod turns;

pub use announce::{Announcer, DAEMON_TOPIC};
pub use config::{CacheServiceConfig, EventBounds, JobBounds, LockBounds, ServiceConfig};
pub use layers::{CallLimitLayer, RpcSnapshot, RpcStats, StatsLayer};
pub use routes::{DaemonInfo, HealthHandle, Parts, Services, routes};
