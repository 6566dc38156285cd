//! Limits that go on while the shared store is away.

use crate::known::{Known, Memory, Place};
use crate::outage::Ledger;
use crate::share::share_of;
use crate::switch::Switch;
use crate::task::FallbackTask;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, Charge, FallbackStatus, Granted, LimitSpec, Limits, Mode,
    Outcome, Reconcile, ReportThrottled, ReservationId, Settled, Share,
};
use trellis_core::{
    Clock, Error, ErrorCode, Key, Micros, Name, RequestId, Result, Scope, StoreView,
};

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

/// Shared limits with a fallback. See the crate's documentation.
pub struct FallbackLimits {
    pub(crate) primary: Arc<dyn Limits>,
    pub(crate) local: Arc<dyn Limits>,
    pub(crate) reconcile: Arc<dyn Reconcile>,
    pub(crate) view: Arc<dyn StoreView>,
    pub(crate) clock: Arc<dyn Clock>,
    policy: FallbackPolicy,
    /// Its news: calls begin to go elsewhere, or there is something to merge.
    pub(crate) switch: Switch,
    memory: Memory,
    pub(crate) ledger: Mutex<Ledger>,
    /// Buckets whose level was set in this outage.
    begun: Mutex<HashSet<Place>>,
    decisions: AtomicU64,
}

/// The store could not be asked.
pub(crate) struct Away;

