//! One of the concurrent clients: asks, holds, settles, takes back, and goes to another daemon when its
//! own is gone. Writes down what it was granted.

use crate::buckets::{Bucket, duration};
use crate::clock::{Clock, pause};
use crate::cluster::Cluster;
use crate::history::{Grant, Micros, Settled, Span};
use crate::link::{Answer, Link};
use crate::random::Random;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::Code;
use tonic_types::StatusExt as _;
use trellis_proto::v1::{self, AcquireMode, AcquireRequest, AcquireResponse, Outcome, ScopeKind};

/// How long past its waiting time a call may be: longer means that the daemon is gone.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// What all clients share.
pub struct Field {
    pub cluster: Cluster,
    pub clock: Clock,
    pub buckets: Vec<Bucket>,
    /// Acquires answered so far.
    pub answered: AtomicU64,
    /// Acquires to be answered until the clients stop.
    pub target: AtomicU64,
    /// What was done to the daemons and their store, and when.
    pub caused: Mutex<Vec<(Micros, String)>>,
    /// When the store lost everything.
    pub losses: Mutex<Vec<Range<Micros>>>,
}

/// What a client saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub grants: Vec<Grant>,
    /// How often each outcome, or each error, was the answer.
    pub outcomes: BTreeMap<String, u64>,
}

pub struct Client<'a> {
    field: &'a Field,
    random: Random,
    streams: bool,
    number: u64,
    calls: u64,
    seat: usize,
    link: Option<Link>,
    seen: Seen,
}

/// A call to make.
struct Plan {
    request: AcquireRequest,
    /// Bucket and amount of each charge.
    charges: Vec<(usize, u64)>,
    max_wait: Duration,
    ttl: Option<Micros>,
    /// Taken back after so long.
    cancel: Option<Duration>,
}

impl<'a> Client<'a> {
    pub fn new(field: &'a Field, seed: u64, number: u64) -> Self {
        let random = Random::new(seed, 1_000 + number);
        Self {
            field,
            random,
            streams: number % 3 == 2,
            number,
            calls: 0,
            seat: usize::try_from(number).unwrap_or(0) % field.cluster.daemons(),
            link: None,
            seen: Seen::default(),
        }
    }

    /// Goes on until there are enough answers.
    pub async fn run(mut self) -> Seen {
        let field = self.field;
        while field.answered.load(Ordering::Relaxed) < field.target.load(Ordering::Relaxed) {
            let plan = self.plan();
            self.carry_out(plan).await;
        }
        self.seen
    }

    fn plan(&mut self) -> Plan {
        self.calls += 1;
        let random = &mut self.random;
        let kind = random.of(0..100);
        let count = match kind {
            0..60 => 1,
            60..85 => random.of(2..5),
            _ => random.of(1..3),
        };
        let charges = self.charges(count);
        let random = &mut self.random;
        let slots = charges
            .iter()
            .any(|&(bucket, _)| self.field.buckets[bucket].is_slots());
        let reserves = slots || (50..85).contains(&kind);
        let ttl = reserves.then(|| random.of(300_000..3_000_000));
        let waits = kind >= 75;
        let max_wait = if waits { random.of(5..120) } else { 0 };
        let max_wait = Duration::from_millis(max_wait);
        let cancel = (kind >= 92).then(|| Duration::from_millis(random.of(1..40)));
        let request_id = if random.percent(5) {
            format!("call-{}-{}", self.number, self.calls)
        } else {
            String::new()
        };
        let mut request = AcquireRequest {
            charges: charges
                .iter()
                .map(|&(bucket, amount)| self.field.buckets[bucket].charge(amount))
                .collect(),
            max_wait: waits.then(|| max_wait.try_into().unwrap_or_default()),
            reservation_ttl: ttl.map(duration),
            request_id,
            ..AcquireRequest::default()
        };
        request.set_mode(if waits {
            AcquireMode::Wait
        } else {
            AcquireMode::Try
        });
        if random.percent(10) {
            request.set_priority(v1::Priority::Batch);
        }
        Plan {
            request,
            charges,
            max_wait,
            ttl,
            cancel,
        }
    }

    /// Charges of different buckets.
    fn charges(&mut self, count: u64) -> Vec<(usize, u64)> {
        let mut numbers: Vec<usize> = (0..self.field.buckets.len()).collect();
        self.random.shuffle(&mut numbers);
        numbers.truncate(usize::try_from(count).unwrap_or(1));
        let amount = |bucket: usize| (bucket, self.field.buckets[bucket].most + 1);
        let most = numbers.into_iter().map(amount).collect::<Vec<_>>();
        most.into_iter()
            .map(|(bucket, end)| (bucket, self.random.of(1..end)))
            .collect()
    }

    async fn carry_out(&mut self, plan: Plan) {
        let clock = self.field.clock;
        let sent = clock.now();
        let mut answer = self.acquire(&plan).await;
        // The repeat, at any daemon, gets the first answer: it was decided since the first was sent.
        for _ in 0..5 {
            let gone = answer.as_ref().is_some_and(Result::is_err);
            if !gone || plan.request.request_id.is_empty() {
                break;
            }
            answer = self.acquire(&plan).await;
        }
        let received = clock.now();
        self.note(answer.as_ref());
        let Some(Ok(answer)) = answer else {
            return;
        };
        if answer.outcome() != Outcome::Granted {
            return;
        }
        let degraded = is_degraded(&answer);
        let settled = if answer.reservation_id.is_empty() {
            Vec::new()
        } else {
            self.end(&plan, answer.reservation_id).await
        };
        let at = Span { sent, received };
        for (place, &(bucket, amount)) in plan.charges.iter().enumerate() {
            self.seen.grants.push(Grant {
                bucket,
                amount,
                at,
                degraded,
                ttl: plan.ttl,
                settled: settled.get(place).copied(),
            });
        }
    }

