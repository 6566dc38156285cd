//! [`JobStream`]: what is told of a job, through broken streams.
//!
//! There is no task behind it: it reads its stream when it is asked for what comes next. The next stream begins behind what was handed
//! out, so nothing is lost and nothing comes twice.

use std::fmt;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::de::DeserializeOwned;
use tonic::Streaming;
use trellis_proto::v1 as proto;
use trellis_proto::v1::job_service_watch_response::Event;

use super::info::JobInfo;
use super::job::Job;
use crate::again::Followed;
use crate::convert;
use crate::error::{Error, Result};

/// One thing that is told of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobEvent {
    /// Another attempt has begun: the pieces and the progress that were told before are void.
    Reset,
    /// The next piece of the result: 1 byte to 1 MiB.
    Chunk(Bytes),
    /// How far the attempt is. One that a newer one has followed may be left out.
    Progress(JobProgress),
    /// The outcome. Nothing comes behind.
    Ended {
        /// The job, as it is from now on.
        job: Box<JobInfo>,
        /// What its worker made of it, beside the pieces; empty unless it succeeded.
        result: Bytes,
    },
}

/// How far an attempt is, as its worker says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// So much is done, in whatever the worker counts.
    pub done: u64,
    /// Of so much; `None` for not known.
    pub total: Option<u64>,
    /// For people.
    pub message: String,
    /// What the next attempt would go on from; `None` for nothing.
    pub checkpoint: Option<Bytes>,
}

impl JobProgress {
    /// The checkpoint's value; `None` for none. Fails when it is of another type.
    pub fn checkpoint<C: DeserializeOwned>(&self) -> Result<Option<C>, serde_json::Error> {
        let checkpoint = self.checkpoint.as_deref();
        checkpoint.map(serde_json::from_slice).transpose()
    }
}

/// A reader of a job. Made by [`Job::stream`].
///
/// When its stream breaks, or the daemon drains or is started anew, it goes on behind what it told last by itself, for as long as it takes.
#[must_use = "a stream does nothing unless it is asked for what comes"]
pub struct JobStream {
    job: Job,
    told: Followed<proto::JobServiceWatchResponse>,
    /// Where it goes on.
    from: u64,
    has_ended: bool,
}

impl JobStream {
    pub(super) fn new(job: Job, from: u64) -> Self {
        Self {
            job,
            told: Followed::default(),
            from,
            has_ended: false,
        }
    }

    /// What is told next; waits for it. `None` behind the outcome. Dropping the future loses nothing.
    ///
    /// Fails only where trying again does not help, for example with
    /// [`ErrorReason::JobNotFound`](crate::ErrorReason::JobNotFound) when the job is not kept any more.
    pub async fn next(&mut self) -> Result<Option<JobEvent>> {
        while !self.has_ended {
            let told = self.told.next(|| connect(&self.job, self.from)).await?;
            let event = told.event.map(JobEvent::try_from).transpose()?;
            self.from = convert::count(told.sequence, "sequence")?.saturating_add(1);
            // One of a kind that this version does not know is passed by.
            if let Some(event) = event {
                self.has_ended = matches!(event, JobEvent::Ended { .. });
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The place behind what was told last, for [`Job::stream_from`]; what it began with before anything was.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.from
    }

    /// The same as a stream, which ends behind the outcome or the first error.
    #[must_use]
    pub fn into_stream(self) -> BoxStream<'static, Result<JobEvent>> {
        let told = stream::unfold(Some(self), |stream| async {
            let mut stream = stream?;
            match stream.next().await {
                Ok(event) => Some((Ok(event?), Some(stream))),
                Err(error) => Some((Err(error), None)),
            }
        });
        told.boxed()
    }
}

async fn connect(job: &Job, from: u64) -> Result<Streaming<proto::JobServiceWatchResponse>> {
    let request = proto::JobServiceWatchRequest {
        namespace: job.jobs.namespace_name(),
        job_id: job.id.clone(),
        from_sequence: i64::try_from(from).unwrap_or(i64::MAX),
    };
    let shared = &job.jobs.shared;
    let mut stub = shared.jobs();
    Ok(shared.opened(stub.watch(request)).await?.into_inner())
}

impl TryFrom<Event> for JobEvent {
    type Error = Error;

    fn try_from(event: Event) -> Result<Self> {
        Ok(match event {
            Event::Reset(_) => Self::Reset,
            Event::Chunk(chunk) => Self::Chunk(chunk),
            Event::Progress(progress) => Self::Progress(progress.try_into()?),
            Event::Ended(ended) => Self::Ended {
                job: Box::new(convert::required(ended.job, "job")?.try_into()?),
                result: ended.result,
            },
        })
    }
}

impl TryFrom<proto::JobReported> for JobProgress {
    type Error = Error;

    fn try_from(reported: proto::JobReported) -> Result<Self> {
        let report = reported.report.unwrap_or_default();
        let total = report.total.map(|total| convert::count(total, "total"));
        Ok(Self {
            done: convert::count(report.done, "done")?,
            total: total.transpose()?,
            message: report.message,
            checkpoint: reported.checkpoint,
        })
    }
}

impl fmt::Debug for JobStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JobStream")
            .field("job", &self.job.id)
            .field("sequence", &self.from)
            .finish_non_exhaustive()
    }
}
