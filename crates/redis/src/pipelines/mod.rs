//! Pipelines on Redis: what updates have set is kept in the store, and known in every daemon.
//!
//! Every daemon holds what the store does, so that a call finds its settings without a wait. A change is worked out here,
//! by the rules of [`trellis_core::pipelines::Catalogue`], and stands if what it was worked out from still does: one script. That
//! script tells all daemons that there is something new; each asks what has changed since it last did. It asks as well after a gap in its
//! mailbox, in a new session and twice in each interval of the heart, so a hint that is lost costs that time and no change.
//!
//! After a history in which the store may have lost data, a daemon first tells what it knows: the higher version stands. While the
//! store is away what was last known is in force, and nothing can be changed.
//!
//! Files: `record` what is kept of a pipeline, `known` what this daemon knows, `call` the scripts, `syncing` how the two
//! come together, `port` the port, `watching` watches, `task` what time and other daemons bring.

mod call;
mod known;
mod port;
mod record;
mod syncing;
mod task;
mod watching;

use crate::Store;
use known::Known;
use parking_lot::RwLock;
use std::sync::{Arc, Weak};
pub use task::RedisPipelinesTask;
use tokio::sync::{Notify, watch};
use trellis_core::pipelines::{Base, PipelineBounds};

/// Bounds of [`RedisPipelines`]; equal on all daemons, as is what they start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisPipelinesConfig {
    /// Namespaces with updates in force.
    pub max_namespaces: usize,
}

/// Pipelines that all daemons on one Redis share.
pub struct RedisPipelines {
    /// For watches, which do not keep it.
    me: Weak<Self>,
    store: Store,
    config: RedisPipelinesConfig,
    bounds: PipelineBounds,
    /// Before the name of a daemon: its mailbox.
    mailbox: String,
    known: Arc<RwLock<Known>>,
    /// Sent after each change; who watches looks what it was.
    changes: watch::Sender<()>,
    /// The generation whose pipelines are known; `None` while they are still to be read.
    loaded: watch::Sender<Option<u64>>,
    /// Told when the task is to read everything anew.
    anew: Notify,
}

impl RedisPipelines {
    /// Pipelines on a store, and the task without which nothing is known of it.
    #[must_use]
    pub fn open(
        store: Store,
        base: Base,
        config: RedisPipelinesConfig,
    ) -> (Arc<Self>, RedisPipelinesTask) {
        let pipelines = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            mailbox: store.keys().mailbox(""),
            store,
            config,
            bounds: *base.bounds(),
            known: Arc::new(RwLock::new(Known::new(Arc::new(base)))),
            changes: watch::Sender::new(()),
            loaded: watch::Sender::new(None),
            anew: Notify::new(),
        });
        let task = RedisPipelinesTask::new(Arc::clone(&pipelines));
        (pipelines, task)
    }

    /// Waits until this daemon knows what the store does. Without an end while the store is away.
    pub async fn loaded(&self) {
        // The sender lives in `self`.
        let _ = self.loaded.subscribe().wait_for(Option::is_some).await;
    }

    /// Of how many pipelines that are gone it is remembered that they are: an older daemon must not bring them back.
    fn max_gone(&self) -> usize {
        self.bounds.max_pipelines
    }
}
