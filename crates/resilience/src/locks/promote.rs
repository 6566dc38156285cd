//! What was granted here is taken in the store as well when that is back, or is lost.

use super::{FallbackLocks, Granted, Stands, is_of_the_store};
use std::sync::Arc;
use trellis_core::locks::{
    AcquireLocks, Holder, LeaseId, LeaseRef, LockOutcome, LockSet, LostReason, SessionNews,
    SharedLocks, Wait,
};
use trellis_core::{Namespace, Result};

impl FallbackLocks {
    /// Takes what was granted here in the store as well, or ends it. An error: the store is away again.
    pub(super) async fn promote(&self) -> Result<()> {
        self.promote_sessions().await?;
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
        let shared = self.take_there(acquire.clone()).await?;
        let stands = shared.map_or(Stands::Lost, Stands::There);
        let key = (lease.namespace.clone(), lease.lease);
        let known = {
            let mut granted = self.granted.lock();
            let granted = granted.get_mut(&key);
            granted.map(|granted| granted.stands = stands).is_some()
        };
        if known {
            if stands == Stands::Lost {
                tracing::warn!(namespace = %lease.namespace, "a lease granted without the store is lost");
                self.tell_lost(&acquire, grant.lease);
            }
            // From now on it stands there, or nowhere.
            let _ = self.local.release(lease).await;
        } else if let Stands::There(shared) = stands {
            // It was released meanwhile.
            let lease = LeaseRef {
                lease: shared,
                ..lease
            };
            self.primary.release(lease).await?;
        }
        Ok(())
    }

    /// Takes locks in the store, within the session that theirs has there; `None` where another has them.
    async fn take_there(&self, acquire: AcquireLocks) -> Result<Option<LeaseId>> {
        let holder = match acquire.holder {
            Holder::Session(key) => {
                let carried = self.sessions.find(&acquire.namespace, key.id);
                let Some(there) = carried.and_then(|carried| carried.there()) else {
                    return Ok(None);
                };
                Holder::Session(there)
            }
            lease @ Holder::Lease { .. } => lease,
        };
        let again = AcquireLocks {
            holder,
            wait: Wait::Try,
            request_id: None,
            ..acquire
        };
        let primary: Arc<dyn SharedLocks> = Arc::clone(&self.primary);
        let (namespace, locks) = (again.namespace.clone(), again.locks.clone());
        match primary.acquire(again).outcome().await {
            Ok(acquired) => match acquired.outcome {
                LockOutcome::Granted(shared) => Ok(Some(shared.lease)),
                _ if self.is_any_used(&namespace, &locks).await? => Ok(None),
                // In a new generation nothing is granted before all daemons have told what they have.
                _ => Err(self.away()),
            },
            Err(error) if is_of_the_store(&error) => Err(error),
            // It never will take them: one that cannot be promoted must not keep the others from being shared.
            Err(_) => Ok(None),
        }
    }

    /// Whether somebody holds or awaits one of these locks in the store.
    async fn is_any_used(&self, namespace: &Namespace, locks: &LockSet) -> Result<bool> {
        for target in locks.targets() {
            let name = target.name.clone();
            let (state, _) = self.primary.inspect(namespace.clone(), name).await?;
            if state.holder_count + state.waiter_count > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells a session that one of its leases is lost.
    fn tell_lost(&self, acquire: &AcquireLocks, lease: LeaseId) {
        let Holder::Session(key) = acquire.holder else {
            return;
        };
        if let Some(carried) = self.sessions.find(&acquire.namespace, key.id) {
            let reason = LostReason::NotRestored;
            carried.tell(SessionNews::Lost { lease, reason });
        }
    }

    /// The id by which its holder knows a lease of the store.
    pub(super) fn known_id(&self, namespace: &Namespace, lease: LeaseId) -> LeaseId {
        let granted = self.granted.lock();
        let known = granted
            .iter()
            .find(|((its, _), granted)| granted.stands == Stands::There(lease) && its == namespace);
        known.map_or(lease, |((_, known), _)| *known)
    }
}
