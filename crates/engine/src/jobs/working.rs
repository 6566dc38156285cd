//! What workers ask: jobs to run, and what became of them.

use super::lines::{Got, Waiter};
use super::shard::{Shard, heard};
use super::{JobEngine, LEASES};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::timeout;
use trellis_core::jobs::{
    Assigned, Attempt, AttemptEnd, JobRecord, JobState, MAX_PAYLOAD_BYTES, MAX_TEXT_BYTES, Part,
    Payload, Reserve, Verdict,
};
use trellis_core::{Error, ErrorCode, Micros, Namespace, Result, check_rules};

/// The most jobs that a worker gets at once.
const MOST_AT_ONCE: usize = 1_000;

/// The attempt is over.
pub(super) fn lost() -> Error {
    Error::new(
        ErrorCode::LeaseLost,
        "the lease is over, and the job has ended or is somebody else's or about to be",
    )
}

/// A place in a line, which is left with this; and what was got there, which is given back with it unless it was taken.
struct Place<'a> {
    shard: &'a Shard,
    reserve: &'a Reserve,
    number: u64,
    told: oneshot::Receiver<Got>,
    got: Vec<Attempt>,
}

impl Place<'_> {
    /// Leaves the line; whether it stood there.
    fn leave(&self) -> bool {
        let mut state = self.shard.state.lock();
        let left = state.lines.leave(&self.reserve.queue, self.number);
        left.is_some()
    }

    /// Waits until it is told what there is, for as long as it may.
    async fn wait(&mut self) -> Result<()> {
        let most = self.reserve.max_wait;
        let waited = match most {
            Micros::ZERO => None,
            most => timeout(most.into(), &mut self.told).await.ok(),
        };
        let told = match waited {
            Some(told) => told,
            None if most > Micros::ZERO && self.leave() => Ok(Ok(Vec::new())),
            // It is being served, or is told at once.
            None => (&mut self.told).await,
        };
        self.got = heard(told)?;
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
        self.told.close();
        let mut unread = self.told.try_recv().unwrap_or(Ok(Vec::new()));
        let unread = unread.as_mut().map(std::mem::take).unwrap_or_default();
        let unused: Vec<Attempt> = unread.into_iter().chain(self.got.drain(..)).collect();
        if !unused.is_empty() {
            self.shard.give_back(unused);
        }
    }
}

impl JobEngine {
    pub(super) async fn reserve_from(
        &self,
        shard: &Arc<Shard>,
        reserve: Reserve,
    ) -> Result<Vec<Assigned>> {
        let lease = reserve.lease.unwrap_or(shard.config.lease);
        check_rules([
            (
                (1..=MOST_AT_ONCE).contains(&reserve.max_jobs),
                "max_jobs",
                "must be 1 to 1000",
            ),
            (LEASES.contains(&lease), "lease", "must be 1 s to 1 h"),
        ])?;
        let (reserve, (tell, told)) = (Arc::new(reserve), oneshot::channel());
        let number = shard.line_up(|number| Waiter {
            number,
            reserve: Arc::clone(&reserve),
            lease,
            tell,
        })?;
        let mut place = Place {
            shard,
            reserve: &reserve,
            number,
            told,
            got: Vec::new(),
        };
        place.wait().await?;
        let mut assigned = Vec::with_capacity(place.got.len());
        for at in 0..place.got.len() {
            let attempt = place.got[at];
            match shard.assigned(attempt).await {
                // It has ended meanwhile.
                Ok(None) => {}
                Ok(Some(one)) => assigned.push(one),
                // It comes again when its lease ends.
                Err(error) => {
                    tracing::warn!(job = %attempt.job, error = %error.message, "what a job needs cannot be read now");
                }
            }
        }
        place.got.clear();
        Ok(assigned)
    }

    pub(super) fn finish_one(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        how: AttemptEnd,
    ) -> impl Future<Output = Result<()>> + Send + use<> {
        let begun = self.attempted(namespace, attempt).and_then(|shard| {
            check_end(&how)?;
            let Attempt { job, lease } = attempt;
            let told = shard.propose(JobRecord::Ended { job, lease, how });
            Ok((Arc::clone(shard), told))
        });
        async move {
            let (shard, told) = begun?;
            match heard(told.await)? {
                Verdict::Void => shard.ended_before(attempt),
                _ => Ok(()),
            }
        }
    }
}

fn check_end(how: &AttemptEnd) -> Result<()> {
    match how {
        AttemptEnd::Succeeded(result) => check_rules([(
            result.len() <= MAX_PAYLOAD_BYTES,
            "result",
            "must be at most 1 MiB; put more into the cache or elsewhere and send a reference",
        )]),
        AttemptEnd::Failed { error, .. } => check_rules([(
            error.len() <= MAX_TEXT_BYTES,
            "error",
            "must be at most 4096 bytes",
        )]),
        _ => Ok(()),
    }
}

impl Shard {
    /// An attempt as its worker gets it; `None` when it is over already.
    async fn assigned(&self, attempt: Attempt) -> Result<Option<Assigned>> {
        let Attempt { job, lease } = attempt;
        let (left, number, is_reference, options) = {
            let state = self.state.lock();
            let found = state.fold.job(job);
            let Some(found) = found.filter(|it| it.lease().is_some_and(|it| it.id == lease)) else {
                return Ok(None);
            };
            let options = found.options().clone();
            (found.left, found.attempts, found.is_reference, options)
        };
        let data = self.bytes(job, Part::Payload).await?;
        let checkpoint = match left {
            Some(_) => Some(self.bytes(job, Part::Left).await?),
            None => None,
        };
        let remaining = self.state.lock().leases.remaining(attempt, self.now());
        Ok(remaining.map(|remaining| Assigned {
            job,
            lease,
            remaining,
            attempt: number,
            payload: Payload { data, is_reference },
            checkpoint,
            options,
        }))
    }

    pub(super) fn extend(&self, attempt: Attempt, span: Option<Micros>) -> Result<Micros> {
        if span.is_some_and(|span| !LEASES.contains(&span)) {
            return Err(Error::invalid("lease", "must be 1 s to 1 h"));
        }
        let now = self.now();
        let mut state = self.state.lock();
        let extended = state.leases.extend(attempt, span, now);
        extended.ok_or_else(lost)
    }

    /// Whether this attempt was heard of before: then a repeat is right.
    fn ended_before(&self, attempt: Attempt) -> Result<()> {
        let state = self.state.lock();
        let job = state.fold.job(attempt.job);
        let ended = job.filter(|job| job.state() == JobState::Succeeded);
        let by = ended.and_then(|job| job.ending()?.lease);
        if by == Some(attempt.lease) {
            Ok(())
        } else {
            Err(lost())
        }
    }
}
