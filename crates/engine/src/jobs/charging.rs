//! Charges of jobs against limits: taken before a job is leased, settled once its attempt is over, held while it runs.
//!
//! Limits may be across a network, so a call is on its way while the partition goes on. A bucket that refuses is shut until it may have
//! something, and the jobs that charge it are passed by. What was taken and no lease was logged for is given back while this life lasts, and stays spent
//! after a crash.

use super::calls::{Call, Called};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use trellis_core::jobs::{
    Attempt, ChargedBucket, ChargedBuckets, Job, JobFold, JobId, LeaseId, QueueId, Taken,
};
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, Charge, ExtendReservation, FairShare, LimitSpec, Limits,
    Mode, Outcome, Priority, ReservationId, Settle, Settled, Usage,
};
use trellis_core::{ErrorCode, Micros, Namespace, Result, Time};

/// How long what was taken is held unless that is renewed.
const RESERVATION: Micros = Micros::from_secs(60);

/// When it is renewed.
pub(super) const RENEWAL: Micros = Micros(RESERVATION.0 / 2);

/// When a bucket is tried again that does not tell when it has something: its slots may be freed at any time, or the limits are away.
const RETRY: Micros = Micros::from_secs(1);

/// Settlements on their way at once.
const MOST_SETTLING: usize = 64;

/// Settlements that wait, as long as limits are away. Beyond, nothing more is taken.
const MOST_DUE: usize = 100_000;

/// What the limits say of a job.
pub(super) enum Asked {
    /// It may start, with what was taken for it.
    May(Option<ReservationId>),
    /// The call is on its way.
    Underway,
    /// Not now.
    Shut,
    /// Not ever, and why.
    Never(Box<str>),
}

/// See the module.
#[derive(Default)]
pub(super) struct Charging {
    limits: Option<Arc<dyn Limits>>,
    /// Buckets that have nothing, and until when.
    shut: HashMap<ChargedBucket, Time>,
    opens: BTreeSet<(Time, ChargedBucket)>,
    /// Jobs that are asked for.
    underway: HashMap<JobId, QueueId>,
    /// What was taken for jobs that are about to be leased.
    granted: HashMap<JobId, (Namespace, Option<ReservationId>)>,
    settling: HashSet<LeaseId>,
    /// When settlements are tried again.
    settle_at: Time,
    renewals: BTreeSet<(Time, JobId, LeaseId)>,
    /// When each of those is.
    held: HashMap<LeaseId, Time>,
    /// Calls that have begun, for the task to carry on.
    calls: Vec<Call>,
}

impl Charging {
    pub fn new(limits: Option<Arc<dyn Limits>>) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    // What is taken.

    pub fn is_shut(&self, buckets: &ChargedBuckets) -> bool {
        !self.shut.is_empty() && buckets.iter().any(|it| self.shut.contains_key(it))
    }

    /// Whether somebody may get a job of a queue without anything else happening.
    pub fn is_asked(&self, queue: &QueueId) -> bool {
        self.underway.values().any(|other| other == queue)
    }

    /// Opens what may have something by now.
    pub fn open(&mut self, now: Time) {
        while self.opens.first().is_some_and(|(until, _)| *until <= now)
            && let Some((until, bucket)) = self.opens.pop_first()
        {
            if self.shut.get(&bucket) == Some(&until) {
                self.shut.remove(&bucket);
            }
        }
    }

    fn shut(&mut self, bucket: ChargedBucket, until: Time) {
        if let Some(before) = self.shut.insert(bucket.clone(), until) {
            self.opens.remove(&(before, bucket.clone()));
        }
        self.opens.insert((until, bucket));
    }

    /// Whether a ready job may start; takes what it charges.
    pub fn ask(&mut self, fold: &JobFold, id: JobId, now: Time) -> Asked {
        let Some(job) = fold.job(id).filter(|job| !job.options().charges.is_empty()) else {
            return Asked::May(None);
        };
        if let Some((_, reservation)) = self.granted.remove(&id) {
            return Asked::May(reservation);
        }
        if self.underway.contains_key(&id) {
            return Asked::Underway;
        }
        let queue = fold.queue_of(job);
        let limits = self.limits.clone();
        let Some(limits) = limits.filter(|_| fold.due_settlements().len() < MOST_DUE) else {
            self.shut_all(job, &queue.namespace, now + RETRY);
            return Asked::Shut;
        };
        let request = AcquireRequest {
            namespace: queue.namespace.clone(),
            charges: job.options().charges.clone(),
            mode: Mode::Try,
            reservation_ttl: Some(RESERVATION),
            request_id: None,
            priority: Priority::Batch,
            fair: FairShare::UNNAMED,
            dry_run: false,
        };
        match limits.acquire(request) {
            Acquiring::Done(done) => self.decide((id, job), queue, done.into_inner(), now),
            Acquiring::Waiting(call) => {
                self.underway.insert(id, queue.clone());
                self.calls
                    .push(Box::pin(async move { Called::Acquired(id, call.await) }));
                Asked::Underway
            }
        }
    }

