//! Batches: jobs that are counted together.

use super::super::{Context, count, timestamp};
use super::answers::state;
use super::requests::queue;
use super::settings::request as named;
use super::watching::ended;
use prost::Message as _;
use trellis_core::jobs::{
    BatchEvent, BatchId, BatchNews, BatchSpec, BatchState, BatchView, JobId, JobState, OnFailure,
    Outcome, Stop,
};
use trellis_core::{Error, Result};
use trellis_proto::v1;
use trellis_proto::v1::job_service_watch_batch_response::Event;

pub(crate) fn batch_id(text: &str) -> Result<BatchId> {
    JobId::parse(text, "batch_id").map(BatchId)
}

pub(crate) fn create_batch(
    request: v1::JobServiceCreateBatchRequest,
    context: &Context<'_>,
) -> Result<BatchSpec> {
    let mut body = request.clone();
    body.request_id.clear();
    let on_failure = match v1::JobBatchOnFailure::try_from(request.on_failure) {
        Ok(v1::JobBatchOnFailure::Unspecified | v1::JobBatchOnFailure::Collect) => {
            OnFailure::Collect
        }
        Ok(v1::JobBatchOnFailure::FailFast) => OnFailure::FailFast,
        Err(_) => {
            let allowed = "must be one of COLLECT, FAIL_FAST";
            return Err(Error::invalid("on_failure", allowed));
        }
    };
    let max = u32::try_from(request.max_concurrent);
    let max = max.map_err(|_| Error::invalid("max_concurrent", "must be at least 0"))?;
    let spec = BatchSpec {
        queue: queue(request.namespace, request.queue, context)?,
        // What is out of bounds is found with the others.
        count: u32::try_from(request.jobs).unwrap_or(0),
        max_concurrent: Some(max).filter(|max| *max > 0),
        on_failure,
        request: named(request.request_id, || body.encode_to_vec())?,
    };
    spec.check().map_err(|mut error| {
        if let Some(violation) = &mut error.violation
            && violation.field == "count"
        {
            "jobs".clone_into(&mut violation.field);
        }
        error
    })?;
    Ok(spec)
}

pub(crate) fn batch(view: BatchView) -> v1::JobBatch {
    let BatchView { id, batch } = view;
    let on_failure = match batch.spec.on_failure {
        OnFailure::Collect => v1::JobBatchOnFailure::Collect,
        OnFailure::FailFast => v1::JobBatchOnFailure::FailFast,
    };
    let now = match batch.state() {
        BatchState::Open => v1::JobBatchState::Open,
        BatchState::Succeeded => v1::JobBatchState::Succeeded,
        BatchState::Failed => v1::JobBatchState::Failed,
        BatchState::Cancelled => v1::JobBatchState::Cancelled,
    };
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let ended = Outcome::ALL.into_iter().zip(batch.ended);
    let ended = ended.filter(|(_, jobs)| *jobs > 0);
    v1::JobBatch {
        batch_id: id.to_string(),
        queue: batch.spec.queue.name.into(),
        jobs: number(batch.spec.count),
        max_concurrent: batch.spec.max_concurrent.map_or(0, number),
        on_failure: on_failure.into(),
        state: now.into(),
        submitted: number(batch.taken),
        ended: ended
            .map(|(outcome, jobs)| v1::JobCount {
                state: state(JobState::from(outcome)).into(),
                jobs: jobs.into(),
            })
            .collect(),
        created_time: Some(timestamp(batch.created)),
        ended_time: batch.over.map(|(at, _)| timestamp(at)),
        stop: match batch.stop {
            None => v1::JobBatchStop::Unspecified,
            Some(Stop::Failed) => v1::JobBatchStop::Failed,
            Some(Stop::Cancelled) => v1::JobBatchStop::Cancelled,
        }
        .into(),
    }
}

pub(crate) fn watched_batch(event: BatchEvent) -> v1::JobServiceWatchBatchResponse {
    let told = match event.news {
        BatchNews::Ended { view, result } => Event::Ended(ended(*view, result)),
        BatchNews::Over(view) => Event::Over(batch(*view)),
    };
    v1::JobServiceWatchBatchResponse {
        sequence: count(event.number),
        event: Some(told),
    }
}
