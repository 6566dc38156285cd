//! The locks port: what every backend does, and what a caller may rely on.

use super::ids::{LeaseId, SessionId, SessionKey, Token};
use super::types::{
    AcquireLocks, AcquiredLocks, ForceRelease, LeaseRef, ListLocks, LockPage, LockSet, LockState,
    LocksStatus, OpenSession, SessionNews, SessionState, TokenState,
};
use crate::{Micros, Name, Namespace, Result, Scope};
use async_trait::async_trait;
use std::sync::Arc;

/// An acquire under way. Dropping it takes it back.
#[must_use = "dropping it takes the acquire back"]
pub enum AcquiringLocks {
    /// Decided.
    Done(Result<AcquiredLocks>),
    /// Not yet; a backend across a network may not even have begun before it is polled.
    Waiting(Box<dyn WaitingLocks>),
}

impl AcquiringLocks {
    /// Waits for the end.
    pub async fn outcome(self) -> Result<AcquiredLocks> {
        match self {
            Self::Done(result) => result,
            Self::Waiting(mut waiting) => loop {
                if let Progress::Ended(result) = waiting.next().await {
                    return result;
                }
            },
        }
    }
}

/// News of an acquire that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its place in the longest of its lines, from 1.
    Queued(u32),
    /// Its end; nothing comes after it.
    Ended(Result<AcquiredLocks>),
}

/// An acquire that waits. Dropping it before its end takes it back: it leaves the line, or what it was
/// granted meanwhile is given back, or ends with its lease.
#[async_trait]
pub trait WaitingLocks: Send {
    /// The next news. Cancel-safe: a call that is dropped loses none. Places come once at the beginning and then
    /// only to acquires of sessions, as they change, at most once in the backend's period.
    async fn next(&mut self) -> Progress;
}

/// What a session is told unasked.
#[async_trait]
pub trait SessionFeed: Send {
    /// The next news, in order; waits for it. Cancel-safe. After [`SessionNews::Ended`] it waits for ever.
    async fn next(&mut self) -> SessionNews;
}

/// A lock and its changes.
#[async_trait]
pub trait LockWatch: Send {
    /// The state now, the first time; later the state after the next change of holders. States between two
    /// calls are passed over, the last one never. Cancel-safe.
    async fn next(&mut self) -> Result<(LockState, Scope)>;
}

/// Locks, shared by all who call the same backend.
///
/// The state of a namespace changes in one total order; each method below takes effect at one point of it,
/// between its call and its return. A backend that several daemons share keeps the same order for all of them.
///
/// **Exclusion.** At any point of that order a lock is held by at most one lease, or by shared ones only.
/// A lease stands from its grant until it is released, taken by force, or its deadline has passed; its holder's
/// own deadline, counted from when it sent the last renewal that was acknowledged, lies before that.
///
/// **Order.** A waiting acquire is granted when nobody in the way holds any of its locks and no earlier
/// waiting acquire wants one of them in a mode that does not go with its own. A try passes nobody.
///
/// **Tokens.** A grant of a lock that was free has a higher token than every grant before it in the
/// namespace, whatever was lost meanwhile, within the limits that the backend states. Whoever joins a shared hold
/// gets the token of that hold.
///
/// **Repeats.** An acquire or force release with a `request_id` that was answered within the window gives the
/// first answer again and changes nothing; a grant that stands no more is `Lost`. Errors are not remembered. A
/// release that is repeated within the window succeeds again.
///
/// **Cancellation.** Dropping the future of a call that has not returned leaves no trace, except where
/// a method says that a change may stand. A method never returns before its change stands.
///
/// **Errors.** Besides those named: any bound reached is its own `TooMany…` error and changes nothing.
#[async_trait]
pub trait Locks: Send + Sync {
    /// Takes all locks or none.
    ///
    /// Takes effect when it is granted. Errors: `RequestIdReused`; of a session that has ended `LeaseNotFound`
    /// or `LeaseLost`.
    fn acquire(self: Arc<Self>, acquire: AcquireLocks) -> AcquiringLocks;

    /// Ends a lease and hands its locks on. Idempotent within the window. Once begun it may stand
    /// although the call was dropped. Errors: `LeaseNotFound`, `LeaseLost`.
    async fn release(&self, lease: LeaseRef) -> Result<Scope>;

    /// Makes a lease last its TTL from now, and tells how long that is. Idempotent.
    /// Errors: `LeaseNotFound`, `LeaseLost`; `InvalidField` for a lease of a session.
    async fn keep_alive(&self, lease: LeaseRef) -> Result<(Micros, Scope)>;

    /// Who holds a lock and who waits for it.
    async fn inspect(&self, namespace: Namespace, name: Name) -> Result<(LockState, Scope)>;

    /// Locks that are held or waited for, by name. Each page is one moment; names in use all the time appear
    /// exactly once.
    async fn list(&self, list: ListLocks) -> Result<LockPage>;

    /// Watches a lock until the watch is dropped.
    async fn watch(self: Arc<Self>, namespace: Namespace, name: Name)
    -> Result<Box<dyn LockWatch>>;

    /// Ends the leases that hold a lock under the expected token, tells their sessions, and returns how many.
    /// Errors: `TokenMismatch`.
    async fn force_release(&self, force: ForceRelease) -> Result<(usize, Scope)>;

    /// Whether a token is that under which a lock is held.
    async fn check_token(
        &self,
        namespace: Namespace,
        name: Name,
        token: Token,
    ) -> Result<TokenState>;

    /// Opens a session, attached to the caller. Dropping the feed changes nothing: see
    /// [`Locks::break_session`].
    async fn open_session(
        self: Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)>;

    /// Attaches to a session and makes it last its TTL from now. The attachment before ends: its key is
    /// void, its acquires that wait fail with `LeaseLost`, and so does its feed.
    /// Errors: `LeaseNotFound`, `LeaseLost`.
    async fn attach_session(
        self: Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)>;

    /// Makes a session and its leases last its TTL from now, and tells how long that is. Idempotent.
    /// Errors: `LeaseNotFound`, `LeaseLost`.
    async fn keep_session(
        &self,
        namespace: Namespace,
        session: SessionKey,
    ) -> Result<(Micros, Scope)>;

    /// Ends a session, its leases and its acquires that wait; tells how many leases. Once begun it may
    /// stand although the call was dropped. Errors: `LeaseNotFound`, `LeaseLost`.
    async fn close_session(&self, namespace: Namespace, session: SessionKey) -> Result<usize>;

    /// The stream of an attachment broke: its acquires that wait end, and its leases stay until the session's
    /// deadline, or end, as the session says. Never waits; does nothing when the key is void.
    fn break_session(&self, namespace: &Namespace, session: SessionKey);

    /// How much state is kept, as far as this daemon knows. Changes nothing, never fails, never waits.
    fn status(&self) -> LocksStatus;

    /// The guarantee that answers carry now. Never waits.
    fn scope(&self) -> Scope;
}

/// Locks that many daemons share, as a fallback that stands before them sees them.
pub trait SharedLocks: Locks {
    /// Whether a lease that this daemon times holds one of these locks, whether the store is there or not. Never
    /// waits.
    fn times_any_of(&self, namespace: &Namespace, locks: &LockSet) -> bool;

    /// Whether this daemon times a lease. Never waits.
    fn times(&self, namespace: &Namespace, lease: LeaseId) -> bool;

    /// How a session was opened that this daemon times, and the leases that it holds. Never waits.
    fn session_of(
        &self,
        namespace: &Namespace,
        session: SessionId,
    ) -> Option<(OpenSession, Vec<LeaseId>)>;
}
