//! Locks of this daemon alone while the shared store is away, where the operator or the call has said that this is safe or does
//! not matter.
//!
//! Any other new call waits for the store as it waits for a lock, and fails when its time is over: two holders are
//! worse than none, and a cut link cannot be told from a dead store. Where it is allowed, it is granted by this daemon's own
//! locks while the store is away, and says so. What the store's leases that this daemon times still hold is not
//! granted. When the store is back, each such lease is taken there too if its locks are free, and goes on under its id
//! and token; else its holder is told that it is lost. Calls that wait move over both times.

mod carried;
mod feed;
mod port;
mod promote;
mod sessions;
mod task;
mod waiting;

use crate::switch::Switch;
use carried::Sessions;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
pub use task::LocksFallbackTask;
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, Holder, LeaseId, LeaseRef, LockGrant, LockOutcome, LockPurpose,
    Locks, LostReason, SharedLocks,
};
use trellis_core::{Clock, Error, ErrorCode, Micros, Namespace, Result, Scope, StoreView};

/// Leases granted here that are remembered; further ones wait for the store.
const MAX_GRANTED: usize = 100_000;

/// Where this daemon grants locks while the store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocksWhileAway {
    /// Nowhere, but to calls that say that two holders do no harm.
    Fail,
    /// Where no other daemon was seen last: the operator has declared that there is none.
    SoleDaemon,
    /// Always: the operator prefers two holders to none.
    Local,
}

/// Shared locks with a fallback. See the module's documentation.
pub struct FallbackLocks {
    primary: Arc<dyn SharedLocks>,
    local: Arc<dyn Locks>,
    view: Arc<dyn StoreView>,
    switch: Switch,
    policy: LocksWhileAway,
    clock: Arc<dyn Clock>,
    granted: Mutex<HashMap<(Namespace, LeaseId), Granted>>,
    sessions: Sessions,
}

/// A lease that was granted here.
#[derive(Clone)]
struct Granted {
    acquire: AcquireLocks,
    grant: LockGrant,
    stands: Stands,
}

/// Where a lease that was granted here stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Here,
    /// In the store, under this id.
    There(LeaseId),
    /// Nowhere: another has its locks.
    Lost,
}

impl FallbackLocks {
    /// A fallback, and the task without which it never closes. Nothing but this may use `local`, whose tokens must be
    /// above every token seen of the store and below those that it mints later.
    #[must_use]
    pub fn new(
        primary: Arc<dyn SharedLocks>,
        local: Arc<dyn Locks>,
        view: Arc<dyn StoreView>,
        policy: LocksWhileAway,
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, LocksFallbackTask) {
        let locks = Arc::new(Self {
            primary,
            local,
            switch: Switch::new(Arc::clone(&view), Arc::clone(&clock)),
            view,
            policy,
            clock,
            granted: Mutex::default(),
            sessions: Sessions::default(),
        });
        (locks.clone(), LocksFallbackTask { locks })
    }

    /// The store cannot be used.
    fn trip(&self) {
        if let Some(reason) = self.switch.open(|| {}) {
            tracing::warn!(%reason, "the shared store is away: this daemon grants locks alone");
            // Of former outages only what goes on in the store is still asked for.
            self.granted
                .lock()
                .retain(|(namespace, _), granted| match granted.stands {
                    Stands::Here => true,
                    Stands::There(lease) => self.primary.times(namespace, lease),
                    Stands::Lost => false,
                });
        }
    }

    /// Whether a call may be granted here now.
    fn may_grant(&self, acquire: &AcquireLocks) -> bool {
        self.switch.is_open()
            && self.could_grant(acquire)
            && self.granted.lock().len() < MAX_GRANTED
    }

    /// Whether every call may be granted here while the store is away, whatever its purpose.
    fn grants_all(&self) -> bool {
        match self.policy {
            LocksWhileAway::Fail => false,
            LocksWhileAway::Local => true,
            LocksWhileAway::SoleDaemon => self.view.place().is_none_or(|(_, members)| members <= 1),
        }
    }

    /// Whether a call may be granted here while the store is away.
    fn could_grant(&self, acquire: &AcquireLocks) -> bool {
        let allowed = acquire.purpose == LockPurpose::Efficiency || self.grants_all();
        let is_known = match acquire.holder {
            Holder::Lease { .. } => true,
            Holder::Session(key) => self.sessions.find(&acquire.namespace, key.id).is_some(),
        };
        allowed
            && is_known
            && !self
                .primary
                .times_any_of(&acquire.namespace, &acquire.locks)
    }

    /// Remembers a grant of this daemon's own locks, and says what it is.
    fn note(&self, acquire: &AcquireLocks, acquired: &mut AcquiredLocks) {
        acquired.scope = self.switch.degraded_scope();
        if let LockOutcome::Granted(grant) = &acquired.outcome {
            let key = (acquire.namespace.clone(), grant.lease);
            let granted = Granted {
                acquire: acquire.clone(),
                grant: grant.clone(),
                stands: Stands::Here,
            };
            self.granted.lock().insert(key, granted);
        }
    }

    /// Where a lease stands that was granted here.
    fn stands(&self, lease: &LeaseRef) -> Option<Stands> {
        let key = (lease.namespace.clone(), lease.lease);
        self.granted.lock().get(&key).map(|granted| granted.stands)
    }

    fn forget(&self, lease: &LeaseRef) {
        let key = (lease.namespace.clone(), lease.lease);
        self.granted.lock().remove(&key);
    }

    /// Whether this daemon's own locks tell what a lock is while the store is away: they know it, or there is no other that
    /// anybody is granted.
    fn tells(&self, known: bool) -> bool {
        known || self.grants_all()
    }

    /// The error of what the store is needed for.
    fn away(&self) -> Error {
        let reason = match self.switch.degraded_scope() {
            Scope::Degraded { reason, .. } => reason,
            _ => "".into(),
        };
        let message = format!("the shared store is away: {reason}");
        Error::new(ErrorCode::StoreUnavailable, message).retry_after(Micros::from_secs(1))
    }

    /// The error of a lease that could not be taken in the store.
    fn lost() -> Error {
        Error::new(ErrorCode::LeaseLost, LostReason::NotRestored.message())
    }

    /// The guarantee that answers carry.
    fn current_scope(&self) -> Scope {
        if self.switch.is_open() {
            return self.switch.degraded_scope();
        }
        self.primary.scope()
    }
}

/// Whether an error is the store's, so that another attempt may succeed, and not that of what was asked.
fn is_of_the_store(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::StoreUnavailable | ErrorCode::OutcomeUnknown | ErrorCode::TooManyCalls
    )
}

/// Whether an answer means that the store cannot be used.
fn is_away<T>(answer: &Result<T>) -> bool {
    let away = |code| code == ErrorCode::StoreUnavailable;
    answer.as_ref().is_err_and(|error| away(error.code))
}
