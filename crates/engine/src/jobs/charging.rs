//! Charges of jobs against limits: taken before a job is leased, settled once its attempt is over, held while it runs.
//!
//! Limits may be across a network, so a call is on its way while the partition goes on. A bucket that refuses is shut, and the jobs that charge it
//! are passed by. A job that charges this bucket alone stands in the limits' own line for them, until it has its turn there; one that charges several would hold the
//! others while it stands, so it is tried again when the bucket may have something. What was taken waits a moment for a worker; if no lease is logged for it, it is
//! given back while this life lasts, and stays spent after a crash.

mod settling;

pub(super) use settling::RENEWAL;

use super::calls::{Call, Called};
use futures::future::{AbortHandle, Abortable, Aborted};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use trellis_core::jobs::{
    ChargedBucket, ChargedBuckets, Job, JobFold, JobId, JobMap, JobState, LeaseId, QueueId,
};
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, Charge, FairShare, LimitSpec, Limits, Mode, Outcome,
    Priority, ReservationId,
};
use trellis_core::{Micros, Namespace, Result, Time};

/// How long what was taken is held unless that is renewed.
const RESERVATION: Micros = Micros::from_secs(60);

/// When a bucket is tried again that does not tell when it has something: its slots may be freed at any time, or the limits are away.
const RETRY: Micros = Micros::from_secs(1);

/// How long a job stands in the limits' line at a time: longer than lines are.
const STAND: Micros = Micros::from_secs(3_600);

/// Jobs that stand there at once; the others are tried again when their buckets may have something.
const MOST_STANDING: usize = 256;

/// How long what was taken waits for a worker.
const KEPT: Micros = Micros::from_secs(1);

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

/// What was taken for a job that no worker has been found for.
struct Grant {
    namespace: Namespace,
    reservation: Option<ReservationId>,
    /// See [`line()`].
    line: u64,
    until: Time,
}

/// See the module.
#[derive(Default)]
pub(super) struct Charging {
    limits: Option<Arc<dyn Limits>>,
    /// Buckets that have nothing, and until when.
    shut: HashMap<ChargedBucket, Time>,
    opens: BTreeSet<(Time, ChargedBucket)>,
    /// Jobs that are asked for.
    underway: JobMap<QueueId>,
    /// Jobs in the limits' line.
    standing: JobMap<Standing>,
    /// Their buckets, of which each has one.
    stood_for: HashSet<ChargedBucket>,
    /// What was taken for jobs that are about to be leased.
    granted: JobMap<Grant>,
    /// How many of them stand in each line, which is not passed by then, whatever is shut.
    offered: HashMap<u64, usize>,
    /// Attempts whose settlement is on its way, or stands and is not logged.
    settling: BTreeSet<LeaseId>,
    /// Those of them of which it is to be logged.
    settled: Vec<LeaseId>,
    /// When settlements are tried again.
    settle_at: Time,
    renewals: BTreeSet<(Time, JobId, LeaseId)>,
    /// When each of those is.
    held: BTreeMap<LeaseId, Time>,
    /// Calls that have begun, for the task to carry on.
    calls: Vec<Call>,
}

/// A job in the limits' line.
struct Standing {
    queue: QueueId,
    /// What is shut as long as it stands.
    bucket: ChargedBucket,
    /// When that may have something, as far as is known.
    retry_at: Time,
    leave: AbortHandle,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.leave.abort();
    }
}

impl Charging {
    pub fn new(limits: Option<Arc<dyn Limits>>) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    // What is taken.

