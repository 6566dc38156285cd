//! What is set of jobs and queues, and their lists.

use super::super::limits::charges;
use super::super::pages::{page_after, page_size};
use super::super::{Context, span, wall};
use super::requests::queue;
use super::{jobs_token, queues_token};
use std::collections::HashMap;
use trellis_core::jobs::{
    BatchId, Cached, InBatch, JobId, JobOptions, JobState, ListJobs, MAX_CHARGES, MAX_TEXT_BYTES,
    OnConflict, QueueId, QueueSpec, Request, RetryPolicy, Turn, Unique,
};
use trellis_core::{
    ConcurrencyKey, EntryKey, Error, FairKey, Micros, Name, Namespace, RequestId, Result, UniqueKey,
};
use trellis_proto::v1;

/// The longest time that a job or a queue may name.
pub(super) const MAX_SPAN: Micros = Micros::from_secs(366 * 24 * 3_600);

/// How long results stay in the cache that do not say it.
const CACHE_TTL: Micros = Micros::from_secs(24 * 3_600);

/// Leases that a worker may ask for.
const LEASES: (Micros, Micros) = (Micros::from_secs(1), Micros::from_secs(3_600));

/// How long a worker asks to have a job.
pub(crate) fn span_of_lease(lease: Option<prost_types::Duration>) -> Result<Option<Micros>> {
    span(lease, "lease", LEASES)
}

/// What names a submission of this body, which is made only if it is named.
pub(crate) fn request(id: String, body: impl FnOnce() -> Vec<u8>) -> Result<Option<Request>> {
    if id.is_empty() {
        return Ok(None);
    }
    let id = RequestId::new(id, "request_id")?;
    Ok(Some(Request::of(id, &body())))
}

pub(super) fn text(text: String, field: &str) -> Result<String> {
    if text.len() > MAX_TEXT_BYTES {
        let allowed = format!("must be at most {MAX_TEXT_BYTES} bytes, is {}", text.len());
        return Err(Error::invalid(field, allowed));
    }
    Ok(text)
}

/// Labels in order, so that equal ones are equal.
pub(super) fn labels(labels: HashMap<String, String>) -> Result<Vec<(Name, String)>> {
    let labels = labels
        .into_iter()
        .map(|(name, value)| Ok((Name::new(name, "labels")?, value)));
    let mut labels = labels.collect::<Result<Vec<_>>>()?;
    labels.sort_unstable();
    Ok(labels)
}

/// All but labels and request.
pub(super) fn options(options: v1::JobOptions) -> Result<JobOptions> {
    let deadline = options.deadline.map(|time| wall(&time, "deadline"));
    let unique = options.unique.map(unique).transpose();
    let retry = retry(options.retry.unwrap_or_default());
    Ok(JobOptions {
        deadline: deadline.transpose()?,
        timeout: span(options.timeout, "timeout", (Micros::TICK, MAX_SPAN))?,
        retry: retry.map_err(|error| error.within("retry"))?,
        unique: unique.map_err(|error| error.within("unique"))?,
        turn: turn(options.fair_key, options.weight)?,
        concurrency_key: match options.concurrency_key {
            none if none.is_empty() => None,
            key => Some(ConcurrencyKey::new(key, "concurrency_key")?),
        },
        charges: charges(options.charges, MAX_CHARGES)?,
        batch: options.batch.as_ref().map(in_batch).transpose()?,
        cached: cached(options.cache_key, options.cache_ttl)?,
        labels: Vec::new(),
        trace: options.trace_context,
        request: None,
        retry_of: None,
    })
}

fn in_batch(place: &v1::JobInBatch) -> Result<InBatch> {
    let index = u32::try_from(place.index);
    Ok(InBatch {
        batch: BatchId(JobId::parse(&place.batch_id, "batch.batch_id")?),
        index: index.map_err(|_| Error::invalid("batch.index", "must be at least 0"))?,
    })
}

fn cached(key: String, ttl: Option<prost_types::Duration>) -> Result<Option<Cached>> {
    let ttl = span(ttl, "cache_ttl", (Micros::TICK, MAX_SPAN))?;
    if key.is_empty() {
        let unkeyed = || Error::invalid("cache_ttl", "needs a cache_key");
        return ttl.is_none().then_some(None).ok_or_else(unkeyed);
    }
    Ok(Some(Cached {
        key: EntryKey::new(key, "cache_key")?,
        ttl: ttl.unwrap_or(CACHE_TTL),
    }))
}

