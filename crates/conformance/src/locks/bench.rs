//! What a case works with: the calls of the port.

use super::ask::Ask;
use super::session::TestSession;
use trellis_core::locks::{
    ForceRelease, LeaseId, LeaseRef, ListLocks, LockPage, LockState, LockWatch, Locks, OnBreak,
    OpenSession, SessionId, Token, TokenState,
};
use trellis_core::{ErrorCode, Micros, Name, RequestId, Result};

/// Longer than any case.
pub(super) const HOUR: Micros = Micros::from_secs(3600);
/// One second.
pub(super) const SECOND: Micros = Micros::from_secs(1);

pub(super) fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

pub(super) fn name(name: &str) -> Name {
    Name::new(name, "name").unwrap()
}

/// The code of the error that a call must end with.
#[track_caller]
pub(super) fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.unwrap_err().code
}

/// A namespace of the backend under test, and its time.
pub type Bench = crate::Bench<dyn Locks>;

impl Bench {
    /// Lets pass what `elapse_almost` left, and what an answer that time brings comes late.
    pub(super) async fn elapse_until_late(&self) {
        self.elapse_the_rest().await;
        self.elapse(self.tolerance()).await;
    }

    /// Asks for a lock: exclusive, for an hour, without waiting, unless more is said. `a*` is shared.
    pub(super) fn lock(&self, lock: &str) -> Ask {
        Ask::new(self, &[lock])
    }

    /// Asks for several locks.
    pub(super) fn all(&self, locks: &[&str]) -> Ask {
        Ask::new(self, locks)
    }

    fn lease(&self, lease: LeaseId) -> LeaseRef {
        let namespace = self.namespace.clone();
        LeaseRef { namespace, lease }
    }

    pub(super) async fn release(&self, lease: LeaseId) -> Result<()> {
        self.port().release(self.lease(lease)).await.map(drop)
    }

    pub(super) async fn keep_alive(&self, lease: LeaseId) -> Result<Micros> {
        let kept = self.port().keep_alive(self.lease(lease)).await;
        kept.map(|(remaining, _)| remaining)
    }

    pub(super) async fn inspect(&self, lock: &str) -> LockState {
        let locks = self.port();
        let inspected = locks.inspect(self.namespace.clone(), name(lock)).await;
        inspected.unwrap().0
    }

    /// A page of locks, from after a name.
    pub(super) async fn page(&self, page_size: usize, after: Option<&str>) -> LockPage {
        let list = ListLocks {
            namespace: self.namespace.clone(),
            page_size,
            after: after.map(name),
        };
        self.port().list(list).await.unwrap()
    }

    pub(super) async fn watch(&self, lock: &str) -> Result<Box<dyn LockWatch>> {
        self.port().watch(self.namespace.clone(), name(lock)).await
    }

    pub(super) async fn check(&self, lock: &str, token: Token) -> TokenState {
        let (locks, namespace) = (self.port(), self.namespace.clone());
        locks
            .check_token(namespace, name(lock), token)
            .await
            .unwrap()
    }

    /// Takes a lock from its holders by force.
    pub(super) async fn force(
        &self,
        lock: &str,
        expected: Token,
        id: Option<&str>,
    ) -> Result<usize> {
        let force = ForceRelease {
            namespace: self.namespace.clone(),
            name: name(lock),
            expected,
            reason: "it hangs".into(),
            actor: "ops".into(),
            request_id: id.map(|id| RequestId::new(id, "request_id").unwrap()),
        };
        self.port()
            .force_release(force)
            .await
            .map(|(count, _)| count)
    }

    /// A session that lasts so long.
    pub(super) async fn session(&self, ttl: Micros, on_break: OnBreak) -> Result<TestSession> {
        let open = OpenSession {
            namespace: self.namespace.clone(),
            ttl,
            owner: "session".into(),
            on_break,
        };
        let locks = self.port();
        let opened = locks.clone().open_session(open).await;
        opened.map(|(state, feed)| TestSession::new(self, locks, state, feed))
    }

    /// Attaches to a session.
    pub(super) async fn attach(&self, session: SessionId) -> Result<TestSession> {
        let locks = self.port();
        let attached = locks
            .clone()
            .attach_session(self.namespace.clone(), session)
            .await;
        attached.map(|(state, feed)| TestSession::new(self, locks, state, feed))
    }

    /// Waits until so many calls stand in the line of a lock.
    pub(super) async fn until_waiting(&self, lock: &str, count: usize) {
        self.until_lock(lock, |state| state.waiter_count == count)
            .await;
    }

    /// Waits until a lock is as it should be.
    pub(super) async fn until_lock(&self, lock: &str, holds: impl Fn(&LockState) -> bool) {
        self.until(async || self.inspect(lock).await, holds).await;
    }
}
