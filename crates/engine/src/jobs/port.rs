//! The port: what callers ask, and what they are told.

use super::JobEngine;
use super::shard::{Shard, heard};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use std::sync::Arc;
use tokio::time::timeout;
use trellis_core::jobs::{
    Assigned, Attempt, AttemptEnd, BatchId, BatchSpec, BatchView, BatchWatch, Chunk, Decision,
    JobId, JobRecord, JobSpec, JobState, JobView, JobWatch, Jobs, JobsStatus, ListJobs, Part,
    Progress, QueueId, QueueSpec, QueueState, Request, Reserve, Submission, Submitted, Submitting,
    SubmittingBatch, Verdict, WatchAttempts,
};
use trellis_core::limits::ActualAmount;
use trellis_core::log::Durability;
use trellis_core::{Error, ErrorCode, Micros, Name, Namespace, Result, Scope};

impl JobEngine {
    fn check(&self, spec: &JobSpec) -> Result<()> {
        spec.check()?;
        if !spec.options.charges.is_empty() && self.ports.limits.is_none() {
            let allowed = "must be empty: no limits are served beside these jobs";
            return Err(Error::invalid("charges", allowed));
        }
        Ok(())
    }

    /// The job of an attempt, whose worker may speak of it. Errors: `JobNotFound`.
    pub(super) fn attempted(&self, namespace: &Namespace, attempt: Attempt) -> Result<&Arc<Shard>> {
        self.check_open()?;
        let shard = self.shard_of(attempt.job)?;
        shard.state.lock().find(namespace, attempt.job)?;
        Ok(shard)
    }
}

fn submitted(id: JobId, verdict: Verdict, durability: Durability) -> Result<Submitted> {
    let Verdict::Submitted(submission) = verdict else {
        // Ids are random, so it is older than what is remembered.
        let message = "the clock of the daemon was set back; the job was not taken in";
        return Err(Error::new(ErrorCode::StoreUnavailable, message));
    };
    let (job, decision) = match submission {
        Submission::New => (id, Decision::New),
        Submission::Replaced(old) => (id, Decision::Replaced(old)),
        Submission::Repeat(first) => (first, Decision::Repeat),
        Submission::Existing(other) => (other, Decision::Existing),
        Submission::Rejected(other) => (other, Decision::Rejected),
        Submission::RequestReused => {
            let message = "the request id was used for another job; send a new one";
            return Err(Error::new(ErrorCode::RequestIdReused, message));
        }
        Submission::NoBatch => {
            let allowed = "must be a batch of the same queue, which is not over or forgotten";
            return Err(Error::invalid("batch.batch_id", allowed));
        }
        Submission::BatchOver => {
            let allowed = "must be a batch that goes on: this one was stopped, or is over";
            return Err(Error::invalid("batch.batch_id", allowed));
        }
        Submission::BatchFull(count) => {
            let allowed = format!("must be below {count}, the count of the batch");
            return Err(Error::invalid("batch.index", allowed));
        }
        Submission::QueueFull => {
            let message = "the queue has as many jobs as it may; raise its max_jobs, or wait until some have ended";
            return Err(Error::new(ErrorCode::TooManyJobs, message));
        }
    };
    Ok(Submitted {
        job,
        decision,
        durability,
    })
}

#[async_trait]
impl Jobs for JobEngine {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn submit(&self, job: JobSpec) -> Submitting {
        let begun = self.check_open().and_then(|()| self.check(&job));
        if let Err(error) = begun {
            return Box::pin(std::future::ready(Err(error)));
        }
        let shard = self.shard(&job.queue);
        let id = JobId::new(shard.now(), shard.partition, rand::random());
        let spec = Box::new(job);
        let told = shard.propose(JobRecord::Submitted { id, spec });
        let (durability, entry) = (self.durability, self.underway.enter());
        Box::pin(async move {
            let verdict = heard(told.await);
            drop(entry);
            submitted(id, verdict?, durability)
        })
    }

