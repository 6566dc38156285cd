//! The Trellis daemon: configuration, wiring, supervision and ordered shutdown.
//!
//! `trellisd` is a thin program around this library; another program embeds a daemon by
//! calling [`run()`] with listeners of its own:
//!
//! ```
//! # use trellis_daemon::{Config, Listeners, run};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_toml(r#"
//!     listen = "127.0.0.1:0"
//!     http_listen = "127.0.0.1:0"
//! "#)?;
//! let listeners = Listeners::bind(&config).await?;
//! let address = listeners.grpc.local_addr()?;
//! let told_to_end = async { println!("served on {address}") };
//! run(config, listeners, told_to_end).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Config`], [`Sources`], [`ConfigError`]: settings, in layers, checked before anything starts.
//! - [`Listeners`], [`run()`], [`RunError`]: the daemon itself.
//! - [`SystemClock`]: time, as the operating system tells it.
//! - [`start_logging`]: log lines on stderr.

mod announcing;
mod backend;
mod caching;
mod clock;
mod config;
mod connection;
mod declarations;
mod error;
mod eventing;
mod grpc;
mod http;
mod locking;
mod logging;
mod queueing;
mod readiness;
mod run;
mod shutdown;
mod supervisor;
#[cfg(test)]
mod tests;

pub use clock::SystemClock;
pub use config::{Config, ConfigError, Problem, Sources};
pub use error::RunError;
pub use logging::start_logging;
pub use run::{Listeners, run};
