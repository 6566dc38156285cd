//! What the port answers, as the contract spells it.

use super::super::events::durability;
use super::super::pages::fitting;
use super::super::{count, duration, scope, timestamp};
use super::{jobs_token, queues_token};
use trellis_core::jobs::{
    Assigned, Attempt, Decision, JobOptions, JobState, JobView, OnConflict, Payload, QueueId,
    QueueSpec, QueueState, RetryPolicy, Submitted, Unique,
};
use trellis_core::limits::Charge;
use trellis_core::{Micros, Namespace, Scope};
use trellis_proto::{MAX_MESSAGE_BYTES, v1};

/// What a message has beside its jobs, and what each job adds beyond its bytes: ids, keys, tags and lengths.
const MESSAGE_OVERHEAD: usize = 4_096;
const JOB_OVERHEAD: usize = 1_536;

/// Bytes of so many jobs that fit one answer.
pub(crate) fn room(jobs: usize) -> usize {
    MAX_MESSAGE_BYTES - MESSAGE_OVERHEAD - jobs * JOB_OVERHEAD
}

/// An attempt's name as text.
pub(crate) fn lease_id(attempt: Attempt) -> String {
    format!("{}-{}", attempt.job, attempt.lease)
}

pub(crate) fn submitted(submitted: Submitted) -> v1::SubmittedJob {
    let (decision, replaced) = match submitted.decision {
        Decision::New => (v1::JobDecision::New, None),
        Decision::Replaced(old) => (v1::JobDecision::Replaced, Some(old)),
        Decision::Repeat => (v1::JobDecision::Repeat, None),
        Decision::Existing => (v1::JobDecision::Existing, None),
        Decision::Rejected => (v1::JobDecision::Rejected, None),
    };
    v1::SubmittedJob {
        job_id: submitted.job.to_string(),
        decision: decision.into(),
        replaced_job_id: replaced.map(|old| old.to_string()).unwrap_or_default(),
        durability: durability(submitted.durability).into(),
    }
}

/// An attempt that was taken this long ago.
pub(crate) fn assigned(assigned: Assigned, ago: Micros) -> v1::AssignedJob {
    let attempt = Attempt {
        job: assigned.job,
        lease: assigned.lease,
    };
    let remaining = assigned.remaining.0.saturating_sub(ago.0);
    v1::AssignedJob {
        job_id: assigned.job.to_string(),
        lease_id: lease_id(attempt),
        lease_remaining: Some(duration(Micros(remaining))),
        attempt: i32::try_from(assigned.attempt).unwrap_or(i32::MAX),
        payload: Some(payload(assigned.payload)),
        checkpoint: assigned.checkpoint,
        options: Some(options(assigned.options)),
    }
}

fn payload(payload: Payload) -> v1::JobPayload {
    use v1::job_payload::Content;
    let content = if payload.is_reference
        && let Ok(reference) = String::from_utf8(payload.data.to_vec())
    {
        Content::Reference(reference)
    } else {
        Content::Data(payload.data)
    };
    v1::JobPayload {
        content: Some(content),
    }
}

fn options(options: JobOptions) -> v1::JobOptions {
    let labels = options.labels.into_iter();
    let (fair_key, weight) = match options.turn {
        None => (String::new(), 0),
        Some(turn) => (
            turn.fair_key.into(),
            i32::try_from(turn.weight).unwrap_or(i32::MAX),
        ),
    };
    v1::JobOptions {
        deadline: options.deadline.map(timestamp),
        timeout: options.timeout.map(duration),
        retry: Some(retry(options.retry)),
        unique: options.unique.map(unique),
        fair_key,
        weight,
        concurrency_key: options
            .concurrency_key
            .map(String::from)
            .unwrap_or_default(),
        labels: labels.map(|(name, value)| (name.into(), value)).collect(),
        trace_context: options.trace,
        charges: options.charges.into_iter().map(charge).collect(),
        batch: options.batch.map(|place| v1::JobInBatch {
            batch_id: place.batch.to_string(),
            index: i32::try_from(place.index).unwrap_or(i32::MAX),
        }),
        cache_ttl: options.cached.as_ref().map(|cached| duration(cached.ttl)),
        cache_key: options
            .cached
            .map(|cached| cached.key.into())
            .unwrap_or_default(),
    }
}

/// Of a limit that is declared.
fn charge(charge: Charge) -> v1::Charge {
    v1::Charge {
        amount: charge.amount(),
        limit: charge.limit.into(),
        key: charge.key.into(),
        ..v1::Charge::default()
    }
}

fn retry(retry: RetryPolicy) -> v1::JobRetryPolicy {
    v1::JobRetryPolicy {
        max_attempts: i32::try_from(retry.max_attempts).unwrap_or(i32::MAX),
        min_backoff: Some(duration(retry.min_backoff)),
        max_backoff: Some(duration(retry.max_backoff)),
        jitter_percent: Some(i32::from(retry.jitter_percent)),
    }
}