    /// Asks once; `None` when it was taken back.
    async fn acquire(&mut self, plan: &Plan) -> Option<Answer<AcquireResponse>> {
        let limit = plan.cancel.unwrap_or(plan.max_wait + PATIENCE);
        let link = self.link().await?;
        let asked = tokio::time::timeout(limit, link.acquire(plan.request.clone())).await;
        match asked {
            Ok(answer) => {
                self.leave_when_gone(&answer);
                Some(answer)
            }
            Err(_) if plan.cancel.is_some() => {
                // Some leave their stream altogether.
                let drops = self.random.percent(20);
                let link = self.link.as_mut()?;
                if drops || !link.cancel().await {
                    self.link = None;
                }
                None
            }
            Err(_) => {
                self.leave();
                Some(Err(tonic::Status::deadline_exceeded("the daemon is gone")))
            }
        }
    }

    /// Holds a reservation for a while and ends it, or leaves it alone. Returns the settle of each
    /// charge; nothing when none was sent.
    async fn end(&mut self, plan: &Plan, reservation_id: String) -> Vec<Settled> {
        if self.random.percent(10) {
            return Vec::new();
        }
        let held = self.random.of(0..30);
        pause(Duration::from_millis(held)).await;
        let random = &mut self.random;
        let refund_all = random.percent(10);
        let actual: Vec<u64> = plan
            .charges
            .iter()
            .map(|&(_, amount)| match random.of(0..100) {
                _ if refund_all => 0,
                0..30 => amount,
                30..85 => random.of(0..amount + 1),
                _ => amount + random.of(1..amount + 1),
            })
            .collect();
        let amounts = plan.charges.iter().zip(&actual);
        let named = amounts.map(|(&(bucket, _), &amount)| {
            let charge = self.field.buckets[bucket].charge(amount);
            v1::ActualAmount {
                limit: charge.limit,
                key: charge.key,
                amount: charge.amount,
            }
        });
        let request = v1::SettleRequest {
            reservation_id,
            actual: if refund_all { vec![] } else { named.collect() },
            refund_all,
            ..v1::SettleRequest::default()
        };
        let asked: Vec<_> = plan.charges.iter().map(|&(_, amount)| amount).collect();
        self.settle(request, &asked, &actual).await
    }

    async fn settle(
        &mut self,
        request: v1::SettleRequest,
        reserved: &[u64],
        actual: &[u64],
    ) -> Vec<Settled> {
        let clock = self.field.clock;
        let sent = clock.now();
        let mut answered = None;
        // Any daemon settles it, and a repeat gets the first answer.
        for _ in 0..3 {
            let Some(link) = self.link().await else {
                break;
            };
            let asked = tokio::time::timeout(PATIENCE, link.settle(request.clone())).await;
            let Ok(answer) = asked else {
                self.leave();
                continue;
            };
            self.leave_when_gone(&answer);
            if let Ok(answer) = answer {
                answered = Some((answer, clock.now()));
                break;
            }
        }
        let received = answered.as_ref().map_or(Micros::MAX, |(_, at)| *at);
        let at = Span { sent, received };
        let told = answered.map(|(answer, _)| answer.charges);
        let most = reserved.iter().zip(actual).enumerate();
        most.map(|(place, (reserved, actual))| {
            let most = reserved.saturating_sub(*actual);
            let told = told.as_ref().and_then(|charges| charges.get(place));
            let told = told.map_or(most, |charge| charge.refunded.cast_unsigned());
            Settled {
                at,
                refunded: told.min(most),
            }
        })
        .collect()
    }

    /// The way to a daemon, to another one if the last is gone.
    async fn link(&mut self) -> Option<&mut Link> {
        for _ in 0..20 {
            if self.link.is_none() {
                self.link = Link::open(&self.field.cluster, self.seat, self.streams).await;
            }
            if self.link.is_some() {
                break;
            }
            self.leave();
            pause(Duration::from_millis(20)).await;
        }
        self.link.as_mut()
    }

    fn leave(&mut self) {
        self.link = None;
        let further = 1 + usize::from(self.random.percent(50));
        self.seat = (self.seat + further) % self.field.cluster.daemons();
    }

    fn leave_when_gone<T>(&mut self, answer: &Answer<T>) {
        let gone = [Code::Unavailable, Code::Unknown, Code::Cancelled];
        if answer
            .as_ref()
            .is_err_and(|status| gone.contains(&status.code()))
        {
            self.leave();
        }
    }

    fn note(&mut self, answer: Option<&Answer<AcquireResponse>>) {
        let said = match answer {
            None => "cancelled".to_owned(),
            Some(Ok(answer)) => {
                let degraded = if is_degraded(answer) {
                    ", degraded"
                } else {
                    ""
                };
                let outcome = answer.outcome().as_str_name();
                let outcome = outcome.trim_start_matches("OUTCOME_").to_lowercase();
                format!("{outcome}{degraded}")
            }
            Some(Err(status)) => {
                let details = status.get_error_details();
                let reason = details.error_info().map(|info| info.reason.clone());
                format!(
                    "error {}",
                    reason.unwrap_or_else(|| format!("{:?}", status.code()))
                )
            }
        };
        // A call that nobody answered is none.
        if !matches!(answer, Some(Err(_))) {
            self.field.answered.fetch_add(1, Ordering::Relaxed);
        }
        *self.seen.outcomes.entry(said).or_default() += 1;
    }
}

fn is_degraded(answer: &AcquireResponse) -> bool {
    answer.scope.as_ref().map(v1::Scope::kind) == Some(ScopeKind::Degraded)
}
