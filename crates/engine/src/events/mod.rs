//! Events: the port over any log.
//!
//! The log has one partition for what concerns topics and groups, the **control** partition, and others over which
//! topics are spread, the **lanes**. Each is read back by one task, in the order of the log, and nothing counts that was not read
//! back. Every record carries a [`Stamp`]: a record that is not above all before it is void, so it does not matter what the log
//! repeats or brings late.
//!
//! Files: `lane` the fold of a partition, `past`, `ids`, `topics` and `live` what it knows, `order` and `publish` the way in, `reader`
//! and `start` the ways out; `control` and `groups`; `open` how a life begins; `port` the port; `tasks` what must be run.

mod config;
mod control;
mod groups;
mod ids;
mod lane;
mod live;
mod open;
mod order;
mod past;
mod port;
mod publish;
mod reader;
mod start;
mod tasks;
mod topics;

pub use config::EventsConfig;

use crate::steady::SteadyClock;
use crate::underway::Underway;
use control::Control;
use lane::draining;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio_util::sync::CancellationToken;
use trellis_core::Error;
use trellis_core::log::Durability;

#[cfg(doc)]
use trellis_core::events::Stamp;

/// Topics and groups on a log that nobody else writes.
pub struct EventEngine {
    control: Arc<Control>,
    clock: Arc<SteadyClock>,
    durability: Durability,
    underway: Underway,
    /// Names events whose callers did not.
    unnamed: AtomicU64,
    /// What these names begin with.
    life: String,
    /// The tasks may end.
    closed: CancellationToken,
}

impl EventEngine {
    /// Ends it: nothing new begins, what is under way is answered, subscriptions end with `Draining`, and the tasks end. The log
    /// is the caller's to close, afterwards. Idempotent.
    pub async fn close(&self) {
        self.underway.close().await;
        for lane in &self.control.lanes {
            lane.end_with(draining());
        }
        for group in self.control.groups.all() {
            group.end(&draining());
        }
        self.control.close();
        self.closed.cancel();
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.underway.is_closed() {
            return Err(draining());
        }
        Ok(())
    }
}
