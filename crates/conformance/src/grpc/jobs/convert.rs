//! Between the types of the jobs port and the contract's messages.
//!
//! What a daemon sends and the port cannot express is a defect, and ends the case that met it.

use super::super::events::convert::{durability, duration_out, time, timestamp_out, unsigned};
use super::micros;
use trellis_core::jobs::{
    Assigned, Attempt, AttemptEnd, Decision, JobId, JobOptions, JobSpec, JobState, JobView, Lease,
    LeaseId, OnConflict, Payload, QueueId, QueueSpec, QueueState, RetryPolicy, Submitted, Turn,
    Unique,
};
use trellis_core::{ConcurrencyKey, FairKey, Name, Namespace, UniqueKey};
use trellis_proto::v1;

// To the daemon.

pub(super) fn submit_out(spec: JobSpec) -> v1::JobServiceSubmitRequest {
    use v1::job_payload::Content;
    let request = spec.options.request.clone();
    let content = if spec.payload.is_reference {
        Content::Reference(String::from_utf8(spec.payload.data.into()).unwrap())
    } else {
        Content::Data(spec.payload.data)
    };
    let start = spec.run_at.map(timestamp_out);
    v1::JobServiceSubmitRequest {
        namespace: spec.queue.namespace.into(),
        job: Some(v1::JobSpec {
            queue: spec.queue.name.into(),
            payload: Some(v1::JobPayload {
                content: Some(content),
            }),
            priority: Some(spec.priority.into()),
            start: start.map(v1::job_spec::Start::RunAt),
            options: Some(options_out(spec.options)),
        }),
        request_id: request.map(|request| request.id.into()).unwrap_or_default(),
    }
}

fn options_out(options: JobOptions) -> v1::JobOptions {
    let retry = options.retry;
    let labels = options.labels.into_iter();
    let weight = options.turn.as_ref().map_or(0, |turn| turn.weight);
    v1::JobOptions {
        deadline: options.deadline.map(timestamp_out),
        timeout: options.timeout.map(duration_out),
        retry: Some(v1::JobRetryPolicy {
            max_attempts: i32::try_from(retry.max_attempts).unwrap(),
            min_backoff: Some(duration_out(retry.min_backoff)),
            max_backoff: Some(duration_out(retry.max_backoff)),
            jitter_percent: Some(retry.jitter_percent.into()),
        }),
        unique: options.unique.map(|unique| v1::JobUnique {
            key: unique.key.into(),
            on_conflict: match unique.on_conflict {
                OnConflict::Reject => v1::JobConflict::Reject,
                OnConflict::Return => v1::JobConflict::Return,
                OnConflict::Replace => v1::JobConflict::Replace,
            }
            .into(),
        }),
        fair_key: options
            .turn
            .map(|it| it.fair_key.into())
            .unwrap_or_default(),
        weight: i32::try_from(weight).unwrap(),
        concurrency_key: options
            .concurrency_key
            .map(String::from)
            .unwrap_or_default(),
        labels: labels.map(|(name, value)| (name.into(), value)).collect(),
        trace_context: options.trace,
    }
}

pub(super) fn end_out((attempt, how): (Attempt, AttemptEnd)) -> v1::JobAttemptEnd {
    use v1::job_attempt_end::End;
    let end = match how {
        AttemptEnd::Succeeded(result) => End::Succeeded(v1::JobSucceeded { result }),
        AttemptEnd::Failed {
            error,
            retryable,
            retry_after,
        } => End::Failed(v1::JobFailed {
            error: error.into(),
            permanent: !retryable,
            retry_after: retry_after.map(duration_out),
        }),
        AttemptEnd::Throttled(wait) => End::Throttled(v1::JobThrottled {
            retry_after: Some(duration_out(wait)),
        }),
        AttemptEnd::Released => End::Released(v1::JobReleased {}),
        AttemptEnd::Lost => panic!("no worker says so"),
    };
    v1::JobAttemptEnd {
        lease_id: lease_id(attempt),
        end: Some(end),
    }
}

pub(super) fn lease_id(attempt: Attempt) -> String {
    format!("{}-{}", attempt.job, attempt.lease)
}

pub(super) fn state_out(state: JobState) -> i32 {
    state as i32 + 1
}

pub(super) fn queue_spec_out(spec: QueueSpec) -> v1::JobQueueSpec {
    // The contract means none by 0, and no caller of the port means nothing by it.
    let bound = |bound: Option<u32>| bound.map_or(0, |it| if it == 0 { -1 } else { it.into() });
    v1::JobQueueSpec {
        paused: spec.paused,
        concurrency: bound(spec.concurrency),
        key_concurrency: bound(spec.key_concurrency),
        max_jobs: spec.max_jobs.map_or(0, |it| i64::try_from(it).unwrap()),
        result_retention: Some(duration_out(spec.result_retention)),
        dead_retention: Some(duration_out(spec.dead_retention)),
    }
}

// From the daemon.

fn job_id(text: &str) -> JobId {
    JobId::parse(text, "job_id").unwrap()
}

fn lease(lease_id: &str) -> LeaseId {
    let (_, lease) = lease_id.split_once('-').unwrap();
    LeaseId::parse(lease, "lease_id").unwrap()
}

