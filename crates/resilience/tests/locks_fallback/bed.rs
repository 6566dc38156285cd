//! A daemon before a store in this process that can be cut off.

use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trellis_conformance::{PausedClock, spawn};
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, AcquiringLocks, ForceRelease, Holder, LeaseId, LeaseRef,
    ListLocks, LockGrant, LockMode, LockOutcome, LockPage, LockPurpose, LockSet, LockState,
    LockTarget, LockWatch, Locks, LocksStatus, OnBreak, OpenSession, Progress, SessionFeed,
    SessionId, SessionKey, SessionState, SharedLocks, Token, TokenState, Wait, WaitingLocks,
};
use trellis_core::{
    Clock, Error, ErrorCode, Micros, Name, Namespace, Now, Result, Scope, StoreState, StoreView,
    Time,
};
use trellis_local::{MemoryLocks, MemoryLocksConfig};
use trellis_resilience::{FallbackLocks, LocksWhileAway};

pub const HOUR: Micros = Micros::from_secs(3_600);

/// A store in this process that can be cut off.
pub struct Store {
    pub locks: Arc<MemoryLocks>,
    pub up: watch::Sender<bool>,
    members: u64,
    /// The highest token that the daemon has seen of it.
    seen: Arc<AtomicU64>,
    /// How its sessions were opened, and what they were granted.
    sessions: Mutex<HashMap<SessionId, (OpenSession, Vec<LeaseId>)>>,
}

impl Store {
    fn note(&self, holder: &Holder, acquired: &AcquiredLocks) {
        if let LockOutcome::Granted(grant) = &acquired.outcome {
            let token = grant.locks.iter().map(|lock| lock.token.get()).max();
            self.seen
                .fetch_max(token.unwrap_or_default(), Ordering::Relaxed);
        }
        if let (Holder::Session(key), LockOutcome::Granted(grant)) = (holder, &acquired.outcome)
            && let Some((_, leases)) = self.sessions.lock().get_mut(&key.id)
        {
            leases.push(grant.lease);
        }
    }

    fn check(&self) -> Result<()> {
        if *self.up.borrow() {
            return Ok(());
        }
        Err(away())
    }
}

pub fn away() -> Error {
    Error::new(ErrorCode::StoreUnavailable, "cut off")
}

#[async_trait]
impl StoreView for Store {
    fn state(&self) -> StoreState {
        trellis_conformance::store_that_is(*self.up.borrow())
    }

    fn place(&self) -> Option<(u64, u64)> {
        Some((0, self.members))
    }

    fn acknowledged(&self) -> Option<Time> {
        None
    }

    fn set_apart(&self, _: bool) {}

    async fn until(&self, up: bool) {
        let mut state = self.up.subscribe();
        let _ = state.wait_for(|now| *now == up).await;
    }
}

/// A call of the store that fails when the store goes away.
pub struct StoreWaiting {
    inner: Box<dyn WaitingLocks>,
    up: watch::Receiver<bool>,
}

#[async_trait]
impl WaitingLocks for StoreWaiting {
    async fn next(&mut self) -> Progress {
        tokio::select! {
            biased;
            _ = self.up.wait_for(|up| !up) => Progress::Ended(Err(away())),
            progress = self.inner.next() => progress,
        }
    }
}

#[async_trait]
impl Locks for Store {
    fn acquire(self: Arc<Self>, acquire: AcquireLocks) -> AcquiringLocks {
        if let Err(error) = self.check() {
            return AcquiringLocks::Done(Err(error));
        }
        let holder = acquire.holder.clone();
        match self.locks.clone().acquire(acquire) {
            AcquiringLocks::Waiting(inner) => AcquiringLocks::Waiting(Box::new(StoreWaiting {
                inner,
                up: self.up.subscribe(),
            })),
            AcquiringLocks::Done(done) => {
                if let Ok(acquired) = &done {
                    self.note(&holder, acquired);
                }
                AcquiringLocks::Done(done)
            }
        }
    }

    async fn release(&self, lease: LeaseRef) -> Result<Scope> {
        self.check()?;
        self.locks.release(lease).await
    }

