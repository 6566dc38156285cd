//! Locks: the port that every backend implements, and the pure machine that decides in memory.
//!
//! - [`Locks`]: the port.
//! - [`AcquireLocks`], [`AcquiredLocks`] and their kin: what goes through it.
//! - [`LeaseId`], [`SessionId`], [`Token`]: names of what is held.
//! - [`Machine`]: all locks of one namespace, decided without I/O.

mod ids;
mod machine;
mod port;
mod types;

pub use ids::{LeaseId, MAX_TOKEN, SessionId, SessionKey, Token};
pub use machine::{Answer, Effects, Machine, MachineConfig, Start, Step, Ticket};
pub use port::{
    AcquiringLocks, LockWatch, Locks, Progress, SessionFeed, SharedLocks, WaitingLocks,
};
pub use types::{
    AcquireLocks, AcquiredLocks, ForceRelease, GrantedLock, HeldLease, Holder, LeaseRef, ListLocks,
    LockGrant, LockHolder, LockMode, LockOutcome, LockPage, LockPurpose, LockSet, LockState,
    LockTarget, LockWaiter, LocksStatus, LostReason, MAX_SHOWN, OnBreak, OpenSession, SessionNews,
    SessionState, TokenState, Wait,
};