fn unique(unique: Unique) -> v1::JobUnique {
    let on_conflict = match unique.on_conflict {
        OnConflict::Reject => v1::JobConflict::Reject,
        OnConflict::Return => v1::JobConflict::Return,
        OnConflict::Replace => v1::JobConflict::Replace,
    };
    v1::JobUnique {
        key: unique.key.into(),
        on_conflict: on_conflict.into(),
    }
}

pub(crate) fn state(state: JobState) -> v1::JobState {
    match state {
        JobState::Delayed => v1::JobState::Delayed,
        JobState::Ready => v1::JobState::Ready,
        JobState::Running => v1::JobState::Running,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Dead => v1::JobState::Dead,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::Expired => v1::JobState::Expired,
        JobState::Replaced => v1::JobState::Replaced,
    }
}

/// That an attempt is over although its worker did not end it, and why: its job is at this now, or is not known any more.
pub(crate) fn cancel(attempt: Attempt, now: Option<JobState>) -> v1::JobCancel {
    let reason = match now {
        Some(JobState::Cancelled) => v1::JobCancelReason::Cancelled,
        Some(JobState::Expired) => v1::JobCancelReason::Expired,
        Some(JobState::Replaced) => v1::JobCancelReason::Replaced,
        _ => v1::JobCancelReason::Lost,
    };
    v1::JobCancel {
        lease_id: lease_id(attempt),
        reason: reason.into(),
    }
}

pub(crate) fn job(view: JobView) -> v1::Job {
    let id = view.id;
    v1::Job {
        job_id: id.to_string(),
        state: state(view.state).into(),
        attempts: i32::try_from(view.attempts).unwrap_or(i32::MAX),
        priority: i32::from(view.priority),
        submitted_time: Some(timestamp(view.submitted)),
        ready_time: view.ready_at.map(timestamp),
        lease: view.lease.map(|lease| v1::JobLease {
            lease_id: lease_id(Attempt {
                job: id,
                lease: lease.id,
            }),
            worker: lease.worker.into(),
            started_time: Some(timestamp(lease.since)),
        }),
        ended_time: view.ended.map(timestamp),
        error: view.error.map(String::from).unwrap_or_default(),
        retry_of: view
            .options
            .retry_of
            .map(|first| first.to_string())
            .unwrap_or_default(),
        options: Some(options(view.options)),
        namespace: view.queue.namespace.into(),
        queue: view.queue.name.into(),
    }
}

pub(crate) fn job_page(
    (jobs, more): (Vec<JobView>, bool),
    queue: &QueueId,
    now: &Scope,
) -> v1::JobServiceListResponse {
    let (jobs, cut) = fitting(jobs.into_iter().map(job));
    let last = jobs.last().filter(|_| cut || more);
    v1::JobServiceListResponse {
        next_page_token: last
            .map(|last| format!("{}{}", jobs_token(queue), last.job_id))
            .unwrap_or_default(),
        jobs,
        scope: Some(scope(now)),
    }
}

fn queue_spec(spec: QueueSpec) -> v1::JobQueueSpec {
    v1::JobQueueSpec {
        paused: spec.paused,
        concurrency: spec.concurrency.map_or(0, i64::from),
        key_concurrency: spec.key_concurrency.map_or(0, i64::from),
        max_jobs: spec.max_jobs.map_or(0, count),
        result_retention: Some(duration(spec.result_retention)),
        dead_retention: Some(duration(spec.dead_retention)),
    }
}

/// The states that any job is in, and how many are.
pub(crate) fn counts(counts: [u64; JobState::ALL.len()]) -> Vec<v1::JobCount> {
    let each = JobState::ALL.into_iter().zip(counts);
    let each = each.map(|(each, jobs)| v1::JobCount {
        state: state(each).into(),
        jobs: count(jobs),
    });
    each.filter(|count| count.jobs > 0).collect()
}

pub(crate) fn queue_state(queue: QueueState) -> v1::JobQueue {
    v1::JobQueue {
        spec: Some(queue_spec(queue.spec)),
        counts: counts(queue.counts),
        namespace: queue.queue.namespace.into(),
        name: queue.queue.name.into(),
    }
}

pub(crate) fn queue_page(
    (queues, more): (Vec<QueueState>, bool),
    namespace: &Namespace,
    now: &Scope,
) -> v1::JobServiceListQueuesResponse {
    let (queues, cut) = fitting(queues.into_iter().map(queue_state));
    let last = queues.last().filter(|_| cut || more);
    v1::JobServiceListQueuesResponse {
        next_page_token: last
            .map(|last| format!("{}{}", queues_token(namespace), last.name))
            .unwrap_or_default(),
        queues,
        scope: Some(scope(now)),
    }
}
