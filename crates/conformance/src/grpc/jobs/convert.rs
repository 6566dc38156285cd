//! Between the types of the jobs port and the contract's messages.
//!
//! What a daemon sends and the port cannot express is a defect, and ends the case that met it.

use super::super::events::convert::{durability, duration_out, time, timestamp_out, unsigned};
use super::micros;
use bytes::Bytes;
use trellis_core::jobs::{
    Assigned, Attempt, AttemptEnd, Batch, BatchEvent, BatchId, BatchNews, BatchSpec, BatchView,
    Cached, Decision, InBatch, JobEvent, JobId, JobNews, JobOptions, JobSpec, JobState, JobView,
    Lease, LeaseId, OnConflict, OnFailure, Outcome, Payload, Progress, QueueId, QueueSpec,
    QueueState, Report, RetryPolicy, Stop, Submitted, Turn, Unique,
};
use trellis_core::limits::{ActualAmount, Charge};
use trellis_core::{ConcurrencyKey, EntryKey, FairKey, Key, Name, Namespace, UniqueKey};
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
        charges: options.charges.iter().map(charge_out).collect(),
        batch: options.batch.map(|place| v1::JobInBatch {
            batch_id: place.batch.to_string(),
            index: i32::try_from(place.index).unwrap_or(-1),
        }),
        cache_ttl: options.cached.as_ref().map(|it| duration_out(it.ttl)),
        cache_key: options.cached.map(|it| it.key.into()).unwrap_or_default(),
    }
}

fn charge_out(charge: &Charge) -> v1::Charge {
    v1::Charge {
        limit: charge.limit.to_string(),
        key: charge.key.to_string(),
        amount: charge.amount(),
        spec: None,
        require_spec: charge.require_spec,
    }
}

pub(super) fn progress_out(
    attempt: Attempt,
    progress: Progress,
    used: Vec<ActualAmount>,
) -> v1::JobProgress {
    let used = used.into_iter().map(|one| v1::ActualAmount {
        limit: one.limit.into(),
        key: one.key.into(),
        amount: one.amount,
    });
    v1::JobProgress {
        lease_id: lease_id(attempt),
        checkpoint: progress.checkpoint,
        report: progress.report.map(|report| v1::JobReport {
            done: i64::try_from(report.done).unwrap(),
            total: report.total.map(|total| i64::try_from(total).unwrap()),
            message: report.message.into(),
        }),
        used: used.collect(),
    }
}

pub(super) fn batch_out(spec: BatchSpec) -> v1::JobServiceCreateBatchRequest {
    v1::JobServiceCreateBatchRequest {
        namespace: spec.queue.namespace.into(),
        queue: spec.queue.name.into(),
        jobs: i32::try_from(spec.count).unwrap_or(-1),
        // The contract means any number by none.
        max_concurrent: match spec.max_concurrent {
            None => 0,
            Some(0) => -1,
            Some(most) => i32::try_from(most).unwrap(),
        },
        on_failure: match spec.on_failure {
            OnFailure::Collect => v1::JobBatchOnFailure::Collect,
            OnFailure::FailFast => v1::JobBatchOnFailure::FailFast,
        }
        .into(),
        request_id: spec.request.map(|it| it.id.into()).unwrap_or_default(),
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
    let cache_key = Some(options.cache_key).filter(|key| !key.is_empty());
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
        charges: options.charges.into_iter().map(charge).collect(),
        batch: options.batch.map(|place| InBatch {
            batch: batch_id(&place.batch_id),
            index: u32::try_from(place.index).unwrap(),
        }),
        cached: cache_key.map(|key| Cached {
            key: EntryKey::new(key, "cache_key").unwrap(),
            ttl: micros(options.cache_ttl),
        }),
        labels: labels.collect(),
        trace: options.trace_context,
        request: None,
        retry_of,
    }
}

fn charge(charge: v1::Charge) -> Charge {
    let limit = Name::new(charge.limit, "limit").unwrap();
    let key = Key::new(charge.key, "key").unwrap();
    Charge::new(limit, key, charge.amount).unwrap()
}

fn batch_id(text: &str) -> BatchId {
    BatchId(job_id(text))
}

/// A batch of a queue of this namespace, which the contract leaves out, as it does by what name it is known and when it is forgotten.
pub(super) fn batch(batch: &v1::JobBatch, namespace: &Namespace) -> BatchView {
    let number = |number: i32| u32::try_from(number).unwrap();
    let mut ended = [0; Outcome::ALL.len()];
    for count in &batch.ended {
        let outcomes = Outcome::ALL.into_iter();
        let place = outcomes
            .map(JobState::from)
            .position(|it| it == state(count.state()));
        ended[place.unwrap()] = u32::try_from(count.jobs).unwrap();
    }
    let over = batch.ended_time.map(time);
    let on_failure = match batch.on_failure() {
        v1::JobBatchOnFailure::FailFast => OnFailure::FailFast,
        _ => OnFailure::Collect,
    };
    let view = Batch {
        spec: BatchSpec {
            queue: QueueId {
                namespace: namespace.clone(),
                name: Name::new(batch.queue.clone(), "queue").unwrap(),
            },
            count: number(batch.jobs),
            max_concurrent: Some(number(batch.max_concurrent)).filter(|most| *most > 0),
            on_failure,
            request: None,
        },
        created: time(batch.created_time.unwrap()),
        taken: number(batch.submitted),
        ended,
        stop: match batch.stop() {
            v1::JobBatchStop::Unspecified => None,
            v1::JobBatchStop::Failed => Some(Stop::Failed),
            v1::JobBatchStop::Cancelled => Some(Stop::Cancelled),
        },
        over: over.map(|over| (over, over)),
    };
    BatchView {
        id: batch_id(&batch.batch_id),
        batch: view,
    }
}

pub(super) fn watched(told: v1::JobServiceWatchResponse) -> JobEvent {
    use v1::job_service_watch_response::Event;
    let of = Some(&told.lease_id).filter(|lease| !lease.is_empty());
    JobEvent {
        number: unsigned(told.sequence),
        lease: of.map(|of| lease(of)),
        news: match told.event.unwrap() {
            Event::Reset(_) => JobNews::Reset,
            Event::Chunk(data) => JobNews::Chunk(data),
            Event::Progress(told) => {
                let report = told.report.unwrap();
                JobNews::Progress {
                    report: Report {
                        done: unsigned(report.done),
                        total: report.total.map(unsigned),
                        message: report.message.into(),
                    },
                    checkpoint: told.checkpoint,
                }
            }
            Event::Ended(ended) => {
                let (view, result) = self::ended(ended);
                JobNews::Ended { view, result }
            }
        },
    }
}

fn ended(ended: v1::JobEnded) -> (Box<JobView>, Option<Bytes>) {
    let view = job(ended.job.unwrap());
    let succeeded = view.state == JobState::Succeeded;
    (Box::new(view), succeeded.then_some(ended.result))
}

pub(super) fn watched_batch(
    told: v1::JobServiceWatchBatchResponse,
    namespace: &Namespace,
) -> BatchEvent {
    use v1::job_service_watch_batch_response::Event;
    BatchEvent {
        number: unsigned(told.sequence),
        news: match told.event.unwrap() {
            Event::Ended(ended) => {
                let (view, result) = self::ended(ended);
                BatchNews::Ended { view, result }
            }
            Event::Over(over) => BatchNews::Over(Box::new(batch(&over, namespace))),
        },
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