fn turn(fair_key: String, weight: i32) -> Result<Option<Turn>> {
    if fair_key.is_empty() {
        let unweighted = || Error::invalid("weight", "needs a fair_key");
        return (weight == 0).then_some(None).ok_or_else(unweighted);
    }
    let weight = match weight {
        0 => 1,
        // What is too low is found with the other bounds.
        weight => u32::try_from(weight).unwrap_or(0),
    };
    let fair_key = FairKey::new(fair_key, "fair_key")?;
    Ok(Some(Turn { fair_key, weight }))
}

fn unique(unique: v1::JobUnique) -> Result<Unique> {
    let on_conflict = match v1::JobConflict::try_from(unique.on_conflict) {
        Ok(v1::JobConflict::Unspecified | v1::JobConflict::Reject) => OnConflict::Reject,
        Ok(v1::JobConflict::Return) => OnConflict::Return,
        Ok(v1::JobConflict::Replace) => OnConflict::Replace,
        Err(_) => {
            let allowed = "must be one of REJECT, RETURN, REPLACE";
            return Err(Error::invalid("on_conflict", allowed));
        }
    };
    let key = UniqueKey::new(unique.key, "key")?;
    Ok(Unique { key, on_conflict })
}

fn retry(retry: v1::JobRetryPolicy) -> Result<RetryPolicy> {
    let default = RetryPolicy::default();
    let jitter = retry.jitter_percent.map(u8::try_from);
    let max_backoff = span(retry.max_backoff, "max_backoff", (Micros::ZERO, MAX_SPAN))?;
    let min_backoff = span(retry.min_backoff, "min_backoff", (Micros::ZERO, MAX_SPAN))?;
    let shortest = default.min_backoff.min(max_backoff.unwrap_or(MAX_SPAN));
    let min_backoff = min_backoff.unwrap_or(shortest);
    let max_backoff = max_backoff.unwrap_or(default.max_backoff.max(min_backoff));
    if max_backoff < min_backoff {
        return Err(Error::invalid(
            "max_backoff",
            "must be at least min_backoff",
        ));
    }
    Ok(RetryPolicy {
        max_attempts: match retry.max_attempts {
            0 => default.max_attempts,
            // What is out of bounds is found with the others.
            attempts => u32::try_from(attempts).unwrap_or(0),
        },
        min_backoff,
        max_backoff,
        jitter_percent: match jitter {
            None => default.jitter_percent,
            Some(percent) => percent.unwrap_or(u8::MAX),
        },
    })
}

/// Errors name the field below `spec`.
pub(crate) fn queue_spec(spec: Option<v1::JobQueueSpec>) -> Result<QueueSpec> {
    let (spec, default) = (spec.unwrap_or_default(), QueueSpec::default());
    let kept = |kept, field| span(kept, field, (Micros::ZERO, MAX_SPAN));
    let result_retention = kept(spec.result_retention, "spec.result_retention")?;
    let dead_retention = kept(spec.dead_retention, "spec.dead_retention")?;
    Ok(QueueSpec {
        paused: spec.paused,
        concurrency: bound(spec.concurrency, "spec.concurrency")?,
        key_concurrency: bound(spec.key_concurrency, "spec.key_concurrency")?,
        max_jobs: bound(spec.max_jobs, "spec.max_jobs")?,
        result_retention: result_retention.unwrap_or(default.result_retention),
        dead_retention: dead_retention.unwrap_or(default.dead_retention),
    })
}

/// A bound that is 0 for none.
fn bound<T: TryFrom<i64> + Default + PartialEq>(bound: i64, field: &str) -> Result<Option<T>> {
    let value = T::try_from(bound).map_err(|_| {
        let allowed = format!("must be at least 0 and not that large, is {bound}");
        Error::invalid(field, allowed)
    })?;
    Ok(Some(value).filter(|value| *value != T::default()))
}

pub(crate) fn list(request: v1::JobServiceListRequest, context: &Context<'_>) -> Result<ListJobs> {
    let queue = queue(request.namespace, request.queue, context)?;
    Ok(ListJobs {
        after: page_after(&request.page_token, &jobs_token(&queue), JobId::parse)?,
        page_size: page_size(request.page_size)?,
        states: states(request.states)?,
        queue,
    })
}