/// Buckets whose level was set in an outage, kept in mind.
const MAX_BEGUN: usize = 1_000_000;

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
            switch: Switch::new(Arc::clone(&view), Arc::clone(&clock)),
            view,
            clock,
            policy,
            memory: Memory::new(),
            ledger: Mutex::default(),
            begun: Mutex::default(),
            decisions: AtomicU64::new(0),
        });
        (limits.clone(), FallbackTask { limits })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.switch.is_open()
    }

    /// There is a sign that the store cannot be used: calls go to this daemon's own limits from now on.
    pub(crate) fn trip(&self) {
        let opened = self.switch.open(|| {
            self.begun.lock().clear();
            self.ledger.lock().begin();
            self.view.set_apart(true);
        });
        if let Some(reason) = opened {
            tracing::warn!(%reason, "the shared store is away: limits go on with this daemon's share");
        }
    }

    /// The store is back and knows everything. Nothing happens where it was away again meanwhile.
    pub(crate) fn close(&self) {
        if self.switch.close(|| self.view.set_apart(false)) {
            tracing::info!("limits are shared again");
        }
    }

    /// The guarantee that answers carry while the store is away.
    pub(crate) fn degraded_scope(&self) -> Scope {
        self.switch.degraded_scope()
    }

    /// How the fallback does.
    pub(crate) fn status_of_fallback(&self) -> FallbackStatus {
        let outage = match self.scope_while_open() {
            Some(Scope::Degraded { since, reason }) => Some((since, reason)),
            _ => None,
        };
        let (unmerged_buckets, unmerged_units) = self.ledger.lock().unmerged();
        FallbackStatus {
            outage,
            share: self.share().ok(),
            outages: self.switch.outages(),
            decisions: self.decisions.load(Ordering::Relaxed),
            unmerged_buckets,
            unmerged_units,
        }
    }

    /// The scope of answers, where it is not the store's.
    pub(crate) fn scope_while_open(&self) -> Option<Scope> {
        self.is_open().then(|| self.degraded_scope())
    }

    /// Takes note of the store's answer to an acquire; `Err`: it could not be asked, and this is open.
    pub(crate) fn learnt(
        &self,
        request: &AcquireRequest,
        answer: Result<Acquired>,
    ) -> std::result::Result<Result<Acquired>, Away> {
        match &answer {
            Ok(acquired) => self.memory.learn(request, acquired),
            Err(error) if error.code == ErrorCode::StoreUnavailable => {
                self.trip();
                return Err(Away);
            }
            Err(_) => {}
        }
        Ok(answer)
    }

    /// Goes on with an acquire that the store has still to decide.
    pub(crate) async fn acquire_shared(
        self: Arc<Self>,
        request: Arc<AcquireRequest>,
        shared: Acquiring,
    ) -> Result<Acquired> {
        let started = self.clock.mono();
        let mut opening = self.switch.opening();
        let waits = request.mode != Mode::Try;
        tokio::select! {
            biased;
            answer = shared => if let Ok(answer) = self.learnt(&request, answer) {
                return answer;
            },
            // A call that waits in the store's line does not wait for the store itself.
            _ = opening.wait_for(|open| *open), if waits => {}
        }
        let mut request = Arc::unwrap_or_clone(request);
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
        let (dry_run, request_id) = (request.dry_run, request.request_id.clone());
        let mut acquired = self.local.clone().acquire(request).await?;
        self.decisions.fetch_add(1, Ordering::Relaxed);
        acquired.scope = self.degraded_scope();
        match &mut acquired.outcome {
            // It fits the limit, if not this daemon's share of it.
            Outcome::Never if fits(&charges, &specs) => {
                acquired.outcome = Outcome::Denied(RETRY_AFTER);
            }
            Outcome::Granted(granted) if !dry_run => {
                let held_for = granted.as_ref().map_or(Micros::ZERO, |it| it.ttl);
                if let Some(granted) = granted {
                    *granted = renamed(granted)?;
                }
                let id = request_id.as_ref().map(RequestId::as_str);
                self.note((&namespace, id), &charges, &specs, held_for);
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
        let level = match (self.policy.level, known) {
            (Level::Empty, _) => 0,
            (Level::Seen, Some(known)) => share.of(known.remaining.max(0)),
            (Level::Seen, None) => return Ok(()),
        };
        if request.dry_run || !self.is_first_use(request, charge)? {
            return Ok(());
        }
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

    /// Whether a bucket is used for the first time in this outage.
    fn is_first_use(&self, request: &AcquireRequest, charge: &Charge) -> Result<bool> {
        let place = place(request.namespace.as_str(), &charge.limit, &charge.key);
        let mut begun = self.begun.lock();
        if begun.contains(&place) {
            return Ok(false);
        }
        if begun.len() >= MAX_BEGUN {
            return Err(away("too many buckets were used since"));
        }
        Ok(begun.insert(place))
    }

    /// Takes note of what was taken, the answer of a repeat apart.
    fn note(
        &self,
        (namespace, request_id): (&str, Option<&str>),
        charges: &[Charge],
        specs: &[(LimitSpec, Option<Known>)],
        held_for: Micros,
    ) {
        let until = self.clock.mono() + held_for;
        let mut ledger = self.ledger.lock();
        if request_id.is_some_and(|id| !ledger.is_first_grant(namespace, id)) {
            return;
        }
        for (charge, (spec, _)) in charges.iter().zip(specs) {
            let place = place(namespace, &charge.limit, &charge.key);
            ledger.take(place, charge.amount(), spec, until);
        }
        drop(ledger);
        self.switch.news.notify_one();
    }

    /// Takes note of what a settle of a reservation made here has changed, a repeat apart.
    pub(crate) fn note_settled(&self, (namespace, id): (&str, &ReservationId), settled: &Settled) {
        let mut ledger = self.ledger.lock();
        if !ledger.is_first_settle(namespace, id.as_str()) {
            return;
        }
        for charge in &settled.charges {
            let place = place(namespace, &charge.limit, &charge.key);
            ledger.give_back(&place, charge.refunded);
            let debt = charge.actual - charge.reserved;
            if debt > 0 {
                let known = self.memory.at(&place).map(|known| known.spec);
                ledger.owe(place, debt, known);
            }
        }
        drop(ledger);
        self.switch.news.notify_one();
    }
}

fn place(namespace: &str, limit: &Name, key: &Key) -> Place {
    (namespace.into(), limit.as_str().into(), key.as_str().into())
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
