//! [`Lock`]: asking for locks.

use std::time::Duration;

use tokio::sync::oneshot;
use trellis_proto::v1 as proto;

use super::guard::{LockGuard, LostReason};
use super::keeper::{Command, Granted, Owner};
use super::{Locks, Session};
use crate::again::random_id;
use crate::convert;
use crate::error::{Error, Result};

/// How long an acquire waits, unless set otherwise.
const DEFAULT_WAIT: Duration = Duration::from_mins(1);

/// Locks being asked for. Made by [`Locks::lock`].
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock {
    locks: Locks,
    targets: Vec<proto::LockTarget>,
    value: Vec<u8>,
    max_wait: Duration,
    purpose: proto::LockPurpose,
}

/// How asking for locks ended.
#[derive(Debug)]
#[must_use = "only a granted guard allows the work"]
pub enum Locked {
    /// All of them are held.
    Granted(LockGuard),
    /// None is: somebody else holds or awaits one of them.
    Refused {
        /// How long until the leases in the way end, unless they are kept alive.
        retry_after: Duration,
        /// The place in line, from 1.
        position: u32,
    },
}

impl Locked {
    /// The guard, when the locks are held.
    #[must_use]
    pub fn granted(self) -> Option<LockGuard> {
        match self {
            Self::Granted(guard) => Some(guard),
            Self::Refused { .. } => None,
        }
    }
}

/// How work under a lock ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the work may not have been done"]
pub enum Ran<T> {
    /// It was done, and the lock was held all the time.
    Done(T),
    /// The lock was lost, and the work cancelled.
    Lost(LostReason),
    /// The lock was not granted in time; nothing was begun.
    Refused {
        /// As in [`Locked::Refused`].
        retry_after: Duration,
        /// As in [`Locked::Refused`].
        position: u32,
    },
}

impl Lock {
    pub(super) fn new(locks: Locks, name: String) -> Self {
        let new = Self {
            locks,
            targets: Vec::new(),
            value: Vec::new(),
            max_wait: DEFAULT_WAIT,
            purpose: proto::LockPurpose::Correctness,
        };
        new.and(name)
    }

    /// Together with another one: all or none. Their order does not matter.
    pub fn and(mut self, name: impl Into<String>) -> Self {
        self.targets.push(proto::LockTarget {
            name: name.into(),
            mode: proto::LockMode::Exclusive.into(),
        });
        self
    }

    /// Lets others hold the lock that was named last, if they share it too.
    pub fn shared(mut self) -> Self {
        if let Some(last) = self.targets.last_mut() {
            last.mode = proto::LockMode::Shared.into();
        }
        self
    }

    /// What others shall know of the holder; at most 4,096 bytes.
    pub fn value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = value.into();
        self
    }

    /// How long [`Lock::acquire`] waits; default 1 minute.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Says that two holders would only do some work twice. While the store that daemons share is away, the daemon then grants the
    /// locks by itself; without this it does so only where its operator has said that it is safe.
    pub fn efficiency(mut self) -> Self {
        self.purpose = proto::LockPurpose::Efficiency;
        self
    }

    /// Takes the locks now, or none.
    pub async fn try_acquire(&self) -> Result<Locked> {
        self.send(None).await
    }

    /// Waits for the locks in order of arrival. Dropping the future leaves the line.
    pub async fn acquire(&self) -> Result<Locked> {
        self.send(Some(self.max_wait)).await
    }

    /// See [`Locks::with_lock`].
    pub async fn run<T>(&self, work: impl AsyncFnOnce(&LockGuard) -> T) -> Result<Ran<T>> {
        let guard = match self.acquire().await? {
            Locked::Granted(guard) => guard,
            Locked::Refused {
                retry_after,
                position,
            } => {
                return Ok(Ran::Refused {
                    retry_after,
                    position,
                });
            }
        };
        let done = tokio::select! {
            biased;
            reason = guard.lost() => return Ok(Ran::Lost(reason)),
            done = work(&guard) => done,
        };
        if !guard.is_valid() {
            return Ok(Ran::Lost(guard.lost().await));
        }
        // What goes wrong now ends with the session.
        drop(guard);
        Ok(Ran::Done(done))
    }

    async fn send(&self, max_wait: Option<Duration>) -> Result<Locked> {
        let max_wait_out = max_wait.map(|wait| convert::to_proto(wait, "max_wait"));
        let request = proto::LockSessionAcquire {
            locks: self.targets.clone(),
            value: self.value.clone().into(),
            max_wait: max_wait_out.transpose()?,
            // So that it can be sent again on another stream.
            request_id: random_id(),
            purpose: self.purpose.into(),
        };
        let Session { owner, clock } = self.locks.session()?;
        let id = self.locks.id();
        let (reply, answer) = oneshot::channel();
        owner.mail.send(Command::Acquire { id, request, reply });
        let mut waiting = Waiting {
            id,
            owner: &owner,
            over: false,
        };
        let timeout = self.locks.shared().timeout(max_wait.unwrap_or_default());
        let answer = tokio::time::timeout(timeout, answer).await;
        let answer = answer.map_err(|_| Error::deadline_unsent("no answer before the deadline"))?;
        waiting.over = true;
        let answer = answer.map_err(|_| Error::outcome_unknown("the session has ended"))??;
        match answer {
            Granted::Grant(granted, lost) => {
                LockGuard::new(granted, lost, clock, owner.clone()).map(Locked::Granted)
            }
            Granted::Refused(refused) => {
                let retry_after = convert::optional_duration(refused.retry_after, "retry_after")?;
                Ok(Locked::Refused {
                    retry_after: retry_after.unwrap_or_default(),
                    position: u32::try_from(refused.position).unwrap_or(u32::MAX),
                })
            }
        }
    }
}

/// An acquire that is taken back when it is dropped before its answer.
struct Waiting<'a> {
    id: u64,
    owner: &'a Owner,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.owner.mail.send(Command::Cancel(self.id));
        }
    }
}