    async fn keep_alive(&self, lease: LeaseRef) -> Result<(Micros, Scope)> {
        self.check()?;
        self.locks.keep_alive(lease).await
    }

    async fn inspect(&self, namespace: Namespace, name: Name) -> Result<(LockState, Scope)> {
        self.check()?;
        self.locks.inspect(namespace, name).await
    }

    async fn list(&self, list: ListLocks) -> Result<LockPage> {
        self.check()?;
        self.locks.list(list).await
    }

    async fn watch(
        self: Arc<Self>,
        namespace: Namespace,
        name: Name,
    ) -> Result<Box<dyn LockWatch>> {
        self.locks.clone().watch(namespace, name).await
    }

    async fn force_release(&self, force: ForceRelease) -> Result<(usize, Scope)> {
        self.check()?;
        self.locks.force_release(force).await
    }

    async fn check_token(
        &self,
        namespace: Namespace,
        name: Name,
        token: Token,
    ) -> Result<TokenState> {
        self.check()?;
        self.locks.check_token(namespace, name, token).await
    }

    async fn open_session(
        self: Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.check()?;
        let (state, feed) = self.locks.clone().open_session(open.clone()).await?;
        self.sessions
            .lock()
            .insert(state.key.id, (open, Vec::new()));
        Ok((state, feed))
    }

    async fn attach_session(
        self: Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.check()?;
        self.locks.clone().attach_session(namespace, session).await
    }

    async fn keep_session(
        &self,
        namespace: Namespace,
        session: SessionKey,
    ) -> Result<(Micros, Scope)> {
        self.check()?;
        self.locks.keep_session(namespace, session).await
    }

    async fn close_session(&self, namespace: Namespace, session: SessionKey) -> Result<usize> {
        self.check()?;
        self.locks.close_session(namespace, session).await
    }

    fn break_session(&self, namespace: &Namespace, session: SessionKey) {
        self.locks.break_session(namespace, session);
    }

    fn status(&self) -> LocksStatus {
        self.locks.status()
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }
}

impl SharedLocks for Store {
    fn times_any_of(&self, _: &Namespace, locks: &LockSet) -> bool {
        // As if this daemon timed one lease of the store.
        let mut targets = locks.targets().iter();
        targets.any(|target| target.name.as_str() == "timed-here")
    }

    fn times(&self, _: &Namespace, _: LeaseId) -> bool {
        true
    }

    fn session_of(&self, _: &Namespace, session: SessionId) -> Option<(OpenSession, Vec<LeaseId>)> {
        self.sessions.lock().get(&session).cloned()
    }
}

/// Tokens below those of the store, and above those that it was seen to give.
pub struct Seen(PausedClock, Arc<AtomicU64>);

impl Clock for Seen {
    fn now(&self) -> Now {
        Now {
            wall: Time(self.1.load(Ordering::Relaxed) + 1),
            ..self.0.now()
        }
    }
}

/// A daemon before a store.
pub struct Bed {
    pub store: Arc<Store>,
    pub locks: Arc<FallbackLocks>,
}

pub fn memory(clock: Arc<dyn Clock>) -> Arc<MemoryLocks> {
    let locks = Arc::new(MemoryLocks::new(MemoryLocksConfig::default(), clock));
    let timers = locks.clone();
    spawn(async move { timers.run().await });
    locks
}

impl Bed {
    pub fn new(policy: LocksWhileAway, members: u64) -> Self {
        let (clock, seen) = (PausedClock::new(), Arc::new(AtomicU64::new(0)));
        let store = Arc::new(Store {
            locks: memory(Arc::new(clock)),
            up: watch::Sender::new(true),
            members,
            seen: Arc::clone(&seen),
            sessions: Mutex::default(),
        });
        let local = memory(Arc::new(Seen(clock, seen)));
        let (locks, task) =
            FallbackLocks::new(store.clone(), local, store.clone(), policy, Arc::new(clock));
        spawn(task.run(CancellationToken::new()));
        Self { store, locks }
    }

