//! What was taken of limits is given back, settled and held.

use super::{Called, Charging, Grant, RESERVATION, RETRY};
use futures::FutureExt as _;
use trellis_core::jobs::{
    Attempt, ChargedBucket, Job, JobFold, JobId, JobRecord, JobState, LeaseId, Taken,
};
use trellis_core::limits::{ExtendReservation, ReservationId, Settle, Settled, Usage};
use trellis_core::{ErrorCode, Micros, Namespace, Result, Time};

/// When what was taken is renewed.
pub(crate) const RENEWAL: Micros = Micros(RESERVATION.0 / 2);

/// Settlements at once that are on their way, or stand and are not logged.
const MOST_SETTLING: usize = 256;

impl Charging {
    /// Gives back what was taken for jobs that nobody came to get, or that are over.
    pub fn refund_rest(&mut self, fold: &JobFold, now: Time) {
        let is_over = |id: &JobId, grant: &Grant| {
            let ready = fold
                .job(*id)
                .is_some_and(|job| job.state() == JobState::Ready);
            grant.until <= now || !ready
        };
        let over = self.granted.iter().filter(|(id, grant)| is_over(id, grant));
        let over: Vec<JobId> = over.map(|(id, _)| *id).collect();
        let over = over.into_iter().filter_map(|id| self.take_grant(id));
        for grant in over.collect::<Vec<_>>() {
            if let Some(reservation) = grant.reservation {
                self.refund(grant.namespace, reservation, now);
            }
        }
    }

    /// Gives back what was taken, and no lease was logged for.
    pub fn refund(&mut self, namespace: Namespace, reservation: ReservationId, now: Time) {
        let taken = Taken {
            reservation,
            usage: Usage::RefundAll,
        };
        self.settle(None, namespace, taken, now);
    }

    fn settle(&mut self, lease: Option<LeaseId>, namespace: Namespace, taken: Taken, now: Time) {
        let Some(limits) = self.limits.clone() else {
            return;
        };
        let settle = Settle {
            namespace: namespace.clone(),
            reservation: taken.reservation,
            usage: taken.usage,
        };
        let mut settling = Box::pin(async move { limits.settle(settle).await });
        // Limits in memory know at once.
        if let Some(settled) = (&mut settling).now_or_never() {
            return self.settled(lease, &namespace, settled, now);
        }
        self.calls.push(Box::pin(async move {
            Called::Settled(lease, namespace, settling.await)
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
            for (lease, due) in due.take(room).collect::<Vec<_>>() {
                self.settling.insert(lease);
                self.settle(Some(lease), due.namespace.clone(), due.taken.clone(), now);
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
            Called::Nothing
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

    /// A settlement has come to something: of an attempt, or of what no lease was logged for.
    pub fn settled(
        &mut self,
        lease: Option<LeaseId>,
        namespace: &Namespace,
        settled: Result<Settled>,
        now: Time,
    ) {
        match settled {
            Ok(settled) => {
                self.settled.extend(lease);
                if self.shut.is_empty() {
                    return;
                }
                for it in settled.charges {
                    let bucket = ChargedBucket {
                        namespace: namespace.clone(),
                        limit: it.limit,
                        key: it.key,
                    };
                    // It may have something again, which whoever stands in its line is told.
                    if !self.stood_for.contains(&bucket) {
                        self.unshut(&bucket);
                    }
                }
            }
            Err(error) if is_over(error.code) => self.settled.extend(lease),
            Err(error) => {
                let Some(lease) = lease else { return };
                tracing::warn!(%lease, error = %error.message, "what a job has used of limits cannot be settled now");
                self.settling.remove(&lease);
                self.settle_at = now + RETRY;
            }
        }
    }

    /// What is to be logged of settlements that stand.
    pub fn take_settled(&mut self) -> Option<JobRecord> {
        let settled = std::mem::take(&mut self.settled);
        (!settled.is_empty()).then_some(JobRecord::Settled(settled))
    }

    /// That it was settled is logged; or is not, and it is settled again.
    pub fn logged(&mut self, lease: LeaseId) {
        self.settling.remove(&lease);
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
