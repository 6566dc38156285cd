//! What submitters and workers ask for.

use super::super::limits::actual_amounts;
use super::super::{Context, span, wall};
use super::settings::{self, MAX_SPAN};
use prost::Message as _;
use prost::bytes::Bytes;
use trellis_core::jobs::{
    Attempt, AttemptEnd, Chunk, DEFAULT_PRIORITY, JobId, JobSpec, LeaseId, Payload, Progress,
    QueueId, Report, Reserve,
};
use trellis_core::limits::ActualAmount;
use trellis_core::{Error, Micros, Name, Namespace, Result, Time};
use trellis_proto::v1;

/// The most jobs that one answer can be asked for.
const MAX_JOBS: usize = 1_000;

pub(crate) fn queue(namespace: String, queue: String, context: &Context<'_>) -> Result<QueueId> {
    Ok(QueueId {
        namespace: context.namespace(namespace)?,
        name: Name::new(queue, "queue")?,
    })
}

pub(crate) fn job_id(text: &str) -> Result<JobId> {
    JobId::parse(text, "job_id")
}

/// An attempt by its `lease_id`.
pub(crate) fn attempt(lease_id: &str) -> Result<Attempt> {
    let parsed = lease_id.split_once('-').and_then(|(job, lease)| {
        Some(Attempt {
            job: JobId::parse(job, "lease_id").ok()?,
            lease: LeaseId::parse(lease, "lease_id").ok()?,
        })
    });
    parsed.ok_or_else(|| Error::invalid("lease_id", "must be the lease_id of an assigned job"))
}

/// A job that is submitted at this wall-clock time.
pub(crate) fn submit(
    request: v1::JobServiceSubmitRequest,
    context: &Context<'_>,
    now: Time,
) -> Result<JobSpec> {
    let namespace = context.namespace(request.namespace)?;
    let mut job = request.job.unwrap_or_default();
    let labels = job
        .options
        .as_mut()
        .map(|it| std::mem::take(&mut it.labels));
    let labels = settings::labels(labels.unwrap_or_default());
    let labels = labels.map_err(|error| error.within("job.options"))?;
    // A map has no order, so that labels come by themselves.
    let body = || [job.encode_to_vec(), format!("{labels:?}").into_bytes()].concat();
    let request = settings::request(request.request_id, body)?;
    let mut spec = spec(job, namespace, context, now).map_err(|error| error.within("job"))?;
    spec.options.labels = labels;
    spec.options.request = request;
    let options = spec.options.check();
    options.map_err(|error| error.within("job.options"))?;
    spec.check().map_err(|error| error.within("job"))?;
    Ok(spec)
}

fn spec(
    job: v1::JobSpec,
    namespace: Namespace,
    context: &Context<'_>,
    now: Time,
) -> Result<JobSpec> {
    use v1::job_spec::Start;
    let priority = match job.priority {
        None => DEFAULT_PRIORITY,
        // What is too high is found with the other bounds.
        Some(priority) => u8::try_from(priority).unwrap_or(u8::MAX),
    };
    let run_at = match job.start {
        None => None,
        Some(Start::RunAt(time)) => Some(wall(&time, "run_at")?),
        Some(Start::Delay(delay)) => {
            let bounds = (Micros::ZERO, MAX_SPAN);
            span(Some(delay), "delay", bounds)?.map(|delay| now + delay)
        }
    };
    let options = settings::options(job.options.unwrap_or_default());
    Ok(JobSpec {
        queue: QueueId {
            namespace,
            name: Name::new(job.queue, "queue")?,
        },
        payload: payload(job.payload.unwrap_or_default(), context)?,
        priority,
        run_at,
        options: options.map_err(|error| error.within("options"))?,
    })
}

fn payload(payload: v1::JobPayload, context: &Context<'_>) -> Result<Payload> {
    use v1::job_payload::Content;
    let payload = match payload.content {
        None => Payload::default(),
        Some(Content::Data(data)) => Payload {
            data,
            is_reference: false,
        },
        Some(Content::Reference(reference)) => Payload {
            data: reference.into_bytes().into(),
            is_reference: true,
        },
    };
    let data = within(payload.data, "payload", context)?;
    Ok(Payload { data, ..payload })
}

/// Bytes that may come.
fn within(bytes: Bytes, field: &str, context: &Context<'_>) -> Result<Bytes> {
    let max = context.config.jobs.max_payload_bytes;
    if bytes.len() > max {
        let allowed = format!(
            "must be at most {max} bytes, is {}; put more into the cache or elsewhere and send a reference",
            bytes.len()
        );
        return Err(Error::invalid(field, allowed));
    }
    Ok(bytes)
}

/// How an attempt ended.
pub(crate) fn end(end: v1::JobAttemptEnd, context: &Context<'_>) -> Result<(Attempt, AttemptEnd)> {
    use v1::job_attempt_end::End;
    let attempt = attempt(&end.lease_id)?;
    let later = |wait, field| span(wait, field, (Micros::ZERO, MAX_SPAN));
    let how = match end.end {
        None => {
            let allowed = "must be one of succeeded, failed, throttled, released";
            return Err(Error::invalid("end", allowed));
        }
        Some(End::Succeeded(succeeded)) => {
            AttemptEnd::Succeeded(within(succeeded.result, "succeeded.result", context)?)
        }
        Some(End::Failed(failed)) => AttemptEnd::Failed {
            error: settings::text(failed.error, "failed.error")?.into(),
            retryable: !failed.permanent,
            retry_after: later(failed.retry_after, "failed.retry_after")?,
        },
        Some(End::Throttled(throttled)) => {
            let wait = later(throttled.retry_after, "throttled.retry_after")?;
            let required = || Error::invalid("throttled.retry_after", "is required");
            AttemptEnd::Throttled(wait.ok_or_else(required)?)
        }
        Some(End::Released(_)) => AttemptEnd::Released,
    };
    Ok((attempt, how))
}

