//! What is done with many jobs of a queue at once: purge, and requeue of dead letters.

use super::JobEngine;
use super::shard::Shard;
use futures::future::join_all;
use std::sync::Arc;
use trellis_core::jobs::{
    Decision, JobId, JobRecord, JobSpec, JobState, Jobs, Part, Payload, QueueId, Request, Verdict,
    check_purged,
};
use trellis_core::{Error, Namespace, RequestId, Result, check_rules};

/// Jobs that are requeued at once.
const AT_ONCE: usize = 32;

/// The most jobs of one call.
const MOST: usize = 1_000;

impl JobEngine {
    pub(super) async fn purge_all(&self, queue: QueueId, states: Vec<JobState>) -> Result<u64> {
        self.check_open()?;
        check_purged(&states)?;
        let _entry = self.underway.enter();
        let shard = self.shard(&queue);
        let there = {
            let state = shard.state.lock();
            let counts = states.iter().map(|it| state.fold.count(&queue, *it));
            counts.sum::<u64>()
        };
        let mut sum = 0;
        while sum < there {
            let purged = JobRecord::Purged {
                queue: queue.clone(),
                states: states.clone(),
            };
            match shard.write(purged).await? {
                Verdict::Purged(count) if count > 0 => sum += u64::from(count),
                _ => break,
            }
        }
        Ok(sum)
    }

    pub(super) async fn requeue_some(&self, queue: QueueId, max_jobs: usize) -> Result<u64> {
        self.check_open()?;
        check_rules([(
            (1..=MOST).contains(&max_jobs),
            "max_jobs",
            "must be 1 to 1000",
        )])?;
        let shard = self.shard(&queue);
        let dead: Vec<JobId> = {
            let state = shard.state.lock();
            let states = [JobState::Dead, JobState::Failed];
            let dead = state.fold.jobs_in(&queue, &states, None);
            dead.map(|(id, _)| id).take(max_jobs).collect()
        };
        let mut count = 0;
        for some in dead.chunks(AT_ONCE) {
            let namespace = &queue.namespace;
            let some = some.iter().map(|job| self.replace(shard, namespace, *job));
            for done in join_all(some).await {
                count += u64::from(done?);
            }
        }
        Ok(count)
    }

    /// A new job in place of one that is dead; whether there is one. A repeat makes no second one.
    async fn replace(&self, shard: &Arc<Shard>, namespace: &Namespace, job: JobId) -> Result<bool> {
        let mut spec = self.again(shard, namespace, job).await?;
        spec.options.request = Some(Request {
            id: RequestId::new(format!("requeue of {job}"), "request_id")?,
            digest: 0,
        });
        let submitted = self.submit(spec).await?;
        let stands = matches!(
            submitted.decision,
            Decision::New | Decision::Replaced(_) | Decision::Repeat
        );
        // In the way of the others is one of the same unique key, which has not ended.
        if stands {
            shard.write(JobRecord::Forgotten(job)).await?;
        }
        Ok(stands)
    }

    /// A job like one that has ended without success.
    pub(super) async fn again(
        &self,
        shard: &Arc<Shard>,
        namespace: &Namespace,
        job: JobId,
    ) -> Result<JobSpec> {
        let (view, is_reference) = {
            let state = shard.state.lock();
            let found = state.find(namespace, job)?;
            (state.view(job, found), found.is_reference)
        };
        if !view.state.is_ended() || view.state == JobState::Succeeded {
            let allowed = "must be a job that has ended without success";
            return Err(Error::invalid("job_id", allowed));
        }
        let data = shard.bytes(job, Part::Payload).await?;
        let mut options = view.options;
        options.retry_of = Some(job);
        options.request = None;
        options.deadline = None;
        options.batch = None;
        Ok(JobSpec {
            queue: view.queue,
            payload: Payload { data, is_reference },
            priority: view.priority,
            run_at: None,
            options,
        })
    }
}
