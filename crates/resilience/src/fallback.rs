//! Limits that go on while the shared store is away.

use crate::breaker::{Breaker, BreakerConfig};
use crate::known::{Known, Memory};
use crate::outage::Ledger;
use crate::share::{Share, share_of};
use crate::task::FallbackTask;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{Notify, watch};
use trellis_core::limits::{
    AcquireRequest, Acquired, Charge, Granted, LimitSpec, Limits, Mode, Outcome, Reconcile,
    ReportThrottled, ReservationId, Settled,
};
use trellis_core::{Clock, Error, ErrorCode, Micros, Result, Scope, StoreView, Time};

/// From where a daemon begins to spend its share of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// From its share of what it last saw left. What others took since then may be admitted twice.
    #[default]
    Seen,
    /// From nothing: all daemons together never admit more than the limit, however the store is lost.
    Empty,
}

/// What to do while the store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackPolicy {
    /// For how long, counted from the last beat that the store has acknowledged.
    pub hold: Micros,
    /// Whether calls are refused afterwards, instead of going on.
    pub fail_after_hold: bool,
    /// The share, in thousandths, of a daemon that has never seen the others.
    pub unjoined_permille: u32,
    /// From where the share is spent.
    pub level: Level,
}

impl Default for FallbackPolicy {
    fn default() -> Self {
        Self {
            hold: Micros::from_secs(60),
            fail_after_hold: false,
            unjoined_permille: 0,
            level: Level::Seen,
        }
    }
}

/// How the fallback does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FallbackStatus {
    /// Whether calls go to this daemon's own limits.
    pub open: bool,
    /// How often they have begun to.
    pub outages: u64,
    /// Acquires decided here instead of in the store.
    pub decisions: u64,
    /// Units spent here that the store does not know of yet.
    pub unmerged: i64,
}

/// Shared limits with a fallback. See the crate's documentation.
pub struct FallbackLimits {
    pub(crate) primary: Arc<dyn Limits>,
    pub(crate) local: Arc<dyn Limits>,
    pub(crate) reconcile: Arc<dyn Reconcile>,
    pub(crate) view: Arc<dyn StoreView>,
    pub(crate) clock: Arc<dyn Clock>,
    policy: FallbackPolicy,
    pub(crate) breaker: Mutex<Breaker>,
    /// As the breaker, to be read without a lock.
    open: AtomicBool,
    opening: watch::Sender<bool>,
    memory: Memory,
    pub(crate) ledger: Mutex<Ledger>,
    /// Told when there is something to merge.
    pub(crate) spent: Notify,
    /// Buckets whose level was set in this outage.
    begun: Mutex<HashSet<(String, String, String)>>,
    since: Mutex<Time>,
    outages: AtomicU64,
    decisions: AtomicU64,
}

/// Before the name of a reservation that was made here.
pub(crate) const OURS: &str = "local-";

/// When to try again what cannot be decided while the store is away.
pub(crate) const RETRY_AFTER: Micros = Micros::from_secs(1);

impl FallbackLimits {
    /// A fallback, and the task without which it never closes.
    #[must_use]
    pub fn new(
        primary: Arc<dyn Limits>,
        local: Arc<dyn Limits>,
        (reconcile, view): (Arc<dyn Reconcile>, Arc<dyn StoreView>),
        policy: FallbackPolicy,
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, FallbackTask) {
        let limits = Arc::new(Self {
            primary,
            local,
            reconcile,
            view,
            clock,
            policy,
            breaker: Mutex::new(Breaker::new(BreakerConfig::default())),
            open: AtomicBool::new(false),
            opening: watch::Sender::new(false),
            memory: Memory::new(),
            ledger: Mutex::default(),
            spent: Notify::new(),
            begun: Mutex::default(),
            since: Mutex::new(Time(0)),
            outages: AtomicU64::new(0),
            decisions: AtomicU64::new(0),
        });
        (limits.clone(), FallbackTask { limits })
    }

