//! Until when workers have their jobs. That a lease began and ended is logged, what keeps it alive is not.

use std::collections::{BTreeSet, HashMap};
use tokio::sync::oneshot;
use trellis_core::jobs::{Attempt, JobId};
use trellis_core::{Micros, Time};

struct Lease {
    attempt: Attempt,
    span: Micros,
    until: Time,
    /// Dropped with the lease: who waits for its end.
    over: Option<oneshot::Sender<()>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Leases {
    held: HashMap<JobId, Lease>,
    ends: BTreeSet<(Time, JobId)>,
}

impl Leases {
    pub fn insert(&mut self, attempt: Attempt, span: Micros, now: Time) {
        self.remove(attempt.job);
        let until = now + span;
        self.ends.insert((until, attempt.job));
        let lease = Lease {
            attempt,
            span,
            until,
            over: None,
        };
        self.held.insert(attempt.job, lease);
    }

    pub fn remove(&mut self, job: JobId) {
        if let Some(lease) = self.held.remove(&job) {
            self.ends.remove(&(lease.until, job));
        }
    }

    /// A worker has just got its job, for so long.
    pub fn set_span(&mut self, attempt: Attempt, span: Micros, now: Time) {
        if let Some(lease) = self.own(attempt) {
            lease.span = span;
            self.move_end(attempt.job, now + span);
        }
    }

    /// Nothing is heard of a worker: it has its job for at most so long.
    pub fn let_go(&mut self, attempt: Attempt, within: Micros, now: Time) {
        if let Some(lease) = self.own(attempt) {
            let until = lease.until.min(now + within);
            self.move_end(attempt.job, until);
        }
    }

    /// Tells when an attempt is over; `None` if it is.
    pub fn watch(&mut self, attempt: Attempt) -> Option<oneshot::Receiver<()>> {
        let lease = self.own(attempt)?;
        let (over, told) = oneshot::channel();
        lease.over = Some(over);
        Some(told)
    }

    fn own(&mut self, attempt: Attempt) -> Option<&mut Lease> {
        let lease = self.held.get_mut(&attempt.job)?;
        (lease.attempt == attempt).then_some(lease)
    }

    fn move_end(&mut self, job: JobId, until: Time) {
        if let Some(lease) = self.held.get_mut(&job) {
            self.ends.remove(&(lease.until, job));
            self.ends.insert((until, job));
            lease.until = until;
        }
    }

    /// A worker needs longer, by its span or another one; how long it has now. `None` if it has nothing.
    pub fn extend(&mut self, attempt: Attempt, span: Option<Micros>, now: Time) -> Option<Micros> {
        let lease = self.own(attempt)?;
        let until = lease.until.max(now + span.unwrap_or(lease.span));
        self.move_end(attempt.job, until);
        Some(until - now)
    }

    /// How long a worker has its job.
    pub fn remaining(&self, attempt: Attempt, now: Time) -> Option<Micros> {
        let lease = self.held.get(&attempt.job)?;
        (lease.attempt == attempt).then(|| lease.until - now)
    }

    /// Those that are over, at most so many.
    pub fn over(&self, now: Time, most: usize) -> impl Iterator<Item = Attempt> {
        let over = self.ends.iter().take_while(move |(until, _)| *until <= now);
        let over = over.filter_map(|(_, job)| Some(self.held.get(job)?.attempt));
        over.take(most)
    }

    pub fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(until, _)| *until)
    }
}
