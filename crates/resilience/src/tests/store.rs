//! A store in this process that can be cut off, and a daemon on it.

use super::*;

/// A store in this process that can be cut off.
pub(super) struct Store {
    pub limits: Arc<MemoryLimits>,
    pub clock: Arc<dyn Clock>,
    pub up: watch::Sender<bool>,
    pub place: Mutex<Option<(u64, u64)>>,
    pub acknowledged: Mutex<Option<Time>>,
    pub merged: Mutex<Vec<(String, Vec<Spent>)>>,
    /// Whether the others were told that this daemon spends its share.
    pub apart: Mutex<bool>,
    /// Calls that fail although it is up.
    pub refuse: Mutex<usize>,
    /// Merges that fail although they are carried out.
    pub lose_answers: Mutex<usize>,
}

impl Store {
    fn check(&self) -> Result<()> {
        let mut refuse = self.refuse.lock();
        if *self.up.borrow() && *refuse == 0 {
            return Ok(());
        }
        *refuse = refuse.saturating_sub(1);
        Err(Error::new(ErrorCode::StoreUnavailable, "cut off"))
    }
}

#[async_trait]
impl StoreView for Store {
    fn state(&self) -> StoreState {
        trellis_conformance::store_that_is(*self.up.borrow())
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

    async fn until(&self, up: bool) {
        let _ = self.up.subscribe().wait_for(|now| *now == up).await;
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

/// How the fallback's task is ended.
pub(super) struct Ending {
    pub stop: CancellationToken,
    pub ended: tokio::task::JoinHandle<()>,
}

pub(super) fn memory(settings: Settings, clock: &Arc<dyn Clock>) -> Arc<MemoryLimits> {
    let config = MemoryLimitsConfig {
        max_namespaces: settings.max_namespaces,
        machine: settings.machine,
    };
    let limits = Arc::new(MemoryLimits::new(config, clock.clone()));
    let timer = limits.clone();
    spawn(async move { timer.run().await });
    limits
}

pub(super) fn daemon(
    settings: Settings,
    policy: FallbackPolicy,
) -> (Arc<Store>, Arc<FallbackLimits>, Ending) {
    let clock: Arc<dyn Clock> = Arc::new(PausedClock::new());
    let store = Arc::new(Store {
        limits: memory(settings, &clock),
        clock: clock.clone(),
        up: watch::Sender::new(true),
        place: Mutex::new(Some((1, 3))),
        acknowledged: Mutex::new(Some(clock.mono())),
        merged: Mutex::default(),
        apart: Mutex::default(),
        refuse: Mutex::new(0),
        lose_answers: Mutex::new(0),
    });
    let local = memory(settings, &clock);
    let reconcile = (
        store.clone() as Arc<dyn Reconcile>,
        store.clone() as Arc<dyn StoreView>,
    );
    let (limits, task) = FallbackLimits::new(store.clone(), local, reconcile, policy, clock);
    let stop = CancellationToken::new();
    let ended = spawn(task.run(stop.clone()));
    (store, limits, Ending { stop, ended })
}

pub(super) fn take(amount: i64, mode: Mode) -> AcquireRequest {
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

pub(super) async fn admitted(limits: &Arc<FallbackLimits>, most: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..most {
        let acquired = limits.clone().acquire(take(1, Mode::Try)).await.unwrap();
        admitted += usize::from(matches!(acquired.outcome, Outcome::Granted(_)));
    }
    admitted
}

pub(super) async fn until_closed(limits: &Arc<FallbackLimits>) {
    while limits.fallback().unwrap().outage.is_some() {
        pass(Duration::from_millis(10)).await;
    }
}

pub(super) fn status(limits: &FallbackLimits) -> FallbackStatus {
    limits.fallback().unwrap()
}

pub(super) fn merged_units(store: &Store) -> Vec<i64> {
    let merged = store.merged.lock();
    let spent = merged.iter().flat_map(|(_, spent)| spent);
    spent.map(|spent| spent.amount).collect()
}

/// Lets virtual time pass.
pub(super) async fn pass(time: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + time).await;
}