fn states(states: Vec<i32>) -> Result<Vec<JobState>> {
    let states = states.into_iter().enumerate();
    let states = states.map(|(index, state)| {
        state_of(state).ok_or_else(|| {
            let field = format!("states[{index}]");
            Error::invalid(field, format!("must be a state of jobs, is {state}"))
        })
    });
    states.collect()
}

/// Which jobs of which queue are taken out.
pub(crate) fn purge(
    request: v1::JobServicePurgeRequest,
    context: &Context<'_>,
) -> Result<(QueueId, Vec<JobState>)> {
    let queue = queue(request.namespace, request.queue, context)?;
    Ok((queue, states(request.states)?))
}

/// Of which queue how many dead jobs are made again at most.
pub(crate) fn requeue(
    request: v1::JobServiceRequeueRequest,
    context: &Context<'_>,
) -> Result<(QueueId, usize)> {
    const MOST: usize = 1_000;
    let queue = queue(request.namespace, request.queue, context)?;
    let jobs = usize::try_from(request.max_jobs).ok();
    let allowed = || Error::invalid("max_jobs", format!("must be 0 to {MOST}"));
    let jobs = jobs.filter(|jobs| *jobs <= MOST).ok_or_else(allowed)?;
    Ok((queue, if jobs == 0 { MOST } else { jobs }))
}

fn state_of(state: i32) -> Option<JobState> {
    // The contract counts from 1, in the same order.
    let index = usize::try_from(state).ok()?.checked_sub(1)?;
    JobState::ALL.get(index).copied()
}

/// Whose queues, after which, and how many.
pub(crate) fn list_queues(
    request: v1::JobServiceListQueuesRequest,
    context: &Context<'_>,
) -> Result<(Namespace, Option<Name>, usize)> {
    let namespace = context.namespace(request.namespace)?;
    let owner = queues_token(&namespace);
    let after = page_after(&request.page_token, &owner, |name, field| {
        Name::new(name, field)
    })?;
    Ok((namespace, after, page_size(request.page_size)?))
}

#[cfg(test)]
mod tests {
    use super::super::super::duration;
    use super::super::answers::state;
    use super::*;

    fn field<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().violation.unwrap().field
    }

    #[test]
    fn states_are_the_same_both_ways() {
        for each in JobState::ALL {
            assert_eq!(state_of(state(each).into()), Some(each));
        }
        assert_eq!([-1, 0, 10, i32::MAX].map(state_of), [None; 4]);
    }

    #[test]
    fn a_queue_out_of_bounds_is_refused_with_the_field_and_none_is_the_default() {
        assert_eq!(queue_spec(None), Ok(QueueSpec::default()));
        let spec = |change: fn(&mut v1::JobQueueSpec)| {
            let mut spec = v1::JobQueueSpec::default();
            change(&mut spec);
            queue_spec(Some(spec))
        };
        assert_eq!(field(spec(|it| it.concurrency = -1)), "spec.concurrency");
        let too_many = spec(|it| it.key_concurrency = 1 << 32);
        assert_eq!(field(too_many), "spec.key_concurrency");
        assert_eq!(field(spec(|it| it.max_jobs = -1)), "spec.max_jobs");
        let long = spec(|it| it.dead_retention = Some(duration(Micros(MAX_SPAN.0 + 1))));
        assert_eq!(field(long), "spec.dead_retention");
        let set = spec(|it| it.concurrency = 3).unwrap();
        assert_eq!((set.concurrency, set.max_jobs), (Some(3), None));
    }

    #[test]
    fn a_wait_that_is_not_named_gives_way_to_one_that_is() {
        let seconds = |seconds| Some(duration(Micros::from_secs(seconds)));
        let long = v1::JobRetryPolicy {
            min_backoff: seconds(1_000),
            ..Default::default()
        };
        assert_eq!(retry(long).unwrap().max_backoff, Micros::from_secs(1_000));
        let short = v1::JobRetryPolicy {
            max_backoff: seconds(0),
            ..Default::default()
        };
        assert_eq!(retry(short).unwrap().min_backoff, Micros::ZERO);
        assert_eq!(
            retry(v1::JobRetryPolicy::default()),
            Ok(RetryPolicy::default())
        );
    }
}