fn state(state: v1::JobState) -> JobState {
    JobState::ALL[usize::try_from(i32::from(state)).unwrap() - 1]
}

pub(super) fn submitted(submitted: &v1::SubmittedJob) -> Submitted {
    Submitted {
        job: job_id(&submitted.job_id),
        decision: match submitted.decision() {
            v1::JobDecision::New => Decision::New,
            v1::JobDecision::Replaced => Decision::Replaced(job_id(&submitted.replaced_job_id)),
            v1::JobDecision::Repeat => Decision::Repeat,
            v1::JobDecision::Existing => Decision::Existing,
            v1::JobDecision::Rejected => Decision::Rejected,
            v1::JobDecision::Unspecified => panic!("no decision"),
        },
        durability: durability(submitted.durability()),
    }
}

fn options(options: v1::JobOptions, retry_of: Option<JobId>) -> JobOptions {
    let retry = options.retry.unwrap();
    let mut labels: Vec<_> = options.labels.into_iter().collect();
    labels.sort_unstable();
    let labels = labels
        .into_iter()
        .map(|(name, value)| (Name::new(name, "name").unwrap(), value));
    let fair_key = Some(options.fair_key).filter(|key| !key.is_empty());
    let concurrency_key = Some(options.concurrency_key).filter(|key| !key.is_empty());
    JobOptions {
        deadline: options.deadline.map(time),
        timeout: options.timeout.map(|timeout| micros(Some(timeout))),
        retry: RetryPolicy {
            max_attempts: u32::try_from(retry.max_attempts).unwrap(),
            min_backoff: micros(retry.min_backoff),
            max_backoff: micros(retry.max_backoff),
            jitter_percent: u8::try_from(retry.jitter_percent.unwrap()).unwrap(),
        },
        unique: options.unique.map(|unique| Unique {
            on_conflict: match unique.on_conflict() {
                v1::JobConflict::Reject => OnConflict::Reject,
                v1::JobConflict::Return => OnConflict::Return,
                v1::JobConflict::Replace => OnConflict::Replace,
                v1::JobConflict::Unspecified => panic!("no conflict"),
            },
            key: UniqueKey::new(unique.key, "key").unwrap(),
        }),
        turn: fair_key.map(|key| Turn {
            fair_key: FairKey::new(key, "fair_key").unwrap(),
            weight: u32::try_from(options.weight).unwrap(),
        }),
        concurrency_key: concurrency_key
            .map(|key| ConcurrencyKey::new(key, "concurrency_key").unwrap()),
        labels: labels.collect(),
        trace: options.trace_context,
        request: None,
        retry_of,
    }
}

pub(super) fn assigned(assigned: v1::AssignedJob) -> Assigned {
    use v1::job_payload::Content;
    let payload = match assigned.payload.unwrap().content.unwrap() {
        Content::Data(data) => Payload {
            data,
            is_reference: false,
        },
        Content::Reference(reference) => Payload {
            data: reference.into(),
            is_reference: true,
        },
    };
    Assigned {
        job: job_id(&assigned.job_id),
        lease: lease(&assigned.lease_id),
        remaining: micros(assigned.lease_remaining),
        attempt: u32::try_from(assigned.attempt).unwrap(),
        payload,
        checkpoint: assigned.checkpoint,
        options: options(assigned.options.unwrap(), None),
    }
}

pub(super) fn job(job: v1::Job) -> JobView {
    let retry_of = Some(&job.retry_of).filter(|first| !first.is_empty());
    let retry_of = retry_of.map(|first| job_id(first));
    JobView {
        id: job_id(&job.job_id),
        state: state(job.state()),
        queue: QueueId {
            namespace: Namespace::new(job.namespace, "namespace").unwrap(),
            name: Name::new(job.queue, "queue").unwrap(),
        },
        attempts: u32::try_from(job.attempts).unwrap(),
        priority: u8::try_from(job.priority).unwrap(),
        submitted: time(job.submitted_time.unwrap()),
        ready_at: job.ready_time.map(time),
        lease: job.lease.map(|it| Lease {
            id: lease(&it.lease_id),
            since: time(it.started_time.unwrap()),
            worker: Name::new(it.worker, "worker").unwrap(),
        }),
        ended: job.ended_time.map(time),
        error: Some(job.error).filter(|it| !it.is_empty()).map(Into::into),
        options: options(job.options.unwrap(), retry_of),
    }
}

pub(super) fn queue(queue: v1::JobQueue) -> QueueState {
    let spec = queue.spec.unwrap();
    let bound = |bound: i64| Some(u32::try_from(bound).unwrap()).filter(|bound| *bound > 0);
    let mut counts = [0; JobState::ALL.len()];
    for count in queue.counts {
        counts[state(count.state()) as usize] = unsigned(count.jobs);
    }
    QueueState {
        queue: QueueId {
            namespace: Namespace::new(queue.namespace, "namespace").unwrap(),
            name: Name::new(queue.name, "queue").unwrap(),
        },
        spec: QueueSpec {
            paused: spec.paused,
            concurrency: bound(spec.concurrency),
            key_concurrency: bound(spec.key_concurrency),
            max_jobs: Some(unsigned(spec.max_jobs)).filter(|jobs| *jobs > 0),
            result_retention: micros(spec.result_retention),
            dead_retention: micros(spec.dead_retention),
        },
        counts,
    }
}
