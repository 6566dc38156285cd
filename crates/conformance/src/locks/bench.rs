//! What a case works with: the backend's handles by turns, a namespace, and time.

use super::Subject;
use super::ask::Ask;
use super::session::TestSession;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::Instant;
use trellis_core::locks::{
    ForceRelease, LeaseId, LeaseRef, ListLocks, LockPage, LockState, LockWatch, Locks, OnBreak,
    OpenSession, SessionId, Token, TokenState,
};
use trellis_core::{ErrorCode, Micros, Name, Namespace, RequestId, Result};

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
#[derive(Clone, Debug)]
pub struct Bench {
    subject: Arc<Subject>,
    pub(super) namespace: Namespace,
    turn: Arc<AtomicUsize>,
}

impl Bench {
    /// A bench over a backend.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self {
            namespace: subject.namespace.clone(),
            subject: Arc::new(subject),
            turn: Arc::default(),
        }
    }

    /// The same backend, another namespace.
    pub(super) fn beside(&self, suffix: &str) -> Self {
        let namespace = format!("{}-{suffix}", self.namespace);
        Self {
            namespace: Namespace::new(namespace, "namespace").unwrap(),
            ..self.clone()
        }
    }

    /// The handle whose turn it is.
    pub(super) fn locks(&self) -> Arc<dyn Locks> {
        let handles = &self.subject.handles;
        handles[self.turn.fetch_add(1, Ordering::Relaxed) % handles.len()].clone()
    }

    // Time.

    pub(super) async fn elapse(&self, span: Micros) {
        self.subject.pace.elapse(span).await;
    }

    /// Lets a span pass up to where the backend can still tell that it is not over.
    pub(super) async fn elapse_almost(&self, span: Micros) {
        self.elapse(Micros(span.0 - self.shy().0)).await;
    }

    /// Lets pass what [`Bench::elapse_almost`] left, and what an answer that time brings comes late.
    pub(super) async fn elapse_the_rest(&self) {
        self.elapse(self.shy()).await;
        self.elapse(self.subject.pace.tolerance()).await;
    }

    fn shy(&self) -> Micros {
        self.subject.pace.skew().max(Micros::TICK)
    }

    /// Asserts that something brought by time came when it was due.
    #[track_caller]
    pub(super) fn assert_took(&self, since: Instant, expected: Micros) {
        let took = Micros::from(since.elapsed());
        let early = Micros(expected.0.saturating_sub(self.subject.pace.skew().0));
        let late = Micros(expected.0 + self.subject.pace.tolerance().0);
        assert!(
            (early..=late).contains(&took),
            "came after {took:?}, due at {expected:?}"
        );
    }

    /// Asserts that a span told is the expected one, less what the answer came late.
    #[track_caller]
    pub(super) fn assert_left(&self, told: Micros, expected: Micros) {
        let least = expected.0.saturating_sub(self.subject.pace.tolerance().0);
        let most = expected.0 + self.subject.pace.skew().0;
        assert!(
            (least..=most).contains(&told.0),
            "told {told:?}, expected {expected:?}"
        );
    }

    // Calls.

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
        self.locks().release(self.lease(lease)).await.map(drop)
    }

    pub(super) async fn keep_alive(&self, lease: LeaseId) -> Result<Micros> {
        let kept = self.locks().keep_alive(self.lease(lease)).await;
        kept.map(|(remaining, _)| remaining)
    }

    pub(super) async fn inspect(&self, lock: &str) -> LockState {
        let locks = self.locks();
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
        self.locks().list(list).await.unwrap()
    }

    pub(super) async fn watch(&self, lock: &str) -> Result<Box<dyn LockWatch>> {
        self.locks().watch(self.namespace.clone(), name(lock)).await
    }

    pub(super) async fn check(&self, lock: &str, token: Token) -> TokenState {
        let (locks, namespace) = (self.locks(), self.namespace.clone());
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
        self.locks()
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
        let locks = self.locks();
        let opened = locks.clone().open_session(open).await;
        opened.map(|(state, feed)| TestSession::new(self, locks, state, feed))
    }

    /// Attaches to a session.
    pub(super) async fn attach(&self, session: SessionId) -> Result<TestSession> {
        let locks = self.locks();
        let attached = locks
            .clone()
            .attach_session(self.namespace.clone(), session)
            .await;
        attached.map(|(state, feed)| TestSession::new(self, locks, state, feed))
    }

    /// Waits until so many calls stand in the line of a lock.
    pub(super) async fn until_waiting(&self, lock: &str, count: usize) {
        self.until(lock, |state| state.waiter_count == count).await;
    }

    /// Waits until a lock is as it should be.
    pub(super) async fn until(&self, lock: &str, holds: impl Fn(&LockState) -> bool) {
        let mut state = self.inspect(lock).await;
        for _ in 0..100_000 {
            if holds(&state) {
                return;
            }
            tokio::task::yield_now().await;
            state = self.inspect(lock).await;
        }
        panic!("{state:?}");
    }
}
