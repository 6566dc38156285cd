//! The locks port on Redis.

use super::RedisLocks;
use super::acquire::RedisWaiting;
use super::looking::Waiters;
use super::scripts::{FORCE, KEEP, RELEASE};
use super::state::lease_id;
use super::wire::{Claim, Kept};
use crate::packed::{Maybe, digest};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trellis_core::locks::{
    AcquireLocks, AcquiringLocks, ForceRelease, LeaseId, LeaseRef, ListLocks, LockPage, LockSet,
    LockState, LockWatch, Locks, LocksStatus, OnBreak, OpenSession, SessionFeed, SessionId,
    SessionKey, SessionState, SharedLocks, Token, TokenState,
};
use trellis_core::{Error, Micros, Name, Namespace, Result, Scope, Time};

#[async_trait]
impl Locks for RedisLocks {
    fn acquire(self: Arc<Self>, acquire: AcquireLocks) -> AcquiringLocks {
        AcquiringLocks::Waiting(Box::new(RedisWaiting::new(self, acquire)))
    }

    async fn release(&self, lease: LeaseRef) -> Result<Scope> {
        let args = (lease.lease.number(), Claim(lease.lease.secret()));
        self.call::<bool>(&RELEASE, &lease.namespace, &args).await?;
        Ok(Scope::Shared)
    }

    async fn keep_alive(&self, lease: LeaseRef) -> Result<(Micros, Scope)> {
        let now = self.clock.mono();
        if self.is_assured(now)
            && let Some(kept) = self.keep_held(&lease.namespace, lease.lease, now)
        {
            return kept.map(|ttl| (ttl, Scope::Shared));
        }
        let args = (lease.lease.number(), Claim(lease.lease.secret()));
        let ttl = match self.call(&KEEP, &lease.namespace, &args).await? {
            Kept::Kept(ttl) => ttl,
            Kept::Yours(number, record) => {
                let (ttl, kept) = (record.ttl, record.kept);
                let end = self.clock.mono() + Micros(ttl);
                let mut state = self.state.lock();
                state.host_lease(&lease.namespace, number, *record, end);
                state.renew_lease(&lease.namespace, number, end);
                let leases = &mut state.space(&lease.namespace).leases;
                if let Some(held) = leases.get_mut(&number) {
                    held.record.kept = kept;
                }
                drop(state);
                self.sooner.notify_one();
                ttl
            }
        };
        Ok((Micros(ttl), Scope::Shared))
    }

    async fn inspect(&self, namespace: Namespace, name: Name) -> Result<(LockState, Scope)> {
        let state = self.look(&namespace, &name, Waiters::Shown).await?;
        Ok((state, Scope::Shared))
    }

    async fn list(&self, list: ListLocks) -> Result<LockPage> {
        self.page(list).await
    }

    async fn watch(
        self: Arc<Self>,
        namespace: Namespace,
        name: Name,
    ) -> Result<Box<dyn LockWatch>> {
        Ok(Box::new(self.watch_lock(namespace, name).await?))
    }

    async fn force_release(&self, force: ForceRelease) -> Result<(usize, Scope)> {
        let (name, expected) = (force.name.as_str(), force.expected.get());
        let (reason, actor) = (&*force.reason, &*force.actor);
        let request = force.request_id.as_ref().map(|id| {
            let body = digest(&(name, expected, reason, actor));
            ("force", id.as_str(), body)
        });
        let args = (name, expected, reason, actor, Maybe(request));
        let ended = self.call(&FORCE, &force.namespace, &args).await?;
        Ok((ended, Scope::Shared))
    }

    async fn check_token(
        &self,
        namespace: Namespace,
        name: Name,
        token: Token,
    ) -> Result<TokenState> {
        self.token_state(&namespace, &name, token).await
    }

    async fn open_session(
        self: Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.open_new(open).await
    }

    async fn attach_session(
        self: Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.attach_to(&namespace, session).await
    }

    async fn keep_session(
        &self,
        namespace: Namespace,
        session: SessionKey,
    ) -> Result<(Micros, Scope)> {
        let ttl = self.keep(&namespace, session).await?;
        Ok((ttl, Scope::Shared))
    }

    async fn close_session(&self, namespace: Namespace, session: SessionKey) -> Result<usize> {
        self.close(&namespace, session).await
    }

    fn break_session(&self, namespace: &Namespace, session: SessionKey) {
        self.broken(namespace, session);
    }

    fn status(&self) -> LocksStatus {
        let counted = self.counted.lock();
        let mut status = LocksStatus {
            namespaces: counted.len(),
            ..LocksStatus::default()
        };
        for counts in counted.values() {
            status.locks += counts.locks;
            status.leases += counts.leases;
            status.sessions += counts.sessions;
            status.waiters += counts.waiters;
            status.request_ids += counts.request_ids;
        }
        let decided = &self.decided;
        status.granted = decided.granted.load(Ordering::Relaxed);
        status.held = decided.held.load(Ordering::Relaxed);
        status.timed_out = decided.timed_out.load(Ordering::Relaxed);
        status.expired = decided.expired.load(Ordering::Relaxed);
        status.forced = decided.forced.load(Ordering::Relaxed);
        status
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }
}

impl SharedLocks for RedisLocks {
    fn times_any_of(&self, namespace: &Namespace, locks: &LockSet) -> bool {
        let state = self.state.lock();
        let Some(space) = state.spaces.get(namespace) else {
            return false;
        };
        let wanted = |name: &str| locks.targets().iter().any(|it| it.name.as_str() == name);
        let mut held = space.leases.values().flat_map(|held| &held.record.locks);
        held.any(|(name, ..)| wanted(name))
    }

    fn times(&self, namespace: &Namespace, lease: LeaseId) -> bool {
        let state = self.state.lock();
        let space = state.spaces.get(namespace);
        space.is_some_and(|space| space.leases.contains_key(&lease.number()))
    }

    fn session_of(
        &self,
        namespace: &Namespace,
        session: SessionId,
    ) -> Option<(OpenSession, Vec<LeaseId>)> {
        let state = self.state.lock();
        let space = state.spaces.get(namespace)?;
        let hosted = space.sessions.get(&session.number())?;
        let record = &hosted.record;
        let open = OpenSession {
            namespace: namespace.clone(),
            ttl: Micros(record.ttl),
            owner: record.owner.as_str().into(),
            on_break: match record.on_break {
                0 => OnBreak::Keep,
                _ => OnBreak::Release,
            },
        };
        let leases = hosted.leases.iter().filter_map(|number| {
            let held = space.leases.get(number)?;
            Some(lease_id(*number, &held.record))
        });
        Some((open, leases.collect()))
    }
}

impl RedisLocks {
    /// Renews a lease that this daemon times; `None` where the store must be asked.
    fn keep_held(&self, namespace: &Namespace, id: LeaseId, now: Time) -> Option<Result<Micros>> {
        let mut state = self.state.lock();
        let held = state.spaces.get(namespace)?.leases.get(&id.number())?;
        if held.record.claim.0 != id.secret() {
            return Some(Err(LeaseId::unknown()));
        } else if held.record.session != 0 {
            let allowed = "is of a session, which keeps it alive";
            return Some(Err(Error::invalid("lease_id", allowed)));
        } else if held.ending || now >= held.deadline {
            return None;
        }
        let ttl = Micros(held.record.ttl);
        state.renew_lease(namespace, id.number(), now + ttl);
        state.space(namespace).renewed.insert(id.number());
        Some(Ok(ttl))
    }
}