/// How far an attempt is, and what it has used.
pub(crate) fn progress(
    said: v1::JobProgress,
    context: &Context<'_>,
) -> Result<(Attempt, Progress, Vec<ActualAmount>)> {
    let attempt = attempt(&said.lease_id)?;
    let checkpoint = said.checkpoint.map(|it| within(it, "checkpoint", context));
    let progress = Progress {
        report: said.report.map(report).transpose()?,
        checkpoint: checkpoint.transpose()?,
    };
    let used = actual_amounts(said.used, "used")?;
    if progress == Progress::default() && used.is_empty() {
        let allowed = "must be one at least of checkpoint, report, used";
        return Err(Error::invalid("progress", allowed));
    }
    Ok((attempt, progress, used))
}

fn report(report: v1::JobReport) -> Result<Report> {
    let count = |count: i64, field: &str| {
        let allowed = || Error::invalid(field, format!("must be at least 0, is {count}"));
        u64::try_from(count).map_err(|_| allowed())
    };
    let total = report.total.map(|total| count(total, "report.total"));
    let report = Report {
        done: count(report.done, "report.done")?,
        total: total.transpose()?,
        message: report.message.into(),
    };
    report.check().map_err(|error| error.within("report"))?;
    Ok(report)
}

/// A piece of the result of an attempt.
pub(crate) fn chunk(chunk: v1::JobChunk, context: &Context<'_>) -> Result<(Attempt, Chunk)> {
    let index = u32::try_from(chunk.index);
    let attempt = attempt(&chunk.lease_id)?;
    let chunk = Chunk {
        index: index.map_err(|_| Error::invalid("index", "must be at least 0"))?,
        data: within(chunk.data, "data", context)?,
    };
    Ok((attempt, chunk))
}

pub(crate) fn reserve(
    request: v1::JobServiceReserveRequest,
    context: &Context<'_>,
) -> Result<Reserve> {
    let max_jobs = match usize::try_from(request.max_jobs) {
        Ok(0) => 1,
        Ok(jobs) if jobs <= MAX_JOBS => jobs,
        _ => {
            let allowed = format!("must be 0 to {MAX_JOBS}, is {}", request.max_jobs);
            return Err(Error::invalid("max_jobs", allowed));
        }
    };
    let room = super::room(max_jobs);
    let max_bytes = match usize::try_from(request.max_bytes) {
        Ok(0) => room,
        Ok(bytes) => bytes.min(room),
        Err(_) => {
            let allowed = format!("must be at least 0, is {}", request.max_bytes);
            return Err(Error::invalid("max_bytes", allowed));
        }
    };
    Ok(Reserve {
        queue: queue(request.namespace, request.queue, context)?,
        worker: Name::new(request.worker, "worker")?,
        max_jobs,
        max_bytes,
        max_wait: max_wait(request.max_wait, context)?,
        lease: settings::span_of_lease(request.lease)?,
    })
}

/// How long a call waits.
pub(crate) fn max_wait(
    wait: Option<prost_types::Duration>,
    context: &Context<'_>,
) -> Result<Micros> {
    let bounds = (Micros::ZERO, context.config.jobs.max_wait);
    let wait = span(wait, "max_wait", bounds)?.unwrap_or_default();
    Ok(wait.min(context.deadline.unwrap_or(wait)))
}

/// How many jobs a worker may have.
pub(crate) fn credit(credit: v1::JobCredit, context: &Context<'_>) -> Result<usize> {
    let max = context.config.jobs.max_credit;
    let jobs = usize::try_from(credit.jobs).ok().filter(|it| *it <= max);
    jobs.ok_or_else(|| {
        let allowed = format!("must be 0 to {max}, is {}", credit.jobs);
        Error::invalid("credit.jobs", allowed)
    })
}

/// A worker, as it opens its stream.
pub(crate) struct Opening {
    /// Asks for its first job.
    pub reserve: Reserve,
    pub credit: usize,
    /// What it goes on with.
    pub attempts: Vec<Attempt>,
}

pub(crate) fn open(open: v1::WorkerOpen, context: &Context<'_>) -> Result<Opening> {
    let max = context.config.jobs.max_credit;
    if open.lease_ids.len() > max {
        let allowed = format!("must be at most {max}, are {}", open.lease_ids.len());
        return Err(Error::invalid("lease_ids", allowed));
    }
    let named = open.lease_ids.iter().enumerate();
    let attempts = named.map(|(index, lease_id)| {
        attempt(lease_id).map_err(|_| {
            let allowed = "must be the lease_id of an assigned job";
            Error::invalid(format!("lease_ids[{index}]"), allowed)
        })
    });
    Ok(Opening {
        attempts: attempts.collect::<Result<_>>()?,
        credit: credit(open.credit.unwrap_or(v1::JobCredit { jobs: 1 }), context)?,
        reserve: Reserve {
            queue: queue(open.namespace, open.queue, context)?,
            worker: Name::new(open.worker, "worker")?,
            max_jobs: 1,
            max_bytes: super::room(1),
            max_wait: Micros::ZERO,
            lease: settings::span_of_lease(open.lease)?,
        },
    })
}