    /// What an acquire has come to is told of a job that may have ended meanwhile: why it never starts, if so.
    pub fn acquired(
        &mut self,
        fold: &JobFold,
        id: JobId,
        acquired: Result<Acquired>,
        now: Time,
    ) -> Option<Box<str>> {
        let queue = self.underway.remove(&id)?;
        let granted = |reservation| (queue.namespace.clone(), reservation);
        let Some(job) = fold.job(id) else {
            if let Ok(Acquired {
                outcome: Outcome::Granted(Some(it)),
                ..
            }) = acquired
            {
                self.refund(queue.namespace, it.id);
            }
            return None;
        };
        match self.decide((id, job), &queue, acquired, now) {
            Asked::May(reservation) => {
                self.granted.insert(id, granted(reservation));
                None
            }
            Asked::Never(error) => Some(error),
            Asked::Underway | Asked::Shut => None,
        }
    }

    fn decide(
        &mut self,
        (id, job): (JobId, &Job),
        queue: &QueueId,
        acquired: Result<Acquired>,
        now: Time,
    ) -> Asked {
        let namespace = &queue.namespace;
        let acquired = match acquired {
            Ok(acquired) => acquired,
            Err(error) => {
                tracing::warn!(job = %id, error = %error.message, "the limits that a job charges cannot be asked now; it waits");
                let wait = error.retry_after.unwrap_or_default().max(RETRY);
                self.shut_all(job, namespace, now + wait);
                return Asked::Shut;
            }
        };
        match acquired.outcome {
            Outcome::Granted(granted) => return Asked::May(granted.map(|it| it.id)),
            Outcome::Never => return Asked::Never(never(job, &acquired)),
            Outcome::Denied(wait) => {
                let mut told = false;
                for (charge, state) in job.options().charges.iter().zip(&acquired.charges) {
                    let Some(mut wait) = state.retry_after else {
                        continue;
                    };
                    if matches!(state.spec, LimitSpec::Concurrency(_)) {
                        wait = wait.min(RETRY);
                    }
                    self.shut(bucket(namespace, charge), now + wait.max(Micros::TICK));
                    told = true;
                }
                if !told {
                    // Others wait there.
                    self.shut_all(job, namespace, now + wait.max(Micros::TICK));
                }
            }
            Outcome::TimedOut { .. } | Outcome::Lost => {
                self.shut_all(job, namespace, now + RETRY);
            }
        }
        Asked::Shut
    }

    fn shut_all(&mut self, job: &Job, namespace: &Namespace, until: Time) {
        for charge in &job.options().charges {
            self.shut(bucket(namespace, charge), until);
        }
    }

    // What is given back, settled and held.

    /// Gives back what was taken for jobs that nobody was there to get.
    pub fn refund_rest(&mut self) {
        for (_, (namespace, reservation)) in std::mem::take(&mut self.granted) {
            if let Some(reservation) = reservation {
                self.refund(namespace, reservation);
            }
        }
    }

    /// Gives back what was taken, and no lease was logged for.
    pub fn refund(&mut self, namespace: Namespace, reservation: ReservationId) {
        let taken = Taken {
            reservation,
            usage: Usage::RefundAll,
        };
        self.settle(None, namespace, taken);
    }

    fn settle(&mut self, lease: Option<LeaseId>, namespace: Namespace, taken: Taken) {
        let Some(limits) = self.limits.clone() else {
            return;
        };
        self.calls.push(Box::pin(async move {
            let settle = Settle {
                namespace: namespace.clone(),
                reservation: taken.reservation,
                usage: taken.usage,
            };
            Called::Settled(lease, namespace, limits.settle(settle).await)
        }));
    }

