//! The locks port: shared while the store is there; granted here while it is not.

use super::waiting::FallbackWaiting;
use super::{FallbackLocks, Stands, is_away};
use async_trait::async_trait;
use std::sync::Arc;
use trellis_core::locks::{
    AcquireLocks, AcquiringLocks, ForceRelease, Holder, LeaseRef, ListLocks, LockPage, LockState,
    LockWatch, Locks, LocksStatus, OpenSession, SessionFeed, SessionId, SessionKey, SessionState,
    SharedLocks, Token, TokenState,
};
use trellis_core::{ErrorCode, Micros, Name, Namespace, Result, Scope};

#[async_trait]
impl Locks for FallbackLocks {
    fn acquire(self: Arc<Self>, acquire: AcquireLocks) -> AcquiringLocks {
        let opening = self.switch.opening();
        let carried = match acquire.holder {
            Holder::Session(key) => self.sessions.find(&acquire.namespace, key.id),
            Holder::Lease { .. } => None,
        };
        AcquiringLocks::Waiting(Box::new(FallbackWaiting {
            moved: carried.as_ref().map(|carried| carried.moved.subscribe()),
            locks: self,
            acquire,
            carried,
            there: None,
            inner: None,
            here: false,
            deadline: None,
            opening,
            queued: false,
        }))
    }

    async fn release(&self, lease: LeaseRef) -> Result<Scope> {
        match self.stands(&lease) {
            None => self.primary.release(lease).await,
            Some(Stands::There(shared)) => {
                let there = LeaseRef {
                    lease: shared,
                    ..lease.clone()
                };
                let released = self.primary.release(there).await;
                if !is_away(&released) {
                    self.forget(&lease);
                }
                released
            }
            Some(Stands::Lost) => Err(Self::lost()),
            Some(Stands::Here) => {
                let released = self.local.release(lease.clone()).await;
                self.forget(&lease);
                released.map(|_| self.switch.degraded_scope())
            }
        }
    }

    async fn keep_alive(&self, lease: LeaseRef) -> Result<(Micros, Scope)> {
        match self.stands(&lease) {
            None => self.primary.keep_alive(lease).await,
            Some(Stands::There(shared)) => {
                let there = LeaseRef {
                    lease: shared,
                    ..lease
                };
                self.primary.keep_alive(there).await
            }
            Some(Stands::Lost) => Err(Self::lost()),
            Some(Stands::Here) => {
                let kept = self.local.keep_alive(lease.clone()).await;
                let ended = |code| code == ErrorCode::LeaseLost || code == ErrorCode::LeaseNotFound;
                if kept.as_ref().is_err_and(|error| ended(error.code)) {
                    self.forget(&lease);
                }
                let (remaining, _) = kept?;
                Ok((remaining, self.switch.degraded_scope()))
            }
        }
    }

    async fn inspect(&self, namespace: Namespace, name: Name) -> Result<(LockState, Scope)> {
        if self.switch.is_open() {
            let (state, _) = (self.local.inspect(namespace.clone(), name.clone())).await?;
            if self.tells(state.holder_count + state.waiter_count > 0) {
                return Ok((state, self.switch.degraded_scope()));
            }
        }
        self.primary.inspect(namespace, name).await
    }

    async fn list(&self, list: ListLocks) -> Result<LockPage> {
        if self.switch.is_open() {
            let page = self.local.list(list.clone()).await?;
            if self.tells(!page.locks.is_empty()) {
                let scope = self.switch.degraded_scope();
                return Ok(LockPage { scope, ..page });
            }
        }
        self.primary.list(list).await
    }

    async fn watch(
        self: Arc<Self>,
        namespace: Namespace,
        name: Name,
    ) -> Result<Box<dyn LockWatch>> {
        let primary: Arc<dyn SharedLocks> = Arc::clone(&self.primary);
        primary.watch(namespace, name).await
    }

    async fn force_release(&self, force: ForceRelease) -> Result<(usize, Scope)> {
        if self.switch.is_open() {
            let ended = self.local.force_release(force.clone()).await;
            if self.tells(ended.is_ok()) {
                return ended.map(|(ended, _)| (ended, self.switch.degraded_scope()));
            }
        }
        self.primary.force_release(force).await
    }

    async fn check_token(
        &self,
        namespace: Namespace,
        name: Name,
        token: Token,
    ) -> Result<TokenState> {
        if self.switch.is_open() {
            let state = (self.local).check_token(namespace.clone(), name.clone(), token);
            let state = state.await?;
            if self.tells(state.remaining.is_some()) {
                let scope = self.switch.degraded_scope();
                return Ok(TokenState { scope, ..state });
            }
        }
        self.primary.check_token(namespace, name, token).await
    }

    async fn open_session(
        self: Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.open(open).await
    }

    async fn attach_session(
        self: Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.attach(namespace, session).await
    }

    async fn keep_session(
        &self,
        namespace: Namespace,
        session: SessionKey,
    ) -> Result<(Micros, Scope)> {
        match self.sessions.find(&namespace, session.id) {
            Some(carried) => self.keep(&namespace, &carried, session).await,
            None => self.primary.keep_session(namespace, session).await,
        }
    }

    async fn close_session(&self, namespace: Namespace, session: SessionKey) -> Result<usize> {
        match self.sessions.find(&namespace, session.id) {
            Some(carried) => self.close(namespace, &carried, session).await,
            None => self.primary.close_session(namespace, session).await,
        }
    }

    fn break_session(&self, namespace: &Namespace, session: SessionKey) {
        match self.sessions.find(namespace, session.id) {
            Some(carried) => self.broken(namespace, &carried, session),
            None => self.primary.break_session(namespace, session),
        }
    }

    fn status(&self) -> LocksStatus {
        let (mut status, here) = (self.primary.status(), self.local.status());
        status.leases += here.leases;
        status.waiters += here.waiters;
        status.add_decisions(&here);
        status
    }

    fn scope(&self) -> Scope {
        self.current_scope()
    }
}
