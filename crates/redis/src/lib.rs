//! The shared backends on Redis, and the only crate that knows its driver.
//!
//! Here is what all of them stand on; the primitives' own scripts come on top.
//!
//! - [`Store`] runs guarded scripts. Each [`Call`] is done, refused, away, or unknown ([`CallError`]),
//!   within the store timeout.
//! - [`Session`]: generation, incarnation, link. It is settled by an attach before anything else is sent on
//!   a connection, and the guard before every script refuses calls of another.
//! - [`Health`]: how the server is, decided by a watchdog on a connection of its own.
//! - [`Membership`]: who else is there, and until when this daemon may promise anything.
//! - [`Keys`]: where things stand in Redis.
//! - [`Mailbox`]: hints from other daemons.
//!
//! Nothing starts a task here: [`StoreTasks`] are run by the daemon's supervisor. (The driver itself runs
//! one task per connection, which ends with the connection.)

mod attach;
mod backoff;
mod cache;
mod call;
mod cluster;
mod config;
mod connection;
mod error;
mod facts;
mod failure;
mod health;
mod keys;
mod limits;
mod link;
mod locks;
mod mailbox;
mod membership;
mod packed;
mod pipelines;
mod reply;
mod script;
mod secret;
mod session;
mod shared;
mod store;
mod watchdog;

pub use cache::{NearConfig, RedisCache, RedisCacheConfig, RedisCacheTask};
pub(crate) use call::Heir;
pub use call::{Call, CallsTask};
pub use cluster::RedisCluster;
pub use config::{ConfigError, RedisConfig, RedisUrl};
pub use error::{CallError, Refusal, RefusalKind};
pub use health::{Condition, Health};
pub use keys::Keys;
pub use limits::{AfterLoss, RedisLimits, RedisLimitsConfig, RedisLimitsTask};
pub use locks::{RedisLocks, RedisLocksConfig, RedisLocksTask};
pub use mailbox::{Mailbox, MailboxEvent};
pub use membership::{Assurance, Member, Membership, MembershipTask, Place, Withheld};
pub use pipelines::{RedisPipelines, RedisPipelinesConfig, RedisPipelinesTask};
pub use reply::Reply;
pub use script::Script;
pub use secret::Secret;
pub use session::{Identity, Session};
pub use store::{ConnectionsTask, Start, StartError, Store, StoreTasks};
