//! What is told of jobs to those who follow them.

use super::super::count;
use super::answers::{job, lease_id};
use prost::bytes::Bytes;
use trellis_core::jobs::{Attempt, JobEvent, JobId, JobNews, JobView, Report};
use trellis_core::{Error, Result};
use trellis_proto::v1;
use trellis_proto::v1::job_service_watch_response::Event;

/// From where something is followed.
pub(crate) fn from_sequence(from: i64) -> Result<u64> {
    let allowed = |_| Error::invalid("from_sequence", format!("must be at least 0, is {from}"));
    u64::try_from(from).map_err(allowed)
}

/// What is told of this job.
pub(crate) fn watched(of: JobId, event: JobEvent) -> v1::JobServiceWatchResponse {
    let JobEvent {
        number,
        lease,
        news,
    } = event;
    let lease = lease.map(|lease| lease_id(Attempt { job: of, lease }));
    let event = match news {
        JobNews::Reset => Event::Reset(v1::JobReset {}),
        JobNews::Chunk(data) => Event::Chunk(data),
        JobNews::Progress {
            report: told,
            checkpoint,
        } => Event::Progress(v1::JobReported {
            report: Some(report(told)),
            checkpoint,
        }),
        JobNews::Ended { view, result } => Event::Ended(ended(*view, result)),
    };
    v1::JobServiceWatchResponse {
        sequence: count(number),
        lease_id: lease.unwrap_or_default(),
        event: Some(event),
    }
}

pub(super) fn ended(view: JobView, result: Option<Bytes>) -> v1::JobEnded {
    v1::JobEnded {
        job: Some(job(view)),
        result: result.unwrap_or_default(),
    }
}

fn report(report: Report) -> v1::JobReport {
    v1::JobReport {
        done: count(report.done),
        total: report.total.map(count),
        message: report.message.into(),
    }
}
