//! What the tasks of one store share.

use crate::call::Job;
use crate::connection::Driver;
use crate::health::HealthBoard;
use crate::keys::Keys;
use crate::link::Link;
use crate::mailbox::Post;
use crate::{Identity, RedisConfig, Session};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Semaphore, mpsc, watch};
use trellis_core::Clock;

pub(crate) struct Shared {
    pub(crate) config: RedisConfig,
    pub(crate) driver: Driver,
    pub(crate) identity: Identity,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: Keys,
    /// Random, one per process: tells our own session record from that of a namesake.
    pub(crate) boot: String,
    pub(crate) board: HealthBoard,
    /// The attached connection. Calls go nowhere else.
    pub(crate) link: watch::Sender<Option<Arc<Link>>>,
    pub(crate) session: watch::Sender<Option<Session>>,
    pub(crate) post: Post,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) jobs: mpsc::Sender<Job>,
    /// Links that were numbered so far.
    pub(crate) links_made: AtomicU64,
    /// The last incarnation, 0 before the first.
    pub(crate) incarnation: AtomicU64,
    /// The highest token seen: what is minted next lies above it, whatever the store has forgotten.
    pub(crate) floor: AtomicU64,
    /// The last generation before which data may have been lost; 0 before there is one.
    pub(crate) lost_before: AtomicU64,
    /// Whether this daemon spends its share of limits by itself.
    pub(crate) apart: watch::Sender<bool>,
    /// Set by a clean leave: no connection is attached any more.
    pub(crate) left: AtomicBool,
}

impl Shared {
    pub(crate) fn saw_token(&self, token: u64) {
        self.floor.fetch_max(token, Ordering::Relaxed);
    }

    pub(crate) fn publish(&self, link: Option<Arc<Link>>) {
        let session = link.as_ref().map(|link| link.session);
        self.link.send_replace(link);
        self.session.send_if_modified(|current| {
            let changed = *current != session;
            *current = session;
            changed
        });
    }
}
