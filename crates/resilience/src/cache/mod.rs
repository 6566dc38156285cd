//! A cache that goes on while the shared store is away.
//!
//! While the store answers, every call goes to it. While it is away, calls go to a cache of this daemon alone, so a key
//! is computed once per daemon, and the answers say so. Conditions on versions and fences cannot be judged then and are refused.
//! What was deleted, set or cleared meanwhile is kept in a journal and told to the store before anything else is
//! asked of it, so an entry that was deleted cannot come back; then the daemon's own cache is emptied. Calls that wait
//! move over both times. A lease belongs to the cache that granted it: what one granted here fills later is refused.

mod journal;
mod port;
mod task;
mod waiting;

#[cfg(test)]
mod tests;

use crate::switch::Switch;
use journal::Journal;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
pub use task::CacheFallbackTask;
use trellis_core::cache::{Begun, Cache, ClearTarget, Lease, LeaseId};
use trellis_core::{
    Clock, EntryKey, Error, ErrorCode, Micros, Namespace, Result, Scope, StoreView,
};

/// Marks the number of a lease that was granted here; the store's numbers stay below it for decades.
const OURS: u64 = 1 << 52;

/// When to try again what cannot be decided while the store is away.
const RETRY_AFTER: Micros = Micros::from_secs(1);

/// Keys and tags in the journal.
const MAX_NOTES: usize = 100_000;

/// A shared cache with a fallback. See the module's documentation.
pub struct FallbackCache {
    primary: Arc<dyn Cache>,
    local: Arc<dyn Cache>,
    view: Arc<dyn StoreView>,
    /// Closed under the journal's lock only.
    switch: Switch,
    journal: Mutex<Journal>,
    /// Namespaces of this outage.
    used: Mutex<HashSet<Namespace>>,
}

impl FallbackCache {
    /// A fallback, and the task without which it never closes. Nothing but this may use `local`.
    #[must_use]
    pub fn new(
        primary: Arc<dyn Cache>,
        local: Arc<dyn Cache>,
        view: Arc<dyn StoreView>,
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, CacheFallbackTask) {
        let cache = Arc::new(Self {
            primary,
            local,
            switch: Switch::new(Arc::clone(&view), clock),
            view,
            journal: Mutex::new(Journal::new(MAX_NOTES)),
            used: Mutex::default(),
        });
        (cache.clone(), CacheFallbackTask { cache })
    }

    fn is_open(&self) -> bool {
        self.switch.is_open()
    }

    /// The store cannot be used: calls go to this daemon's own cache from now on.
    fn trip(&self) {
        if let Some(reason) = self.switch.open(|| {}) {
            tracing::warn!(%reason, "the shared store is away: this daemon caches alone");
        }
    }

    /// Closes, unless something was noted or the store was away again since.
    fn close_if_told(&self) -> Closing {
        let journal = self.journal.lock();
        if journal.len() > 0 {
            return Closing::NotTold;
        }
        if !self.switch.close(|| {}) {
            return Closing::AwayAgain;
        }
        drop(journal);
        tracing::info!("the cache is shared again");
        Closing::Closed
    }

    /// Forgets what was cached here.
    async fn empty(&self) {
        let used = std::mem::take(&mut *self.used.lock());
        for namespace in used {
            if let Err(error) = self.local.clear(&namespace, ClearTarget::All).await {
                tracing::error!(%error, "this daemon's own cache could not be emptied");
            }
        }
    }

    /// Whether an answer means that the store cannot be used; opens if so.
    fn is_away<T>(&self, answer: &Result<T>) -> bool {
        let away = answer
            .as_ref()
            .is_err_and(|error| error.code == ErrorCode::StoreUnavailable);
        if away {
            self.trip();
        }
        away
    }

    /// Takes note of something that the store must forget; false when it can be told by now.
    fn note(&self, note: impl FnOnce(&mut Journal)) -> bool {
        let mut journal = self.journal.lock();
        let open = self.is_open();
        if open {
            note(&mut journal);
        }
        open
    }

    fn note_deleted(&self, namespace: &Namespace, key: &EntryKey) -> bool {
        self.note(|journal| journal.delete(namespace, key))
    }

    /// A namespace is used here.
    fn note_used(&self, namespace: &Namespace) {
        let mut used = self.used.lock();
        if !used.contains(namespace) {
            used.insert(namespace.clone());
        }
    }

    /// The guarantee that answers carry while the store is away.
    fn degraded_scope(&self) -> Scope {
        self.switch.degraded_scope()
    }
}

/// What came of closing.
enum Closing {
    Closed,
    /// There is more to be told first.
    NotTold,
    /// It waits for the next dwell.
    AwayAgain,
}

/// A lease as it is known outside.
fn renamed(mut lease: Lease) -> Lease {
    lease.id.0 |= OURS;
    lease
}

/// The same for all that may have come of a key.
fn marked(begun: Begun) -> Begun {
    match begun {
        Begun::Hit { hit, refresh } => Begun::Hit {
            hit,
            refresh: refresh.map(renamed),
        },
        Begun::Lease(lease) => Begun::Lease(renamed(lease)),
        other => other,
    }
}

/// The name by which this daemon's own cache knows a lease, if it granted it.
fn ours(lease: LeaseId) -> Option<LeaseId> {
    (lease.0 & OURS != 0).then_some(LeaseId(lease.0 & !OURS))
}

/// What cannot be judged by one daemon alone.
fn needs_store(what: &str) -> Error {
    let message = format!("the shared store is away: {what} needs it; nothing was done");
    Error::new(ErrorCode::StoreUnavailable, message).retry_after(RETRY_AFTER)
}
