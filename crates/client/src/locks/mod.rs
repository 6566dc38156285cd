//! [`Locks`]: work that only one may do at a time.

mod acquire;
mod clock;
mod election;
mod guard;
mod keeper;
mod link;
mod look;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use trellis_proto::v1 as proto;

use crate::background;
use crate::client::Shared;
use crate::convert;
use crate::error::Result;

pub use acquire::{Lock, Locked, Ran};
pub use election::{Election, Leader};
pub use guard::{HeldLock, LockGuard, LostReason};
pub use look::{LockHolder, LockState};

use clock::SessionClock;
use keeper::{Keeper, Mail, Owner};

/// How long a session lasts without a renewal, unless set otherwise. Renewals are sent every third of it.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// The id of a session's first request after `open`.
const FIRST_ID: u64 = 2;

/// The locks of one namespace. Clones share one session, in which all their guards live and are renewed together.
///
/// The session is opened by the first acquire. When its stream breaks it is attached again, on whatever daemon
/// the connection finds; guards stay valid meanwhile, up to their own deadline. It is closed, and everything
/// released, when the last clone and guard are gone.
#[derive(Clone, Debug)]
pub struct Locks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    namespace: Arc<str>,
    ttl: Duration,
    name: String,
    pipeline: String,
    session: Mutex<Option<Session>>,
    ids: AtomicU64,
}

/// The session of a handle.
#[derive(Clone, Debug)]
struct Session {
    owner: Arc<Owner>,
    clock: Arc<SessionClock>,
}

impl Locks {
    pub(crate) fn new(shared: Arc<Shared>, namespace: Arc<str>) -> Self {
        Self::of(Inner {
            shared,
            namespace,
            ttl: DEFAULT_TTL,
            name: String::new(),
            pipeline: String::new(),
            session: Mutex::new(None),
            ids: AtomicU64::new(FIRST_ID),
        })
    }

    fn of(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same, in a session of its own that is not open yet.
    fn apart(&self) -> Inner {
        let inner = &self.inner;
        Inner {
            shared: inner.shared.clone(),
            namespace: inner.namespace.clone(),
            ttl: inner.ttl,
            name: inner.name.clone(),
            pipeline: inner.pipeline.clone(),
            session: Mutex::new(None),
            ids: AtomicU64::new(FIRST_ID),
        }
    }

    /// The locks of another namespace, over the same connection, in a session of their own.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        Self::of(Inner {
            namespace: namespace.into(),
            ..self.apart()
        })
    }

    /// How long the locks stay held when this process dies or is cut off, 100 ms to 1 hour; default 30 s. In a
    /// session of its own.
    #[must_use]
    pub fn ttl(&self, ttl: Duration) -> Self {
        Self::of(Inner {
            ttl,
            ..self.apart()
        })
    }

    /// The step of a pipeline whose lock TTL they get, for example `vision_rag`; that wins over [`Locks::ttl`], which counts
    /// where the pipeline sets none. In a session of its own.
    #[must_use]
    pub fn pipeline(&self, step: impl Into<String>) -> Self {
        Self::of(Inner {
            pipeline: step.into(),
            ..self.apart()
        })
    }

    /// Who the holder is, for people who look; at most 256 bytes. In a session of its own.
    #[must_use]
    pub fn owner(&self, owner: impl Into<String>) -> Self {
        Self::of(Inner {
            name: owner.into(),
            ..self.apart()
        })
    }

    /// Starts to ask for a lock, exclusive unless [`Lock::shared`] is called.
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.clone(), name.into())
    }

    /// Runs `work` while the lock is held, and cancels it when the lock is lost: its future is dropped at its next
    /// `await`. Waits for the lock as [`Lock::acquire`] does.
    ///
    /// `work` that blocks its thread is not cancelled: it must look at [`LockGuard::is_valid`] itself.
    pub async fn with_lock<T>(
        &self,
        name: impl Into<String>,
        work: impl AsyncFnOnce(&LockGuard) -> T,
    ) -> Result<Ran<T>> {
        self.lock(name).run(work).await
    }

    /// An election: its leader is whoever holds the lock of that name.
    pub fn election(&self, name: impl Into<String>) -> Election {
        Election::new(self.clone(), name.into())
    }

    fn namespace_name(&self) -> String {
        self.inner.namespace.to_string()
    }

    fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// The session, which is opened by what is sent to it.
    fn session(&self) -> Result<Session> {
        let inner = &self.inner;
        let ttl = convert::to_proto(inner.ttl, "ttl")?;
        let mut session = inner.session.lock();
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let (mail, clock) = (Arc::new(Mail::default()), Arc::new(SessionClock::default()));
        let open = proto::LockSessionOpen {
            namespace: self.namespace_name(),
            ttl: Some(ttl),
            owner: inner.name.clone(),
            on_break: proto::OnBreak::Keep.into(),
            session_secret: String::new(),
            pipeline: inner.pipeline.clone(),
        };
        let keeper = Keeper::new(inner.shared.locks(), open, mail.clone(), clock.clone());
        background::spawn(keeper.run());
        let timeout = inner.shared.timeout(Duration::ZERO);
        let owner = Arc::new(Owner { mail, timeout });
        Ok(session.insert(Session { owner, clock }).clone())
    }

    fn id(&self) -> u64 {
        self.inner.ids.fetch_add(1, Ordering::Relaxed)
    }
}