    pub fn is_up(&self, up: bool) {
        self.store.up.send_replace(up);
    }

    /// Waits until locks are shared again.
    pub async fn shared(&self) {
        while self.locks.scope() != Scope::Shared {
            sleep(Duration::from_millis(10)).await;
        }
        // What was granted meanwhile is taken to the store by then.
        sleep(Duration::from_millis(10)).await;
    }

    pub async fn ask(&self, lock: &str, wait: Wait) -> Result<AcquiredLocks> {
        let locks = self.locks.clone().acquire(acquire(lock, wait));
        locks.outcome().await
    }

    pub async fn granted(&self, lock: &str) -> (LockGrant, Scope) {
        granted(self.ask(lock, Wait::Try).await.unwrap())
    }

    pub async fn keep(&self, grant: &LockGrant) -> Result<Scope> {
        let kept = self.locks.keep_alive(lease(grant)).await;
        kept.map(|(_, scope)| scope)
    }
}

pub fn acquire(lock: &str, wait: Wait) -> AcquireLocks {
    let target = LockTarget {
        name: Name::new(lock, "name").unwrap(),
        mode: LockMode::Exclusive,
    };
    AcquireLocks {
        namespace: namespace(),
        locks: LockSet::new(vec![target]).unwrap(),
        holder: Holder::Lease {
            ttl: HOUR,
            owner: "".into(),
        },
        value: Vec::new().into(),
        wait,
        purpose: LockPurpose::default(),
        request_id: None,
    }
}

pub fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

pub fn granted(acquired: AcquiredLocks) -> (LockGrant, Scope) {
    match acquired.outcome {
        LockOutcome::Granted(grant) => (grant, acquired.scope),
        other => panic!("not granted: {other:?}"),
    }
}

pub fn lease(grant: &LockGrant) -> LeaseRef {
    LeaseRef {
        namespace: namespace(),
        lease: grant.lease,
    }
}

pub fn is_degraded(scope: &Scope) -> bool {
    matches!(scope, Scope::Degraded { .. })
}

pub fn for_efficiency(lock: &str, wait: Wait) -> AcquireLocks {
    AcquireLocks {
        purpose: LockPurpose::Efficiency,
        ..acquire(lock, wait)
    }
}

impl Bed {
    pub async fn open(&self) -> (SessionState, Box<dyn SessionFeed>) {
        let open = OpenSession {
            namespace: namespace(),
            ttl: TTL,
            owner: "".into(),
            on_break: OnBreak::Keep,
        };
        self.locks.clone().open_session(open).await.unwrap()
    }

    /// What a session is granted for efficiency.
    pub async fn granted_to(&self, session: &SessionState, lock: &str) -> (LockGrant, Scope) {
        granted(
            self.asked_by(session, lock, LockPurpose::Efficiency)
                .await
                .unwrap(),
        )
    }

    pub async fn asked_by(
        &self,
        session: &SessionState,
        lock: &str,
        purpose: LockPurpose,
    ) -> Result<AcquiredLocks> {
        let acquire = AcquireLocks {
            holder: Holder::Session(session.key),
            purpose,
            ..acquire(lock, Wait::Try)
        };
        self.locks.clone().acquire(acquire).outcome().await
    }

    pub async fn keep_session(&self, session: &SessionState) -> Result<Scope> {
        let kept = self.locks.keep_session(namespace(), session.key).await;
        kept.map(|(_, scope)| scope)
    }

    /// Who holds a lock in the store, by token.
    pub async fn held_there(&self, lock: &str) -> Option<Token> {
        let name = Name::new(lock, "name").unwrap();
        let (state, _) = self.store.locks.inspect(namespace(), name).await.unwrap();
        state.holders.first().map(|holder| holder.token)
    }
}

pub const TTL: Micros = Micros::from_secs(10);

/// Nothing is told by now.
pub async fn is_silent(feed: &mut Box<dyn SessionFeed>) -> bool {
    let told = tokio::time::timeout(Duration::from_millis(1), feed.next());
    told.await.is_err()
}
