//! A store that comes and goes, and what its daemon grants meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is test code, which clippy recognizes in test functions only"
)]

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trellis_conformance::{PausedClock, spawn};
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, AcquiringLocks, ForceRelease, Holder, LeaseRef, ListLocks,
    LockGrant, LockMode, LockOutcome, LockPage, LockPurpose, LockSet, LockState, LockTarget,
    LockWatch, Locks, LocksStatus, OpenSession, Progress, SessionFeed, SessionId, SessionKey,
    SessionState, SharedLocks, Token, TokenState, Wait, WaitingLocks,
};
use trellis_core::{
    Clock, Error, ErrorCode, Micros, Name, Namespace, Now, Result, Scope, StoreState, StoreView,
    Time,
};
use trellis_local::{MemoryLocks, MemoryLocksConfig};
use trellis_resilience::{FallbackLocks, LocksWhileAway};

const HOUR: Micros = Micros::from_secs(3_600);

/// A store in this process that can be cut off.
struct Store {
    locks: Arc<MemoryLocks>,
    up: watch::Sender<bool>,
    members: u64,
}

impl Store {
    fn check(&self) -> Result<()> {
        if *self.up.borrow() {
            return Ok(());
        }
        Err(away())
    }
}

fn away() -> Error {
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
struct StoreWaiting {
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
        match self.locks.clone().acquire(acquire) {
            AcquiringLocks::Waiting(inner) => AcquiringLocks::Waiting(Box::new(StoreWaiting {
                inner,
                up: self.up.subscribe(),
            })),
            done @ AcquiringLocks::Done(_) => done,
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
        self.locks.clone().open_session(open).await
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
}

/// Tokens below those of the store, and above those that it was seen to give.
struct Seen(PausedClock);

impl Clock for Seen {
    fn now(&self) -> Now {
        Now {
            wall: Time(1_000),
            ..self.0.now()
        }
    }
}

/// A daemon before a store.
struct Bed {
    store: Arc<Store>,
    locks: Arc<FallbackLocks>,
}

fn memory(clock: Arc<dyn Clock>) -> Arc<MemoryLocks> {
    let locks = Arc::new(MemoryLocks::new(MemoryLocksConfig::default(), clock));
    let timers = locks.clone();
    spawn(async move { timers.run().await });
    locks
}

impl Bed {
    fn new(policy: LocksWhileAway, members: u64) -> Self {
        let clock = PausedClock::new();
        let store = Arc::new(Store {
            locks: memory(Arc::new(clock)),
            up: watch::Sender::new(true),
            members,
        });
        let local = memory(Arc::new(Seen(clock)));
        let (locks, task) =
            FallbackLocks::new(store.clone(), local, store.clone(), policy, Arc::new(clock));
        spawn(task.run(CancellationToken::new()));
        Self { store, locks }
    }

    fn is_up(&self, up: bool) {
        self.store.up.send_replace(up);
    }

    /// Waits until locks are shared again.
    async fn shared(&self) {
        while self.locks.scope() != Scope::Shared {
            sleep(Duration::from_millis(10)).await;
        }
        // What was granted meanwhile is taken to the store by then.
        sleep(Duration::from_millis(10)).await;
    }

    async fn ask(&self, lock: &str, wait: Wait) -> Result<AcquiredLocks> {
        let locks = self.locks.clone().acquire(acquire(lock, wait));
        locks.outcome().await
    }

    async fn granted(&self, lock: &str) -> (LockGrant, Scope) {
        granted(self.ask(lock, Wait::Try).await.unwrap())
    }

    async fn keep(&self, grant: &LockGrant) -> Result<Scope> {
        let kept = self.locks.keep_alive(lease(grant)).await;
        kept.map(|(_, scope)| scope)
    }
}

fn acquire(lock: &str, wait: Wait) -> AcquireLocks {
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

fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

fn granted(acquired: AcquiredLocks) -> (LockGrant, Scope) {
    match acquired.outcome {
        LockOutcome::Granted(grant) => (grant, acquired.scope),
        other => panic!("not granted: {other:?}"),
    }
}

fn lease(grant: &LockGrant) -> LeaseRef {
    LeaseRef {
        namespace: namespace(),
        lease: grant.lease,
    }
}

fn is_degraded(scope: &Scope) -> bool {
    matches!(scope, Scope::Degraded { .. })
}

#[tokio::test(start_paused = true)]
async fn what_is_granted_without_the_store_says_so_and_has_a_lower_token_than_what_comes_after() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    bed.is_up(false);
    let (alone, scope) = bed.granted("x").await;
    assert!(is_degraded(&scope), "{scope:?}");
    bed.locks.release(lease(&alone)).await.unwrap();
    bed.is_up(true);
    bed.shared().await;
    let (shared, _) = bed.granted("x").await;
    assert!(shared.locks[0].token > alone.locks[0].token);
}

#[tokio::test(start_paused = true)]
async fn a_lease_granted_without_the_store_goes_on_in_it_when_its_lock_is_free() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    bed.is_up(false);
    let (alone, _) = bed.granted("x").await;
    assert!(is_degraded(&bed.keep(&alone).await.unwrap()));
    bed.is_up(true);
    bed.shared().await;
    let others = bed.store.clone().acquire(acquire("x", Wait::Try));
    let others = others.outcome().await.unwrap().outcome;
    assert!(matches!(others, LockOutcome::Held { .. }), "{others:?}");
    bed.keep(&alone).await.unwrap();
    bed.locks.release(lease(&alone)).await.unwrap();
    bed.granted("x").await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_granted_without_the_store_is_lost_when_another_holds_its_lock() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    let others = bed.store.locks.clone().acquire(acquire("x", Wait::Try));
    granted(others.outcome().await.unwrap());
    bed.is_up(false);
    let (alone, _) = bed.granted("x").await;
    bed.is_up(true);
    bed.shared().await;
    let lost = bed.keep(&alone).await.unwrap_err();
    assert_eq!(lost.code, ErrorCode::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_given_to_this_daemon_is_not_granted_without_it() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    bed.is_up(false);
    let error = bed.ask("timed-here", Wait::Try).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_sole_daemon_grants_alone_and_one_of_many_does_not() {
    let sole = Bed::new(LocksWhileAway::SoleDaemon, 1);
    sole.is_up(false);
    sole.granted("x").await;
    let one_of_many = Bed::new(LocksWhileAway::SoleDaemon, 2);
    one_of_many.is_up(false);
    let error = one_of_many.ask("x", Wait::Try).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
}

fn for_efficiency(lock: &str, wait: Wait) -> AcquireLocks {
    AcquireLocks {
        purpose: LockPurpose::Efficiency,
        ..acquire(lock, wait)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_for_efficiency_is_granted_without_the_store_whatever_the_policy() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    bed.is_up(false);
    let asked = bed.locks.clone().acquire(for_efficiency("x", Wait::Try));
    let (alone, scope) = granted(asked.outcome().await.unwrap());
    assert!(is_degraded(&scope), "{scope:?}");
    // What is for correctness is not, be the lock free here or not.
    for lock in ["x", "y"] {
        let error = bed.ask(lock, Wait::Try).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StoreUnavailable);
    }
    bed.is_up(true);
    bed.shared().await;
    let others = bed.ask("x", Wait::Try).await.unwrap().outcome;
    assert!(matches!(others, LockOutcome::Held { .. }), "{others:?}");
    bed.locks.release(lease(&alone)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_for_efficiency_that_waits_moves_over_and_one_for_correctness_waits_on() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    let others = bed.store.locks.clone().acquire(acquire("x", Wait::Try));
    granted(others.outcome().await.unwrap());
    let waits = |acquire: AcquireLocks| {
        let locks = bed.locks.clone();
        spawn(async move { locks.acquire(acquire).outcome().await })
    };
    let correct = waits(acquire("x", Wait::For(HOUR)));
    let efficient = waits(for_efficiency("x", Wait::For(HOUR)));
    while bed.store.locks.status().waiters < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    bed.is_up(false);
    let (_, scope) = granted(efficient.await.unwrap().unwrap());
    assert!(is_degraded(&scope));
    let error = correct.await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn looks_tell_without_the_store_what_is_held_here_and_else_that_nobody_knows() {
    let bed = Bed::new(LocksWhileAway::Fail, 3);
    let before = bed.ask("y", Wait::Try).await.unwrap();
    let (before, _) = granted(before);
    bed.is_up(false);
    let asked = bed.locks.clone().acquire(for_efficiency("x", Wait::Try));
    let (alone, _) = granted(asked.outcome().await.unwrap());
    let name = |lock: &str| Name::new(lock, "name").unwrap();
    let (state, scope) = bed.locks.inspect(namespace(), name("x")).await.unwrap();
    assert!(state.holder_count == 1 && is_degraded(&scope));
    let unknown = bed.locks.inspect(namespace(), name("y")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::StoreUnavailable);
    let here = bed
        .locks
        .check_token(namespace(), name("x"), alone.locks[0].token);
    assert!(here.await.unwrap().remaining.is_some());
    let there = bed
        .locks
        .check_token(namespace(), name("y"), before.locks[0].token);
    assert_eq!(there.await.unwrap_err().code, ErrorCode::StoreUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_moves_over_when_the_store_goes_away() {
    let bed = Bed::new(LocksWhileAway::Local, 3);
    let others = bed.store.locks.clone().acquire(acquire("x", Wait::Try));
    granted(others.outcome().await.unwrap());
    let locks = bed.locks.clone();
    let waits = spawn(async move {
        let waiting = locks.acquire(acquire("x", Wait::For(HOUR)));
        waiting.outcome().await
    });
    while bed.store.locks.status().waiters == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    bed.is_up(false);
    let (_, scope) = granted(waits.await.unwrap().unwrap());
    assert!(is_degraded(&scope));
    // Nothing of it is left in the store.
    assert_eq!(bed.store.locks.status().waiters, 0);
}