    /// How the fallback does.
    #[must_use]
    pub fn fallback_status(&self) -> FallbackStatus {
        FallbackStatus {
            open: self.is_open(),
            outages: self.outages.load(Ordering::Relaxed),
            decisions: self.decisions.load(Ordering::Relaxed),
            unmerged: self.ledger.lock().units(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// The store cannot be used: calls go to this daemon's own limits from now on.
    pub(crate) fn trip(&self) {
        let now = self.clock.now();
        if !self.breaker.lock().open(now.mono) {
            return;
        }
        *self.since.lock() = now.wall;
        self.begun.lock().clear();
        self.outages.fetch_add(1, Ordering::Relaxed);
        self.open.store(true, Ordering::Release);
        self.opening.send_replace(true);
        self.view.set_apart(true);
        let reason = self.view.state().reason;
        tracing::warn!(%reason, "the shared store is away: limits go on with this daemon's share");
    }

    /// The store is back and knows everything.
    pub(crate) fn close(&self) {
        self.breaker.lock().close(self.clock.mono());
        self.open.store(false, Ordering::Release);
        self.opening.send_replace(false);
        self.view.set_apart(false);
        tracing::info!("limits are shared again");
    }

    /// The guarantee that answers carry while the store is away.
    pub(crate) fn degraded_scope(&self) -> Scope {
        let reason = self.view.state().reason;
        let reason = if reason.is_empty() {
            "the store does not answer".into()
        } else {
            reason
        };
        Scope::Degraded {
            since: *self.since.lock(),
            reason,
        }
    }

    pub(crate) async fn acquire_shared(
        self: Arc<Self>,
        mut request: AcquireRequest,
    ) -> Result<Acquired> {
        let started = self.clock.mono();
        let names: Vec<(Box<str>, Box<str>)> = request
            .charges
            .iter()
            .map(|charge| (charge.limit.as_str().into(), charge.key.as_str().into()))
            .collect();
        let mut opening = self.opening.subscribe();
        let shared = self.primary.clone().acquire(request.clone());
        let waits = request.mode != Mode::Try;
        tokio::select! {
            biased;
            answer = shared => match answer {
                Ok(acquired) => {
                    self.memory.learn(request.namespace.as_str(), &names, &acquired);
                    return Ok(acquired);
                }
                Err(error) if error.code == ErrorCode::StoreUnavailable => self.trip(),
                Err(error) => return Err(error),
            },
            // A call that waits in the store's line does not wait for the store itself.
            _ = opening.wait_for(|open| *open), if waits => {}
        }
        if let Mode::Wait(wait) = &mut request.mode {
            *wait = Micros(wait.0.saturating_sub((self.clock.mono() - started).0));
        }
        self.acquire_here(request).await
    }

    /// Decides an acquire by this daemon's share of each limit.
    pub(crate) async fn acquire_here(&self, mut request: AcquireRequest) -> Result<Acquired> {
        let share = self.share()?;
        let namespace = request.namespace.as_str().to_owned();
        let mut specs = Vec::new();
        for charge in &mut request.charges {
            let known = self.memory.of(&namespace, charge);
            let spec = known_spec(charge, known.as_ref())?;
            let Some(part) = share_of(&spec, share)? else {
                let limit = charge.limit.as_str();
                return Err(away(&format!(
                    "this daemon's share of limit {limit:?} is nothing"
                )));
            };
            charge.spec = Some(part);
            charge.require_spec = false;
            specs.push((spec, known));
        }
        for (charge, (_, known)) in request.charges.iter().zip(&specs) {
            self.begin(&request, charge, known.as_ref(), share).await?;
        }
        let charges = request.charges.clone();
        let dry_run = request.dry_run;
        let mut acquired = self.local.clone().acquire(request).await?;
        self.decisions.fetch_add(1, Ordering::Relaxed);
        acquired.scope = self.degraded_scope();
        match &mut acquired.outcome {
            // It fits the limit, if not this daemon's share of it.
            Outcome::Never if fits(&charges, &specs) => {
                acquired.outcome = Outcome::Denied(RETRY_AFTER);
            }
            Outcome::Granted(granted) if !dry_run => {
                if let Some(granted) = granted {
                    *granted = renamed(granted)?;
                }
                self.note(&namespace, &charges, &specs);
            }
            _ => {}
        }
        Ok(acquired)
    }

    /// This daemon's share, or why it has none.
    fn share(&self) -> Result<Share> {
        let acknowledged = self.view.acknowledged();
        let held = acknowledged.is_some_and(|at| self.clock.mono() < at + self.policy.hold);
        if !held && self.policy.fail_after_hold {
            return Err(away(
                "limits.fallback_hold is over and limits.fallback is fail",
            ));
        }
        if let Some((index, count)) = self.view.place() {
            return Ok(Share { index, count });
        }
        match u64::from(self.policy.unjoined_permille) {
            0 => Err(away(
                "this daemon has never joined the others; limits.fallback_share is 0",
            )),
            permille => {
                let count = 1_000_u64.div_ceil(permille);
                Ok(Share {
                    index: count - 1,
                    count,
                })
            }
        }
    }

    /// Sets the level of a bucket when it is first used in an outage.
    async fn begin(
        &self,
        request: &AcquireRequest,
        charge: &Charge,
        known: Option<&Known>,
        share: Share,
    ) -> Result<()> {
        let texts = [
            request.namespace.as_str(),
            charge.limit.as_str(),
            charge.key.as_str(),
        ];
        let [namespace, limit, key] = texts.map(str::to_owned);
        if request.dry_run || !self.begun.lock().insert((namespace, limit, key)) {
            return Ok(());
        }
        let level = match (self.policy.level, known) {
            (Level::Empty, _) => 0,
            (Level::Seen, Some(known)) => share.of(known.remaining.max(0)),
            (Level::Seen, None) => return Ok(()),
        };
        let report = ReportThrottled {
            namespace: request.namespace.clone(),
            limit: charge.limit.clone(),
            key: charge.key.clone(),
            // No pause: only the level is lowered.
            retry_after: Micros::ZERO,
            remaining: Some(level),
            spec: charge.spec.clone(),
            request_id: None,
        };
        self.local.report_throttled(report).await.map(|_| ())
    }

    /// Takes note of what was taken. Slots come back by themselves and are not merged.
    fn note(&self, namespace: &str, charges: &[Charge], specs: &[(LimitSpec, Option<Known>)]) {
        let mut ledger = self.ledger.lock();
        for (charge, (spec, _)) in charges.iter().zip(specs) {
            if !matches!(spec, LimitSpec::Concurrency(_)) {
                let place = (
                    namespace.into(),
                    charge.limit.as_str().into(),
                    charge.key.as_str().into(),
                );
                ledger.add(place, charge.amount(), spec);
            }
        }
        drop(ledger);
        self.spent.notify_one();
    }

    /// Takes note of what a settle of a reservation made here has changed.
    pub(crate) fn note_settled(&self, namespace: &str, settled: &Settled) {
        let mut ledger = self.ledger.lock();
        for charge in &settled.charges {
            let units = (charge.actual - charge.reserved).max(-charge.refunded);
            let place = (
                namespace.into(),
                charge.limit.as_str().into(),
                charge.key.as_str().into(),
            );
            let asked = Charge::new(charge.limit.clone(), charge.key.clone(), 1);
            let known = asked
                .ok()
                .and_then(|asked| self.memory.of(namespace, &asked));
            if let Some(known) = known.filter(|_| units != 0) {
                ledger.add(place, units, &known.spec);
            }
        }
        drop(ledger);
        self.spent.notify_one();
    }
}

/// The spec that was last in force, or the one that the charge brings.
fn known_spec(charge: &Charge, known: Option<&Known>) -> Result<LimitSpec> {
    let known = known.map(|known| known.spec.clone());
    known.or_else(|| charge.spec.clone()).ok_or_else(|| {
        let limit = charge.limit.as_str();
        away(&format!("this daemon has not seen limit {limit:?} yet"))
    })
}

fn fits(charges: &[Charge], specs: &[(LimitSpec, Option<Known>)]) -> bool {
    let mut pairs = charges.iter().zip(specs);
    pairs.all(|(charge, (spec, _))| charge.amount() <= spec.capacity())
}

pub(crate) fn renamed(granted: &Granted) -> Result<Granted> {
    Ok(Granted {
        id: ReservationId::new(format!("{OURS}{}", granted.id.as_str()))?,
        ttl: granted.ttl,
    })
}

/// Nothing was done, and nothing can be while the store is away.
pub(crate) fn away(reason: &str) -> Error {
    let message = format!("the shared store is away: {reason}; nothing was done");
    Error::new(ErrorCode::StoreUnavailable, message).retry_after(RETRY_AFTER)
}
