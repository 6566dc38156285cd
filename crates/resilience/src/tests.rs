//! A store that comes and goes, and what its daemons admit meanwhile.

use crate::{FallbackLimits, FallbackPolicy, Level};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trellis_conformance::limits::{Settings, Subject};
use trellis_conformance::{Pace, PausedClock, spawn};
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, Charge, DeleteLimit,
    ExtendReservation, FairShare, LimitPage, LimitSpec, LimitState, Limits, LimitsStatus,
    ListBuckets, ListLimits, Mode, Outcome, Priority, Reconcile, ReportThrottled, ResetLimit,
    SetLimit, Settle, Settled, Spent, Usage, WindowSpec,
};
use trellis_core::{
    Clock, Error, ErrorCode, Key, Micros, Name, Namespace, Result, Scope, StoreState, StoreView,
    Time,
};
use trellis_local::{MemoryLimits, MemoryLimitsConfig};

/// A store in this process that can be cut off.
struct Store {
    limits: Arc<MemoryLimits>,
    clock: Arc<dyn Clock>,
    up: watch::Sender<bool>,
    place: Mutex<Option<(u64, u64)>>,
    acknowledged: Mutex<Option<Time>>,
    merged: Mutex<Vec<(String, Vec<Spent>)>>,
    /// Whether the others were told that this daemon spends its share.
    apart: Mutex<bool>,
    /// Merges that fail although they are carried out.
    lose_answers: Mutex<usize>,
}

impl Store {
    fn check(&self) -> Result<()> {
        if *self.up.borrow() {
            return Ok(());
        }
        Err(Error::new(ErrorCode::StoreUnavailable, "cut off"))
    }
}

#[async_trait]
impl StoreView for Store {
    fn state(&self) -> StoreState {
        StoreState {
            kind: "test",
            address: String::new(),
            up: *self.up.borrow(),
            condition: String::new(),
            since: Time(0),
            reason: "cut off".into(),
            generation: 1,
            incarnation: 1,
            calls_in_flight: 0,
        }
    }

    fn place(&self) -> Option<(u64, u64)> {
        *self.place.lock()
    }

    fn acknowledged(&self) -> Option<Time> {
        *self.acknowledged.lock()
    }

    fn set_apart(&self, apart: bool) {
        *self.apart.lock() = apart;
    }

    async fn changed(&self) {
        let _ = self.up.subscribe().changed().await;
    }
}

#[async_trait]
impl Reconcile for Store {
    async fn merge(&self, batch: &str, spent: &[Spent]) -> Result<()> {
        self.check()?;
        let mut merged = self.merged.lock();
        if merged.iter().all(|(name, _)| name != batch) {
            merged.push((batch.to_owned(), spent.to_vec()));
        }
        let mut lost = self.lose_answers.lock();
        if *lost > 0 {
            *lost -= 1;
            return Err(Error::new(ErrorCode::OutcomeUnknown, "no answer"));
        }
        Ok(())
    }
}

#[async_trait]
impl Limits for Store {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        match self.check() {
            Ok(()) => self.limits.clone().acquire(request),
            Err(error) => Acquiring::done(Err(error)),
        }
    }

    async fn settle(&self, settle: Settle) -> Result<Settled> {
        self.check()?;
        self.limits.settle(settle).await
    }

    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired> {
        self.check()?;
        self.limits.extend(extend).await
    }

    async fn peek(&self, of: Namespace, limit: Name, key: Key) -> Result<(BucketState, Scope)> {
        self.check()?;
        self.limits.peek(of, limit, key).await
    }

    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)> {
        self.check()?;
        self.limits.set_limit(set).await
    }

    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)> {
        self.check()?;
        self.limits.delete_limit(delete).await
    }

    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage> {
        self.check()?;
        self.limits.list_limits(list).await
    }

    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage> {
        self.check()?;
        self.limits.list_buckets(list).await
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        self.check()?;
        self.limits.reset_limit(reset).await
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        self.check()?;
        self.limits.report_throttled(report).await
    }

    fn status(&self) -> LimitsStatus {
        self.limits.status()
    }

    fn scope(&self) -> Scope {
        self.limits.scope()
    }
}

fn memory(settings: Settings, clock: &Arc<dyn Clock>) -> Arc<MemoryLimits> {
    let config = MemoryLimitsConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
    };
    let limits = Arc::new(MemoryLimits::new(config, clock.clone()));
    let timer = limits.clone();
    spawn(async move { timer.run().await });
    limits
}

fn daemon(settings: Settings, policy: FallbackPolicy) -> (Arc<Store>, Arc<FallbackLimits>) {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let store = Arc::new(Store {
        limits: memory(settings, &clock),
        clock: clock.clone(),
        up: watch::Sender::new(true),
        place: Mutex::new(Some((1, 3))),
        acknowledged: Mutex::new(Some(clock.mono())),
        merged: Mutex::default(),
        apart: Mutex::default(),
        lose_answers: Mutex::new(0),
    });
    let local = memory(settings, &clock);
    let reconcile = (
        store.clone() as Arc<dyn Reconcile>,
        store.clone() as Arc<dyn StoreView>,
    );
    let (limits, task) = FallbackLimits::new(store.clone(), local, reconcile, policy, clock);
    spawn(task.run(CancellationToken::new()));
    (store, limits)
}

fn healthy(settings: Settings) -> Subject {
    let (_, limits) = daemon(settings, FallbackPolicy::default());
    Subject::new(vec![limits], Pace::Virtual)
}

mod over_a_healthy_store {
    trellis_conformance::limits_conformance!(super::healthy);
}