    /// Whether jobs of a queue that charge these buckets are passed by.
    pub fn is_shut(&self, queue: &QueueId, buckets: &ChargedBuckets) -> bool {
        let shut = self.is_any_shut(buckets);
        shut && (self.offered.is_empty() || !self.offered.contains_key(&line(queue, buckets)))
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

    /// Shuts a bucket, unless it is shut as long as somebody stands in its line.
    fn shut(&mut self, bucket: ChargedBucket, until: Time) {
        if self.stood_for.contains(&bucket) {
            return;
        }
        if let Some(before) = self.shut.insert(bucket.clone(), until) {
            self.opens.remove(&(before, bucket.clone()));
        }
        self.opens.insert((until, bucket));
    }

    /// A bucket may have something.
    fn unshut(&mut self, bucket: &ChargedBucket) {
        if let Some(until) = self.shut.remove(bucket) {
            self.opens.remove(&(until, bucket.clone()));
        }
    }

    /// Whether a ready job may start; takes what it charges.
    pub fn ask(&mut self, fold: &JobFold, id: JobId, now: Time) -> Asked {
        let Some(job) = fold.job(id).filter(|job| !job.options().charges.is_empty()) else {
            return Asked::May(None);
        };
        if let Some(grant) = self.take_grant(id) {
            return Asked::May(grant.reservation);
        }
        if self.underway.contains_key(&id) {
            return Asked::Underway;
        }
        let queue = fold.queue_of(job);
        let shut = self.is_any_shut(buckets(job));
        if shut || self.standing.contains_key(&id) {
            return Asked::Shut;
        }
        let limits = self.limits.clone();
        let Some(limits) = limits.filter(|_| fold.due_settlements().len() < MOST_DUE) else {
            self.shut_all(job, now + RETRY);
            return Asked::Shut;
        };
        let request = request(job, &queue.namespace, Mode::Try);
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
        self.take(fold, (id, queue), acquired, now)
    }

    /// The same of a job that stood in the limits' line.
    pub fn stood(
        &mut self,
        fold: &JobFold,
        id: JobId,
        acquired: Result<Acquired>,
        now: Time,
    ) -> Option<Box<str>> {
        let (queue, bucket, retry_at) = self.leave(id)?;
        if let Err(error) = &acquired {
            // For example, as many stand there as may.
            tracing::debug!(job = %id, error = %error.message, "a job cannot stand in the line of a limit");
            self.shut(bucket, retry_at.max(now + RETRY));
            return None;
        }
        self.take(fold, (id, queue), acquired, now)
    }

    fn take(
        &mut self,
        fold: &JobFold,
        (id, queue): (JobId, QueueId),
        acquired: Result<Acquired>,
        now: Time,
    ) -> Option<Box<str>> {
        let Some(job) = fold.job(id).filter(|job| job.state() == JobState::Ready) else {
            if let Ok(Acquired {
                outcome: Outcome::Granted(Some(it)),
                ..
            }) = acquired
            {
                self.refund(queue.namespace, it.id, now);
            }
            return None;
        };
        match self.decide((id, job), &queue, acquired, now) {
            Asked::May(reservation) => {
                let line = line(&queue, buckets(job));
                *self.offered.entry(line).or_default() += 1;
                let grant = Grant {
                    namespace: queue.namespace,
                    reservation,
                    line,
                    until: now + KEPT,
                };
                self.granted.insert(id, grant);
                None
            }
            Asked::Never(error) => Some(error),
            Asked::Underway | Asked::Shut => None,
        }
    }

    fn take_grant(&mut self, id: JobId) -> Option<Grant> {
        let grant = self.granted.remove(&id)?;
        if let Some(count) = self.offered.get_mut(&grant.line) {
            *count -= 1;
            if *count == 0 {
                self.offered.remove(&grant.line);
            }
        }
        Some(grant)
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
                self.shut_all(job, now + wait);
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
                    self.shut_all(job, now + wait.max(Micros::TICK));
                }
                self.stand(id, job, queue, now);
            }
            // It stood in the line for as long as one may.
            Outcome::TimedOut { .. } => {}
            Outcome::Lost => self.shut_all(job, now + RETRY),
        }
        Asked::Shut
    }

    fn shut_all(&mut self, job: &Job, until: Time) {
        for bucket in buckets(job) {
            self.shut(bucket.clone(), until);
        }
    }

    fn is_any_shut(&self, buckets: &[ChargedBucket]) -> bool {
        !self.shut.is_empty() && buckets.iter().any(|it| self.shut.contains_key(it))
    }

    /// Has a job stand in the limits' line of the one bucket that it charges, unless another one stands there or too many do elsewhere.
    fn stand(&mut self, id: JobId, job: &Job, queue: &QueueId, now: Time) {
        let full = self.standing.len() >= MOST_STANDING;
        let ([charge], Some(limits)) = (&job.options().charges[..], self.limits.clone()) else {
            return;
        };
        let bucket = bucket(&queue.namespace, charge);
        if full || self.stood_for.contains(&bucket) {
            return;
        }
        let request = request(job, &queue.namespace, Mode::Wait(STAND));
        let (leave, stands) = AbortHandle::new_pair();
        let acquiring = Abortable::new(limits.acquire(request), stands);
        self.calls.push(Box::pin(async move {
            match acquiring.await {
                Ok(acquired) => Called::Stood(id, acquired),
                Err(Aborted) => Called::Nothing,
            }
        }));
        let retry_at = self.shut.get(&bucket).copied().unwrap_or(now);
        self.shut(bucket.clone(), now + STAND + RETRY);
        self.stood_for.insert(bucket.clone());
        let standing = Standing {
            queue: queue.clone(),
            bucket,
            retry_at,
            leave,
        };
        self.standing.insert(id, standing);
    }

    /// A job leaves the limits' line: others that charge the same are asked for again. Returns its queue, the bucket and when that may have
    /// something, if it stood there.
    pub fn leave(&mut self, id: JobId) -> Option<(QueueId, ChargedBucket, Time)> {
        let standing = self.standing.remove(&id)?;
        self.stood_for.remove(&standing.bucket);
        self.unshut(&standing.bucket);
        let (queue, bucket) = (standing.queue.clone(), standing.bucket.clone());
        Some((queue, bucket, standing.retry_at))
    }

    /// Gives back what no worker will come for, at the end.
    pub fn close(&mut self, now: Time) {
        self.standing.clear();
        for (_, grant) in std::mem::take(&mut self.granted) {
            if let Some(reservation) = grant.reservation {
                self.refund(grant.namespace, reservation, now);
            }
        }
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
        let unused = self.granted.values().map(|grant| grant.until).min();
        [opens, renewal, settle, unused].into_iter().flatten().min()
    }
}

/// For what a job charges, on the account that it takes its turns on.
fn request(job: &Job, namespace: &Namespace, mode: Mode) -> AcquireRequest {
    let turn = job.options().turn.as_ref();
    let fair = turn.and_then(|turn| FairShare::new(turn.fair_key.to_string(), turn.weight).ok());
    AcquireRequest {
        namespace: namespace.clone(),
        charges: job.options().charges.clone(),
        mode,
        reservation_ttl: Some(RESERVATION),
        request_id: None,
        priority: Priority::Batch,
        fair: fair.unwrap_or(FairShare::UNNAMED),
        dry_run: false,
    }
}

/// Names the jobs of a queue that charge the same buckets. Two lines of one name would be looked at together, which costs time and nothing else.
fn line(queue: &QueueId, buckets: &[ChargedBucket]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (queue, buckets).hash(&mut hasher);
    hasher.finish()
}

/// What a job charges.
fn buckets(job: &Job) -> &[ChargedBucket] {
    job.buckets().map_or(&[], |buckets| buckets)
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