    fn submit_batch(&self, jobs: Vec<JobSpec>) -> SubmittingBatch {
        let under_way: Vec<Submitting> = jobs.into_iter().map(|job| self.submit(job)).collect();
        Box::pin(join_all(under_way))
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Vec<Assigned>> {
        self.check_open()?;
        self.reserve_from(self.shard(&reserve.queue), reserve).await
    }

    async fn finish(
        &self,
        namespace: &Namespace,
        ends: Vec<(Attempt, AttemptEnd)>,
    ) -> Vec<Result<()>> {
        let _entry = self.underway.enter();
        let ends = ends
            .into_iter()
            .map(|(attempt, how)| self.finish_one(namespace, attempt, how));
        // Each is proposed before the first is waited for.
        let ends: Vec<_> = ends.collect();
        join_all(ends).await
    }

    async fn extend(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        span: Option<Micros>,
    ) -> Result<Micros> {
        let shard = self.attempted(namespace, attempt)?;
        shard.extend(attempt, span)
    }

    fn let_go(&self, namespace: &Namespace, attempts: &[Attempt], within: Micros) {
        for attempt in attempts {
            let Ok(shard) = self.shard_of(attempt.job) else {
                continue;
            };
            let now = shard.now();
            let mut state = shard.state.lock();
            if state.find(namespace, attempt.job).is_ok() {
                state.leases.let_go(*attempt, within, now);
            }
            drop(state);
            shard.asked.notify_one();
        }
    }

    fn watch_attempts(&self, namespace: &Namespace) -> Box<dyn WatchAttempts> {
        self.watched(namespace)
    }

    async fn progress(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        progress: Progress,
    ) -> Result<()> {
        self.tell_progress(namespace, attempt, progress).await
    }

    async fn append(&self, namespace: &Namespace, attempt: Attempt, chunk: Chunk) -> Result<()> {
        self.tell_chunk(namespace, attempt, chunk).await
    }

    async fn used(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        used: Vec<ActualAmount>,
    ) -> Result<()> {
        self.tell_used(namespace, attempt, used).await
    }

    async fn watch(
        &self,
        namespace: &Namespace,
        job: JobId,
        from: u64,
    ) -> Result<Box<dyn JobWatch>> {
        self.shard_of(job)?.watch(namespace, job, from)
    }

    async fn create_batch(&self, spec: BatchSpec) -> Result<(BatchView, bool)> {
        self.make_batch(spec).await
    }

    async fn batch(&self, namespace: &Namespace, batch: BatchId) -> Result<BatchView> {
        let shard = self.shard_of(batch.0)?;
        shard.state.lock().view_batch(namespace, batch)
    }

    async fn cancel_batch(&self, namespace: &Namespace, batch: BatchId) -> Result<BatchView> {
        self.stop_batch(namespace, batch).await
    }

    async fn watch_batch(
        &self,
        namespace: &Namespace,
        batch: BatchId,
        from: u64,
    ) -> Result<Box<dyn BatchWatch>> {
        let shard = self.shard_of(batch.0)?;
        shard.watch_batch(namespace, batch, from)
    }

    async fn job(&self, namespace: &Namespace, job: JobId) -> Result<JobView> {
        self.shard_of(job)?.view(namespace, job)
    }

    async fn wait(
        &self,
        namespace: &Namespace,
        job: JobId,
        max_wait: Micros,
    ) -> Result<(JobView, Option<Bytes>)> {
        let shard = self.shard_of(job)?;
        let ended = {
            let mut state = shard.state.lock();
            let open = !state.find(namespace, job)?.state().is_ended();
            if open && max_wait > Micros::ZERO {
                state.check_open()?;
                state.check_waiters(&shard.config)?;
                Some(state.watchers.watch(job))
            } else {
                None
            }
        };
        if let Some(ended) = ended
            && let Ok(Err(_)) = timeout(max_wait.into(), ended).await
        {
            shard.state.lock().check_open()?;
        }
        let view = shard.view(namespace, job)?;
        let result = match view.state {
            JobState::Succeeded => Some(shard.bytes(job, Part::Left).await?),
            _ => None,
        };
        Ok((view, result))
    }

    async fn jobs(&self, list: ListJobs) -> Result<(Vec<JobView>, bool)> {
        let shard = self.shard(&list.queue);
        let state = shard.state.lock();
        let states = if list.states.is_empty() {
            JobState::ALL.as_slice()
        } else {
            &list.states
        };
        let jobs = state.fold.jobs_in(&list.queue, states, list.after);
        let wanted = jobs.take(list.page_size.saturating_add(1));
        let mut found: Vec<JobView> = wanted.map(|(id, job)| state.view(id, job)).collect();
        let more = found.len() > list.page_size;
        found.truncate(list.page_size);
        Ok((found, more))
    }

    async fn cancel(&self, namespace: &Namespace, job: JobId) -> Result<JobView> {
        self.check_open()?;
        let shard = self.shard_of(job)?;
        if !shard.view(namespace, job)?.state.is_ended() {
            shard.write(JobRecord::Cancelled(job)).await?;
        }
        shard.view(namespace, job)
    }

    async fn retry(
        &self,
        namespace: &Namespace,
        job: JobId,
        request: Option<Request>,
    ) -> Result<Submitted> {
        let shard = self.shard_of(job)?;
        let mut spec = self.again(shard, namespace, job).await?;
        spec.options.request = request;
        self.submit(spec).await
    }

    async fn purge(&self, queue: QueueId, states: Vec<JobState>) -> Result<u64> {
        self.purge_all(queue, states).await
    }

    async fn requeue(&self, queue: QueueId, max_jobs: usize) -> Result<u64> {
        self.requeue_some(queue, max_jobs).await
    }

    async fn set_queue(&self, queue: QueueId, spec: QueueSpec) -> Result<QueueState> {
        self.check_open()?;
        spec.check()?;
        let shard = self.shard(&queue);
        let set = JobRecord::QueueSet {
            queue: queue.clone(),
            spec,
        };
        shard.write(set).await?;
        Ok(shard.state.lock().queue(&queue))
    }

    async fn queue(&self, queue: QueueId) -> Result<QueueState> {
        Ok(self.shard(&queue).state.lock().queue(&queue))
    }

    async fn queues(
        &self,
        namespace: &Namespace,
        after: Option<Name>,
        page_size: usize,
    ) -> Result<(Vec<QueueState>, bool)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let state = shard.state.lock();
            let own = state.fold.queues().filter(|queue| {
                let behind = after.as_ref().is_none_or(|after| queue.name > *after);
                queue.namespace == *namespace && behind
            });
            found.extend(own.cloned());
        }
        found.sort();
        let more = found.len() > page_size;
        found.truncate(page_size);
        let look = |queue: QueueId| self.shard(&queue).state.lock().queue(&queue);
        Ok((found.into_iter().map(look).collect(), more))
    }

    fn status(&self) -> JobsStatus {
        let mut status = JobsStatus::default();
        for shard in &self.shards {
            shard.tell_status(&mut status);
        }
        status
    }
}
