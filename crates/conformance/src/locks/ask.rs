//! An acquire, step by step, so that a case reads like the sentence that names it.

use super::bench::{Bench, HOUR, name};
use super::session::TestSession;
use crate::spawn;
use std::sync::Arc;
use tokio::task::JoinHandle;
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, AcquiringLocks, Holder, LockGrant, LockMode, LockOutcome,
    LockPurpose, LockSet, LockTarget, Locks, Wait,
};
use trellis_core::{Micros, RequestId, Result};

/// The grant of an answer that must be one.
#[track_caller]
pub(super) fn grant(acquired: AcquiredLocks) -> LockGrant {
    match acquired.outcome {
        LockOutcome::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

/// An acquire that is not sent yet.
pub(super) struct Ask {
    locks: Arc<dyn Locks>,
    acquire: AcquireLocks,
}

impl Ask {
    pub(super) fn new(bench: &Bench, locks: &[&str]) -> Self {
        let targets = locks.iter().map(|text| LockTarget {
            name: name(text.trim_end_matches('*')),
            mode: if text.ends_with('*') {
                LockMode::Shared
            } else {
                LockMode::Exclusive
            },
        });
        let acquire = AcquireLocks {
            namespace: bench.namespace.clone(),
            locks: LockSet::new(targets.collect()).unwrap(),
            holder: Holder::Lease {
                ttl: HOUR,
                owner: "".into(),
            },
            value: Vec::new().into(),
            wait: Wait::Try,
            purpose: LockPurpose::default(),
            request_id: None,
        };
        Self {
            locks: bench.port(),
            acquire,
        }
    }

    /// How long the lease lasts.
    pub(super) fn ttl(mut self, ttl: Micros) -> Self {
        self.acquire.holder = Holder::Lease {
            ttl,
            owner: "".into(),
        };
        self
    }

    /// Who the holder is, of a lease of an hour.
    pub(super) fn owner(mut self, owner: &str) -> Self {
        self.acquire.holder = Holder::Lease {
            ttl: HOUR,
            owner: owner.into(),
        };
        self
    }

    pub(super) fn value(mut self, value: &[u8]) -> Self {
        self.acquire.value = value.into();
        self
    }

    pub(super) fn wait(mut self, max_wait: Micros) -> Self {
        self.acquire.wait = Wait::For(max_wait);
        self
    }

    /// Which two may hold if need be.
    pub(super) fn for_efficiency(mut self) -> Self {
        self.acquire.purpose = LockPurpose::Efficiency;
        self
    }

    pub(super) fn id(mut self, id: &str) -> Self {
        self.acquire.request_id = Some(RequestId::new(id, "request_id").unwrap());
        self
    }

    /// In a session, by the daemon that it is attached to.
    pub(super) fn of(mut self, session: &TestSession) -> Self {
        self.locks = session.locks.clone();
        self.acquire.holder = Holder::Session(session.state.key);
        self
    }

    pub(super) fn begin(self) -> AcquiringLocks {
        self.locks.acquire(self.acquire)
    }

    pub(super) async fn send(self) -> Result<AcquiredLocks> {
        self.begin().outcome().await
    }

    pub(super) async fn granted(self) -> LockGrant {
        grant(self.send().await.unwrap())
    }

    /// Must be refused at once; the time to retry and the place.
    pub(super) async fn held(self) -> (Micros, u32) {
        match self.send().await.unwrap().outcome {
            LockOutcome::Held {
                retry_after,
                position,
            } => (retry_after, position),
            other => panic!("not held: {other:?}"),
        }
    }

    /// Must wait in vain; the time to retry and the place.
    pub(super) async fn timed_out(self) -> (Micros, u32) {
        match self.send().await.unwrap().outcome {
            LockOutcome::TimedOut {
                retry_after,
                position,
            } => (retry_after, position),
            other => panic!("not timed out: {other:?}"),
        }
    }

    /// Lets it wait beside the case.
    pub(super) fn start(self) -> Waiting {
        Waiting(spawn(self.send()))
    }
}

/// An acquire that waits beside the case.
pub(super) struct Waiting(JoinHandle<Result<AcquiredLocks>>);

impl Waiting {
    pub(super) async fn ended(self) -> Result<AcquiredLocks> {
        self.0.await.unwrap()
    }

    pub(super) async fn granted(self) -> LockGrant {
        grant(self.ended().await.unwrap())
    }

    /// Forgets it, whether it has ended or not.
    pub(super) fn abandon(self) {
        self.0.abort();
    }

    /// Takes it back, and waits until that is done on this side.
    pub(super) async fn cancel(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled());
    }
}
