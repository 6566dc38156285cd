//! [`LockGuard`]: locks that are held.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use trellis_proto::v1 as proto;

use super::clock::SessionClock;
use super::keeper::{Command, Mail, Owner};
use crate::convert;
use crate::error::{Error, Result};
use crate::scope::Scope;

/// Why locks are not held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// No renewal was acknowledged in time.
    Expired,
    /// An operator took them; in words who and why.
    Forced(String),
    /// The store that daemons share has lost them, or came back after they had been granted without it, and another may hold
    /// them.
    NotRestored,
}

/// One lock that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// Its name.
    pub name: String,
    /// Whether others may hold it at a time.
    pub shared: bool,
    /// The fencing token, to be given to the resource with every write.
    pub token: u64,
}

/// Locks that are held until the guard is released or dropped, or they are lost.
///
/// The guard is valid only up to its own deadline: the time at which the last renewal that the daemon has
/// acknowledged was sent, and the TTL from there, less 2 % for clocks that do not run alike. That lies before
/// the time at which the daemon lets anybody else in, and it counts the time for which a machine is suspended.
///
/// What no guard can do is stop a write that is under way when its time ends: give the
/// [`token`](Self::token) to the resource, which refuses lower ones.
#[must_use = "dropping a guard releases its locks"]
pub struct LockGuard {
    lease: String,
    locks: Vec<HeldLock>,
    generation: i64,
    scope: Scope,
    lost: watch::Receiver<Option<LostReason>>,
    clock: Arc<SessionClock>,
    owner: Arc<Owner>,
    open: bool,
}

impl LockGuard {
    pub(super) fn new(
        granted: proto::LockGranted,
        lost: watch::Receiver<Option<LostReason>>,
        clock: Arc<SessionClock>,
        owner: Arc<Owner>,
    ) -> Result<Self> {
        let scope = granted.scope.try_into()?;
        let grant = granted.grant.unwrap_or_default();
        let lease = grant.lease_id;
        let mut guard = Self {
            lease,
            locks: Vec::new(),
            generation: grant.generation,
            scope,
            lost,
            clock,
            owner,
            open: true,
        };
        for lock in grant.locks {
            let shared = match proto::LockMode::try_from(lock.mode) {
                Ok(proto::LockMode::Exclusive) => false,
                Ok(proto::LockMode::Shared) => true,
                _ => return Err(convert::unknown(lock.mode, "locks.mode")),
            };
            let token = u64::try_from(lock.token)
                .map_err(|_| Error::invalid_answer(format!("token {} is negative", lock.token)))?;
            guard.locks.push(HeldLock {
                name: lock.name,
                shared,
                token,
            });
        }
        Ok(guard)
    }

    /// The fencing token; of several locks the highest. Give each resource that of its own lock.
    #[must_use]
    pub fn token(&self) -> u64 {
        let tokens = self.locks.iter().map(|lock| lock.token);
        tokens.max().unwrap_or_default()
    }

    /// The locks, by name.
    #[must_use]
    pub fn locks(&self) -> &[HeldLock] {
        &self.locks
    }

    /// The history that the lease belongs to.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Which guarantee the grant carried: one that was given while the shared store was away keeps nobody out at other daemons.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether the locks are known to be held.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// How long the locks are known to be held without a further renewal; 0 once they are lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        if self.lost.borrow().is_some() {
            return Duration::ZERO;
        }
        self.clock.remaining()
    }

    /// Waits until the locks are lost, and tells why.
    pub async fn lost(&self) -> LostReason {
        let mut lost = self.lost.clone();
        loop {
            if let Some(reason) = lost.borrow_and_update().clone() {
                return reason;
            }
            tokio::select! {
                changed = lost.changed() => if changed.is_err() {
                    return LostReason::Expired;
                },
                () = self.clock.over() => return LostReason::Expired,
            }
        }
    }

    /// Releases the locks and waits until the next in line has them.
    ///
    /// Fails with [`ErrorReason::LeaseLost`](crate::ErrorReason::LeaseLost) when they were lost before, and with
    /// [`ErrorKind::Deadline`](crate::ErrorKind::Deadline) when no answer comes in time: they are then released as
    /// soon as the daemon can be reached, or end with their session.
    pub async fn release(mut self) -> Result<()> {
        self.open = false;
        let (reply, answer) = oneshot::channel();
        let lease = std::mem::take(&mut self.lease);
        self.mail().send(Command::Release {
            lease,
            reply: Some(reply),
        });
        match tokio::time::timeout(self.owner.timeout, answer).await {
            Ok(Ok(released)) => released,
            Ok(Err(_)) => Err(Error::outcome_unknown("the session has ended")),
            Err(_) => Err(Error::deadline_unsent(
                "the release was not answered in time",
            )),
        }
    }

    fn mail(&self) -> &Mail {
        &self.owner.mail
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if self.open {
            let lease = std::mem::take(&mut self.lease);
            self.mail().send(Command::Release { lease, reply: None });
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the lease's id: who knows it may end the lease.
        formatter
            .debug_struct("LockGuard")
            .field("locks", &self.locks)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}
