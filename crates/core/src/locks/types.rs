//! What goes through the locks port.

use super::ids::{LeaseId, SessionId, SessionKey, Token};
use crate::{Error, Micros, Name, Namespace, RequestId, Result, Scope};
use std::sync::Arc;

/// The most holders and waiters that a look at one lock shows.
pub const MAX_SHOWN: usize = 100;

/// How a lock is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// By one lease.
    #[default]
    Exclusive,
    /// By any number of leases, all of them shared.
    Shared,
}

impl LockMode {
    /// Whether two leases may hold one lock at a time.
    #[must_use]
    pub fn goes_with(self, other: Self) -> bool {
        self == Self::Shared && other == Self::Shared
    }
}

/// A lock that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockTarget {
    /// Its name.
    pub name: Name,
    /// How to hold it.
    pub mode: LockMode,
}

/// Locks of different names, in order of their names; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LockSet(Arc<[LockTarget]>);

impl LockSet {
    /// Checks and orders the locks of a request.
    pub fn new(mut targets: Vec<LockTarget>) -> Result<Self> {
        if targets.is_empty() {
            return Err(Error::invalid("locks", "must name a lock"));
        }
        for (index, target) in targets.iter().enumerate() {
            let former = targets[..index]
                .iter()
                .position(|it| it.name == target.name);
            if let Some(former) = former {
                return Err(Error::invalid(
                    format!("locks[{index}].name"),
                    format!("must not be that of locks[{former}]"),
                ));
            }
        }
        targets.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(targets.into()))
    }

    /// The locks, by name.
    #[must_use]
    pub fn targets(&self) -> &[LockTarget] {
        &self.0
    }
}

/// Who is to hold the locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A lease of its own.
    Lease {
        /// How long it lasts unless it is kept alive.
        ttl: Micros,
        /// Who the holder is, for people.
        owner: Arc<str>,
    },
    /// A session, at whose deadline the lease ends.
    Session(SessionKey),
}

/// Whether to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Answer at once.
    Try,
    /// Wait for at most so long.
    For(Micros),
}

/// What locks are for, which decides what becomes of a call while the store that daemons share is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LockPurpose {
    /// Two holders would do harm: nothing is granted without the store, unless the operator has said otherwise.
    #[default]
    Correctness,
    /// Two holders only cost work done twice: each daemon grants by itself without the store.
    Efficiency,
}

/// Takes locks, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireLocks {
    /// Where the locks live.
    pub namespace: Namespace,
    /// The locks.
    pub locks: LockSet,
    /// Who is to hold them.
    pub holder: Holder,
    /// What the holder wants others to know.
    pub value: Arc<[u8]>,
    /// Whether to wait.
    pub wait: Wait,
    /// What they are for.
    pub purpose: LockPurpose,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
}

/// How an acquire ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquiredLocks {
    /// The outcome.
    pub outcome: LockOutcome,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// How an acquire ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockOutcome {
    /// All locks are held.
    Granted(LockGrant),
    /// A try: somebody is in the way.
    Held {
        /// How long until the leases in the way end, unless they are kept alive.
        retry_after: Micros,
        /// The place in the longest line that a wait would have, from 1.
        position: u32,
    },
    /// A wait that is over.
    TimedOut {
        /// As for [`LockOutcome::Held`].
        retry_after: Micros,
        /// The place in the longest line that the call had, from 1.
        position: u32,
    },
    /// The repeat of a granted call whose lease has ended.
    Lost,
}

/// Locks that are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockGrant {
    /// Names the lease.
    pub lease: LeaseId,
    /// The locks, by name.
    pub locks: Arc<[GrantedLock]>,
    /// How long the lease lasts from now.
    pub remaining: Micros,
    /// The history that the lease belongs to.
    pub generation: u64,
}

/// One lock of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedLock {
    /// Its name.
    pub name: Name,
    /// How it is held.
    pub mode: LockMode,
    /// The fencing token.
    pub token: Token,
}

/// A lease that is named by its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRef {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// The lease.
    pub lease: LeaseId,
}

/// Takes a lock from its holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForceRelease {
    /// Where the lock lives.
    pub namespace: Namespace,
    /// The lock.
    pub name: Name,
    /// The token under which it must be held.
    pub expected: Token,
    /// Why.
    pub reason: Arc<str>,
    /// Who does it.
    pub actor: Arc<str>,
    /// The caller's name for this call.
    pub request_id: Option<RequestId>,
}

/// Whether a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenState {
    /// The token under which the lock is held; [`Token::NONE`] while it is free.
    pub held: Token,
    /// How long the longest lease under the token asked about lasts; `None` when it is not current.
    pub remaining: Option<Micros>,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// A lock as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockState {
    /// Its name.
    pub name: Name,
    /// Who holds it; at most [`MAX_SHOWN`].
    pub holders: Vec<LockHolder>,
    /// How many hold it.
    pub holder_count: usize,
    /// Who waits, first come first; at most [`MAX_SHOWN`], and none in lists and watches.
    pub waiters: Vec<LockWaiter>,
    /// How many wait.
    pub waiter_count: usize,
}

