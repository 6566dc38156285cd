//! Locks of this daemon alone while the shared store is away, where the operator or the call has said that this is safe or does
//! not matter.
//!
//! Any other new call waits for the store as it waits for a lock, and fails when its time is over: two holders are
//! worse than none, and a cut link cannot be told from a dead store. Where it is allowed, a lease of its own (no session) is granted
//! by this daemon's own locks while the store is away, and says so. What the store's leases that this daemon times still hold is not
//! granted. When the store is back, each such lease is taken there too if its locks are free, and goes on under its id
//! and token; else its holder is told that it is lost. Calls that wait move over both times.

mod port;
mod task;
mod waiting;

use crate::switch::Switch;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
pub use task::LocksFallbackTask;
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, ForceRelease, Holder, LeaseId, LeaseRef, LockGrant, LockOutcome,
    LockPurpose, Locks, SharedLocks, Wait,
};
use trellis_core::{Clock, ErrorCode, Namespace, Result, Scope, StoreView};

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
}

/// A lease that was granted here.
#[derive(Clone)]
struct Granted {
    acquire: AcquireLocks,
    grant: LockGrant,
    stands: Stands,
}

/// Where a lease that was granted here stands.
#[derive(Clone, Copy, PartialEq, Eq)]
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
        });
        (locks.clone(), LocksFallbackTask { locks })
    }

    /// The store cannot be used.
    fn trip(&self) {
        if let Some(reason) = self.switch.open(|| {}) {
            tracing::warn!(%reason, "the shared store is away: this daemon grants locks alone");
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
        allowed
            && matches!(acquire.holder, Holder::Lease { .. })
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

    /// Takes what was granted here in the store as well, or ends it. An error: the store is away again.
    async fn promote(&self) -> Result<()> {
        let here: Vec<Granted> = {
            let granted = self.granted.lock();
            let here = granted.values().filter(|it| it.stands == Stands::Here);
            here.cloned().collect()
        };
        for granted in here {
            self.promote_one(granted).await?;
        }
        Ok(())
    }

    async fn promote_one(&self, granted: Granted) -> Result<()> {
        let Granted { acquire, grant, .. } = granted;
        let lease = LeaseRef {
            namespace: acquire.namespace.clone(),
            lease: grant.lease,
        };
        let Some(lock) = grant.locks.first().cloned() else {
            return Ok(());
        };
        let checked =
            self.local
                .check_token(acquire.namespace.clone(), lock.name.clone(), lock.token);
        if checked.await?.remaining.is_none() {
            // It has ended by itself.
            self.forget(&lease);
            return Ok(());
        }
        let again = AcquireLocks {
            wait: Wait::Try,
            request_id: None,
            ..acquire
        };
        let primary: Arc<dyn SharedLocks> = Arc::clone(&self.primary);
        let acquired = primary.acquire(again).outcome().await?;
        let stands = match acquired.outcome {
            LockOutcome::Granted(shared) => Stands::There(shared.lease),
            _ => Stands::Lost,
        };
        if stands == Stands::Lost {
            let force = ForceRelease {
                namespace: lease.namespace.clone(),
                name: lock.name,
                expected: lock.token,
                reason: "another held it when the shared store came back".into(),
                actor: "trellisd".into(),
                request_id: None,
            };
            self.local.force_release(force).await?;
            tracing::warn!(namespace = %lease.namespace, "a lease granted without the store is lost");
        }
        let key = (lease.namespace.clone(), lease.lease);
        if let Some(granted) = self.granted.lock().get_mut(&key) {
            granted.stands = stands;
            return Ok(());
        }
        // It was released meanwhile.
        if let Stands::There(shared) = stands {
            let lease = LeaseRef {
                lease: shared,
                ..lease
            };
            self.primary.release(lease).await?;
        }
        Ok(())
    }

    /// Whether this daemon's own locks tell what a lock is while the store is away: they know it, or there is no other that
    /// anybody is granted.
    fn tells(&self, known: bool) -> bool {
        known || self.grants_all()
    }

    /// The guarantee that answers carry.
    fn current_scope(&self) -> Scope {
        if self.switch.is_open() {
            return self.switch.degraded_scope();
        }
        self.primary.scope()
    }
}

/// Whether an answer means that the store cannot be used.
fn is_away<T>(answer: &Result<T>) -> bool {
    let away = |code| code == ErrorCode::StoreUnavailable;
    answer.as_ref().is_err_and(|error| away(error.code))
}