fn take(amount: i64, mode: Mode) -> AcquireRequest {
    let name = Name::new("api", "limit").unwrap();
    let mut charge = Charge::new(name, Key::new("", "key").unwrap(), amount).unwrap();
    let minute = Micros::from_secs(60);
    charge.spec = Some(LimitSpec::Window(WindowSpec::new(100, minute).unwrap()));
    AcquireRequest {
        namespace: Namespace::new("test", "namespace").unwrap(),
        charges: vec![charge],
        mode,
        reservation_ttl: None,
        request_id: None,
        priority: Priority::Interactive,
        fair: FairShare::UNNAMED,
        dry_run: false,
    }
}

async fn admitted(limits: &Arc<FallbackLimits>, most: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..most {
        let acquired = limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
        admitted += usize::from(matches!(acquired.outcome, Outcome::Granted(_)));
    }
    admitted
}

async fn until_closed(limits: &Arc<FallbackLimits>) {
    while limits.fallback_status().open {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_store_a_daemon_admits_its_share_and_says_so_and_the_store_learns_of_it_once() {
    let (store, limits) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 10).await, 10);
    store.up.send_replace(false);
    // The second of three daemons: a third of the 90 that were left.
    assert_eq!(admitted(&limits, 100).await, 30);
    let refused = limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
    assert!(
        matches!(refused.scope, Scope::Degraded { .. }),
        "{refused:?}"
    );
    assert!(limits.fallback_status().open && *store.apart.lock());
    *store.lose_answers.lock() = 3;
    store.up.send_replace(true);
    until_closed(&limits).await;
    let merged = store.merged.lock().clone();
    assert_eq!(merged.len(), 1);
    assert_eq!((merged[0].1.len(), merged[0].1[0].amount), (1, 30));
    let shared = limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
    assert_eq!(shared.scope, Scope::Local, "that of the store in this test");
    assert!(!*store.apart.lock());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_begins_with_nothing_admits_nothing_before_units_come_back() {
    let policy = FallbackPolicy {
        level: Level::Empty,
        ..FallbackPolicy::default()
    };
    let (store, limits) = daemon(Settings::default(), policy);
    assert_eq!(admitted(&limits, 10).await, 10);
    store.up.send_replace(false);
    assert_eq!(admitted(&limits, 50).await, 0);
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(admitted(&limits, 50).await, 33);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_never_joined_has_no_share_unless_it_is_given_one() {
    for (permille, wanted) in [(0, None), (100, Some(10))] {
        let policy = FallbackPolicy {
            unjoined_permille: permille,
            ..FallbackPolicy::default()
        };
        let (store, limits) = daemon(Settings::default(), policy);
        (*store.place.lock(), *store.acknowledged.lock()) = (None, None);
        store.up.send_replace(false);
        if let Some(wanted) = wanted {
            assert_eq!(admitted(&limits, 50).await, wanted);
        } else {
            let refused = limits
                .clone()
                .acquire(take(1, Mode::Try))
                .await
                .unwrap_err();
            assert_eq!(refused.code, ErrorCode::StoreUnavailable);
            assert!(refused.retry_after.is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_hold_the_policy_decides() {
    for fail_after_hold in [false, true] {
        let policy = FallbackPolicy {
            fail_after_hold,
            ..FallbackPolicy::default()
        };
        let (store, limits) = daemon(Settings::default(), policy);
        store.up.send_replace(false);
        assert_eq!(admitted(&limits, 5).await, 5);
        tokio::time::sleep(Duration::from_secs(61)).await;
        let late = limits.clone().acquire(take(1, Mode::Try)).await;
        assert_eq!(late.is_err(), fail_after_hold);
        let _ = store.clock.mono();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_in_the_store_goes_on_here_with_the_time_that_it_has_left() {
    let (store, limits) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 100).await, 100);
    let began = tokio::time::Instant::now();
    let wait = Mode::Wait(Micros::from_secs(90));
    let waiting = spawn({
        let limits = limits.clone();
        async move { limits.acquire(take(1, wait)).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.up.send_replace(false);
    let acquired = waiting.await.unwrap().unwrap();
    assert!(
        matches!(acquired.outcome, Outcome::Granted(_)),
        "{acquired:?}"
    );
    assert!(matches!(acquired.scope, Scope::Degraded { .. }));
    assert!(began.elapsed() < Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_reservation_made_here_is_settled_here_and_what_comes_back_is_not_merged() {
    let (store, limits) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    store.up.send_replace(false);
    let mut request = take(20, Mode::Try);
    request.reservation_ttl = Some(Micros::from_secs(60));
    let acquired = limits.clone().acquire(request).await.unwrap();
    let Outcome::Granted(Some(granted)) = acquired.outcome else {
        panic!("{acquired:?}");
    };
    let settle = Settle {
        namespace: Namespace::new("test", "namespace").unwrap(),
        reservation: granted.id,
        usage: Usage::RefundAll,
    };
    let settled = limits.settle(settle).await.unwrap();
    assert_eq!(settled.charges[0].refunded, 20);
    store.up.send_replace(true);
    until_closed(&limits).await;
    assert!(store.merged.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_and_goes_does_not_make_the_scope_come_and_go() {
    let (store, limits) = daemon(Settings::default(), FallbackPolicy::default());
    assert_eq!(admitted(&limits, 1).await, 1);
    for _ in 0..200 {
        store.up.send_replace(false);
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.up.send_replace(true);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outages = limits.fallback_status().outages;
    assert!(outages <= 5, "{outages} in twenty seconds");
}