/// A lease that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its token for the lock.
    pub token: Token,
    /// How it holds.
    pub mode: LockMode,
    /// Who the holder is, for people.
    pub owner: Arc<str>,
    /// What the holder wants others to know.
    pub value: Arc<[u8]>,
    /// How long it has held the lock.
    pub held_for: Micros,
    /// How long its lease lasts unless it is kept alive.
    pub remaining: Micros,
}

/// A call that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockWaiter {
    /// How it wants to hold the lock.
    pub mode: LockMode,
    /// Who the caller is, for people.
    pub owner: Arc<str>,
    /// How long it has waited.
    pub waiting_for: Micros,
}

/// Asks for a page of locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListLocks {
    /// Where the locks live.
    pub namespace: Namespace,
    /// At most so many.
    pub page_size: usize,
    /// Only names after this one; `None` from the start.
    pub after: Option<Name>,
}

/// A page of locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockPage {
    /// By name, in byte order.
    pub locks: Vec<LockState>,
    /// There are more after the last one.
    pub more: bool,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// What a broken stream does to its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBreak {
    /// Its leases stay until its deadline.
    #[default]
    Keep,
    /// Its leases end at once.
    Release,
}

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Where its locks live.
    pub namespace: Namespace,
    /// How long it lasts after each keep-alive.
    pub ttl: Micros,
    /// Who the holder is, for people.
    pub owner: Arc<str>,
    /// What a broken stream does.
    pub on_break: OnBreak,
}

/// A session that a stream is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// The session and this attachment to it.
    pub key: SessionKey,
    /// Its TTL.
    pub ttl: Micros,
    /// How long it lasts from now.
    pub remaining: Micros,
    /// What it holds.
    pub held: Vec<HeldLease>,
    /// The history that it belongs to.
    pub generation: u64,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

impl SessionState {
    /// The session.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.key.id
    }
}

/// A lease of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// What is held.
    pub grant: LockGrant,
    /// The request id of the acquire that made it.
    pub request_id: Option<RequestId>,
}

/// What a session is told unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionNews {
    /// A lease has ended without the holder's doing.
    Lost {
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: LostReason,
    },
    /// The session is over for this attachment: nothing comes after this. Carries the error of later calls.
    Ended(Error),
}

/// Why a lease has ended without the holder's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// It was not kept alive in time.
    Expired,
    /// An operator ended it.
    Forced {
        /// Why.
        reason: Arc<str>,
        /// Who.
        actor: Arc<str>,
    },
    /// The store that daemons share does not have it: it lost it, or came back after it had been granted without it; and another has
    /// its locks by now, or may have.
    NotRestored,
}

impl LostReason {
    /// The reason in words.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Expired => "it was not kept alive in time".to_owned(),
            Self::Forced { reason, actor } => format!("ended by {actor}: {reason}"),
            Self::NotRestored => {
                "the shared store does not have it, and another may have its locks".to_owned()
            }
        }
    }
}

/// How much state locks keep, and what was decided since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocksStatus {
    /// Namespaces in use or remembered.
    pub namespaces: usize,
    /// Locks held or waited for.
    pub locks: usize,
    /// Leases that stand.
    pub leases: usize,
    /// Sessions that stand.
    pub sessions: usize,
    /// Calls waiting.
    pub waiters: usize,
    /// Request ids remembered.
    pub request_ids: usize,
    /// Acquires granted.
    pub granted: u64,
    /// Tries refused.
    pub held: u64,
    /// Acquires that waited in vain.
    pub timed_out: u64,
    /// Leases that were not kept alive.
    pub expired: u64,
    /// Leases that operators ended.
    pub forced: u64,
}

impl LocksStatus {
    /// Adds what was decided elsewhere.
    pub fn add_decisions(&mut self, more: &Self) {
        self.granted += more.granted;
        self.held += more.held;
        self.timed_out += more.timed_out;
        self.expired += more.expired;
        self.forced += more.forced;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> LockTarget {
        LockTarget {
            name: Name::new(name, "name").unwrap(),
            mode: LockMode::Exclusive,
        }
    }

    #[test]
    fn locks_are_ordered_by_name_and_named_once() {
        let set = LockSet::new(vec![target("b"), target("a")]).unwrap();
        assert_eq!(set.targets()[0].name.as_str(), "a");
        let twice = LockSet::new(vec![target("a"), target("b"), target("a")]).unwrap_err();
        assert_eq!(twice.violation.unwrap().field, "locks[2].name");
        let none = LockSet::new(Vec::new()).unwrap_err();
        assert_eq!(none.violation.unwrap().field, "locks");
    }
}
