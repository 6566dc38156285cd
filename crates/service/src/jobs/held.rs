//! What a worker has on its stream, which is let go with this.

use super::JobRpc;
use futures::FutureExt as _;
use std::future::poll_fn;
use std::sync::Arc;
use trellis_core::jobs::{Attempt, JobMap, LeaseId, WatchAttempts};
use trellis_core::{ErrorCode, Micros, Namespace, Result, Time};

/// A job that a worker has.
struct Has {
    lease: LeaseId,
    /// Its end was said, and is not durable yet.
    finishing: bool,
    /// The worker wants it for so long, whatever becomes of the stream.
    until: Option<Time>,
}

/// See the module.
pub(super) struct Held {
    rpc: Arc<JobRpc>,
    pub namespace: Namespace,
    jobs: JobMap<Has>,
    finishing: usize,
    watched: Box<dyn WatchAttempts>,
    /// The daemon ends the stream: leases have their time.
    pub keeps: bool,
}

impl Held {
    pub fn new(rpc: Arc<JobRpc>, namespace: Namespace) -> Self {
        Self {
            watched: rpc.jobs.watch_attempts(&namespace),
            rpc,
            namespace,
            jobs: JobMap::default(),
            finishing: 0,
            keeps: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Jobs that the worker is busy with.
    pub fn busy(&self) -> usize {
        self.jobs.len() - self.finishing
    }

    /// A worker gets a job, or goes on with one.
    pub fn take(&mut self, attempt: Attempt) {
        let has = Has {
            lease: attempt.lease,
            finishing: false,
            until: None,
        };
        self.jobs.insert(attempt.job, has);
        self.watched.add(attempt);
    }

    fn own(&mut self, attempt: Attempt) -> Option<&mut Has> {
        let has = self.jobs.get_mut(&attempt.job)?;
        (has.lease == attempt.lease).then_some(has)
    }

    fn remove(&mut self, attempt: Attempt) -> Option<Has> {
        self.own(attempt)?;
        let has = self.jobs.remove(&attempt.job)?;
        self.finishing -= usize::from(has.finishing);
        Some(has)
    }

    /// The end of an attempt was said.
    pub fn finishes(&mut self, attempt: Attempt) {
        if let Some(has) = self.own(attempt).filter(|has| !has.finishing) {
            has.finishing = true;
            self.finishing += 1;
        }
    }

    /// What became of that.
    pub fn finished(&mut self, attempt: Attempt, result: &Result<()>) {
        if result
            .as_ref()
            .err()
            .is_none_or(|error| is_over(error.code))
        {
            self.remove(attempt);
        } else if let Some(has) = self.own(attempt).filter(|has| has.finishing) {
            has.finishing = false;
            self.finishing -= 1;
        }
    }

    /// The worker wants a job for so long from now.
    pub fn extended(&mut self, attempt: Attempt, remaining: Micros) {
        let until = self.rpc.clock.mono() + remaining;
        if let Some(has) = self.own(attempt) {
            has.until = Some(until);
        }
    }

    /// Waits for attempts that are over.
    pub async fn next_over(&mut self) -> Vec<Attempt> {
        poll_fn(|task| self.watched.poll_over(task)).await
    }

    /// An attempt is over: whether its worker does not know.
    pub fn ended(&mut self, attempt: Attempt) -> bool {
        let has = self.remove(attempt);
        has.is_some_and(|has| !has.finishing)
    }

    /// Attempts whose leases are to be kept alive.
    pub fn attempts(&self) -> Vec<Attempt> {
        let each = self.jobs.iter();
        each.map(|(job, has)| Attempt {
            job: *job,
            lease: has.lease,
        })
        .collect()
    }
}

/// Whether an attempt is over to which a call said this.
pub(super) fn is_over(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::LeaseLost | ErrorCode::JobNotFound)
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.keeps {
            return;
        }
        // What another stream has taken up is not ours to let go.
        for attempt in self.next_over().now_or_never().unwrap_or_default() {
            self.remove(attempt);
        }
        let now = self.rpc.clock.mono();
        let within = self.rpc.config.jobs.reattach_time;
        let mut let_go = Vec::new();
        for (job, has) in &self.jobs {
            let attempt = Attempt {
                job: *job,
                lease: has.lease,
            };
            match has.until.filter(|until| *until > now + within) {
                None => let_go.push(attempt),
                Some(until) => self
                    .rpc
                    .jobs
                    .let_go(&self.namespace, &[attempt], until - now),
            }
        }
        self.rpc.jobs.let_go(&self.namespace, &let_go, within);
    }
}