    /// Begins to settle what is due, and renews what is held.
    pub fn keep_up(&mut self, fold: &JobFold, now: Time) {
        if self.limits.is_none() {
            return;
        }
        if now >= self.settle_at {
            let room = MOST_SETTLING.saturating_sub(self.settling.len());
            let due = fold.due_settlements();
            let due = due.filter(|(lease, _)| !self.settling.contains(lease));
            let due: Vec<_> = due.take(room).map(|(at, due)| (at, due.clone())).collect();
            for (lease, due) in due {
                self.settling.insert(lease);
                self.settle(Some(lease), due.namespace, due.taken);
            }
        }
        while self.renewals.first().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, job, lease)) = self.renewals.pop_first()
        {
            self.held.remove(&lease);
            self.renew(fold, Attempt { job, lease }, now);
        }
    }

    fn renew(&mut self, fold: &JobFold, attempt: Attempt, now: Time) {
        let Attempt { job: id, lease } = attempt;
        let job = fold.job(id);
        let job = job.filter(|job| job.lease().is_some_and(|it| it.id == lease));
        let taken = job.and_then(Job::taken);
        let (Some(job), Some(taken), Some(limits)) = (job, taken, self.limits.clone()) else {
            return;
        };
        let extend = ExtendReservation {
            namespace: fold.queue_of(job).namespace.clone(),
            reservation: taken.reservation.clone(),
            ttl: RESERVATION,
            charges: Vec::new(),
            request_id: None,
        };
        self.calls.push(Box::pin(async move {
            if let Err(error) = limits.extend(extend).await {
                tracing::warn!(job = %id, error = %error.message, "what a job has taken of limits cannot be held longer");
            }
            Called::Extended
        }));
        self.hold(attempt, now + RENEWAL);
    }

    /// What an attempt has taken is to be held while it runs, and renewed at this time.
    pub fn hold(&mut self, Attempt { job, lease }: Attempt, at: Time) {
        if self.limits.is_none() {
            return;
        }
        self.renewals.insert((at, job, lease));
        self.held.insert(lease, at);
    }

    /// An attempt is over.
    pub fn release(&mut self, Attempt { job, lease }: Attempt) {
        if let Some(at) = self.held.remove(&lease) {
            self.renewals.remove(&(at, job, lease));
        }
    }

    /// A settlement has come to something: whether that is to be logged.
    pub fn settled(
        &mut self,
        lease: Option<LeaseId>,
        namespace: &Namespace,
        settled: Result<Settled>,
        now: Time,
    ) -> Option<LeaseId> {
        match settled {
            Ok(settled) => {
                for it in settled.charges {
                    // It may have something again.
                    self.shut.remove(&ChargedBucket {
                        namespace: namespace.clone(),
                        limit: it.limit,
                        key: it.key,
                    });
                }
                lease
            }
            Err(error) if is_over(error.code) => lease,
            Err(error) => {
                let lease = lease?;
                tracing::warn!(%lease, error = %error.message, "what a job has used of limits cannot be settled now");
                self.settling.remove(&lease);
                self.settle_at = now + RETRY;
                None
            }
        }
    }

    /// That it was settled is logged; or is not, and it is settled again.
    pub fn logged(&mut self, lease: LeaseId) {
        self.settling.remove(&lease);
    }

    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// When there is something to do.
    pub fn next_time(&self, fold: &JobFold) -> Option<Time> {
        let opens = self.opens.first().map(|(at, _)| *at);
        let renewal = self.renewals.first().map(|(at, ..)| *at);
        let waits = self.limits.is_some() && fold.due_settlements().len() > self.settling.len();
        let settle = waits.then_some(self.settle_at);
        [opens, renewal, settle].into_iter().flatten().min()
    }
}

/// Whether to settle again does not help.
fn is_over(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ReservationNotFound
            | ErrorCode::ReservationSettled
            | ErrorCode::ReservationExpired
            | ErrorCode::InvalidField
    )
}

fn bucket(namespace: &Namespace, charge: &Charge) -> ChargedBucket {
    ChargedBucket {
        namespace: namespace.clone(),
        limit: charge.limit.clone(),
        key: charge.key.clone(),
    }
}

/// Why a job never gets what it charges.
fn never(job: &Job, acquired: &Acquired) -> Box<str> {
    let charges = job.options().charges.iter().zip(&acquired.charges);
    let mut too_large = charges.filter(|(charge, state)| charge.amount() > state.spec.capacity());
    let told = too_large.next().map(|(charge, state)| {
        let (limit, amount) = (charge.limit.as_str(), charge.amount());
        let most = state.spec.capacity();
        format!("the limit {limit} never admits {amount} at once, but {most}; charge less or raise it, and retry the job")
    });
    told.unwrap_or_else(|| "a limit never admits what the job charges".to_owned())
        .into()
}
