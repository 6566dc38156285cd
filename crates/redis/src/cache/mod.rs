//! The cache on Redis: values, leases and lines in the store, the calls that wait in each daemon.
//!
//! Every change is one script, by the store's time and state alone. Values are read with plain commands, which move
//! large ones several times faster than a script does, and judged here by the clears read after them. A call that
//! waits is in the store's line and has a seat here; whatever happens to its flight is a hint to look at it. What was
//! read is copied here (`near`), where the server's word of changes keeps it right.
//!
//! Files: `wire` shapes, `blob` entries as they stand in the store, `scripts`, `call` one call of a script and what its
//! failure is, `reading` values, `largest` how large they are at most, `near` copies of them, `begin` leases and lines, `port` the rest of the port; `lines` the calls that wait here,
//! `waiting` one of them, `ledger` what is counted, `letting` what is given back, `task` what time and other
//! daemons bring, `house` housekeeping.

mod begin;
mod blob;
mod call;
mod house;
mod largest;
mod ledger;
mod letting;
mod lines;
mod near;
mod port;
mod reading;
mod scripts;
mod task;
mod waiting;
mod wire;

use crate::{Membership, Store};
pub(crate) use call::{Told, unpack, without_answer};
use largest::Largest;
use ledger::Ledgers;
use letting::Letting;
use lines::Lines;
use near::Near;
pub use near::NearConfig;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
pub use task::RedisCacheTask;
use tokio::sync::Notify;
use trellis_core::cache::{CacheStats, LeaseId, MachineConfig};
use trellis_core::{Clock, Result};

/// Bounds of the cache on Redis; equal on all daemons. Entries are bounded by the server's `maxmemory`.
#[derive(Clone, Copy, Debug)]
pub struct RedisCacheConfig {
    /// Bounds of each namespace.
    pub machine: MachineConfig,
    /// Namespaces in use at a time.
    pub max_namespaces: usize,
    /// Bounds of this daemon's near copies; `None`: it keeps none. May differ between daemons.
    pub near: Option<NearConfig>,
}

/// How far values have come, for leases whose parts come through this daemon. Known wrongly it costs a call.
const KNOWN_LEASES: usize = 10_000;

/// A cache that all daemons on one Redis share.
pub struct RedisCache {
    /// For calls that outlive their callers.
    me: Weak<Self>,
    store: Store,
    membership: Membership,
    clock: Arc<dyn Clock>,
    config: RedisCacheConfig,
    /// Before the name of a daemon: its mailbox.
    mailbox: String,
    tickets: AtomicU64,
    lines: Lines,
    letting: Letting,
    ledgers: Ledgers,
    near: Option<Near>,
    largest: Largest,
    /// Bytes that have come of a value, and their checksum.
    come: Mutex<HashMap<LeaseId, (usize, u32)>>,
    /// Told when a look may be due, or something is to be given back or counted.
    sooner: Notify,
    damaged: AtomicU64,
    /// What sweeps have counted, by root.
    counted: Mutex<HashMap<String, CacheStats>>,
}

impl RedisCache {
    /// A cache on a store, and the task without which nobody who waits is served.
    ///
    /// Errors: `Internal` where there is no place for near copies.
    pub fn open(
        store: Store,
        membership: Membership,
        config: RedisCacheConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, RedisCacheTask)> {
        let near = |near| Near::new(near, config.max_namespaces, store.keys().of("cache", &[""]));
        let near = config.near.map(near).transpose()?;
        let cache = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            mailbox: store.keys().mailbox(""),
            store,
            membership,
            clock,
            config,
            tickets: AtomicU64::new(1),
            lines: Lines::default(),
            letting: Letting::default(),
            ledgers: Ledgers::default(),
            near,
            largest: Largest::default(),
            come: Mutex::default(),
            sooner: Notify::new(),
            damaged: AtomicU64::new(0),
            counted: Mutex::default(),
        });
        let task = RedisCacheTask::new(cache.clone());
        Ok((cache, task))
    }

    /// Waits until this daemon's near copies are as new as the store was when this was called. Never returns while a
    /// store that was there is away.
    pub async fn settled(&self) {
        if let Some(near) = &self.near {
            near.settled().await;
        }
    }

    fn come(&self, lease: LeaseId) -> (usize, u32) {
        self.come.lock().get(&lease).copied().unwrap_or_default()
    }

    fn note_come(&self, lease: LeaseId, size: usize, crc: u32) {
        let mut come = self.come.lock();
        if come.len() >= KNOWN_LEASES {
            come.clear();
        }
        come.insert(lease, (size, crc));
    }

    /// Reports a value that cannot be read; it counts as none.
    fn report_damage(&self, what: blob::Damage) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%what, "a value in the store cannot be read and counts as a miss");
    }
}
