//! [`Job`]: a job that was submitted.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use trellis_proto::v1 as proto;

use super::Jobs;
use super::failed::{JobError, outcome};
use super::info::{JobInfo, JobState};
use super::payload::decode;
use super::stream::{JobEvent, JobStream};
use super::submit::Submitted;
use crate::again::Again;
use crate::again::random_id;
use crate::convert;
use crate::error::Result;

/// How long one call waits for a job to end; then the next one does.
const WAIT: Duration = Duration::from_secs(30);

/// A job. Clones share the client's connection; dropping it does nothing to the job.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) jobs: Jobs,
    pub(super) id: String,
    /// Names the one repeat that this handle makes.
    retry_id: String,
}

impl Job {
    pub(super) fn new(jobs: Jobs, id: String) -> Self {
        let retry_id = random_id();
        Self { jobs, id, retry_id }
    }

    /// Its id, by which [`Jobs::job`] finds it in any process.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The job as it is.
    pub async fn get(&self) -> Result<JobInfo> {
        let request = self.jobs.request(proto::JobServiceGetRequest {
            namespace: self.jobs.namespace_name(),
            job_id: self.id.clone(),
        });
        let answer = self.jobs.shared.jobs().get(request).await?.into_inner();
        convert::required(answer.job, "job")?.try_into()
    }

    /// What it is at.
    pub async fn state(&self) -> Result<JobState> {
        Ok(self.get().await?.state)
    }

    /// Waits until it has ended, and tells its result; through broken connections and daemons that are started anew, for as long as it
    /// takes. Dropping the future does nothing to the job.
    ///
    /// Fails as the job did, or with [`JobError::Call`] where asking again does not help, for example with
    /// [`ErrorReason::JobNotFound`](crate::ErrorReason::JobNotFound) when it is not kept any more.
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        decode(&self.result_bytes().await?).map_err(JobError::Type)
    }

    /// As [`Job::result`], for a worker that gives bytes.
    pub async fn result_bytes(&self) -> Result<Bytes, JobError> {
        let (job, result) = self.ended().await?;
        outcome(job, result)
    }

    /// Follows it: the pieces of its result and how far it is, as its worker tells them, and in the end its outcome. Whoever comes late is
    /// told everything that is still valid. Nothing is asked yet.
    pub fn stream(&self) -> JobStream {
        self.stream_from(0)
    }

    /// As [`Job::stream`], from a [`sequence`](JobStream::sequence) on: to go on, in any process, behind what was told before.
    pub fn stream_from(&self, sequence: u64) -> JobStream {
        JobStream::new(self.clone(), sequence)
    }

    /// Waits until it has ended, and tells the pieces that its last attempt appended, in order; in all at most what the daemon keeps of
    /// an attempt (`jobs.chunk_bytes`). Fails as [`Job::result`].
    pub async fn chunks(&self) -> Result<Vec<Bytes>, JobError> {
        let (mut stream, mut chunks) = (self.stream(), Vec::new());
        while let Some(event) = stream.next().await? {
            match event {
                JobEvent::Reset => chunks.clear(),
                JobEvent::Chunk(chunk) => chunks.push(chunk),
                JobEvent::Progress(_) => {}
                JobEvent::Ended { job, result } => {
                    outcome(*job, result)?;
                }
            }
        }
        Ok(chunks)
    }

    /// Waits until it has ended, however it did.
    pub async fn wait(&self) -> Result<JobInfo> {
        Ok(self.ended().await?.0)
    }

    async fn ended(&self) -> Result<(JobInfo, Bytes)> {
        let mut again = Again::default();
        loop {
            match self.wait_for(WAIT).await {
                Ok(answer) if answer.timed_out => again.works(),
                Ok(answer) => {
                    let job = convert::required(answer.job, "job")?.try_into()?;
                    return Ok((job, answer.result));
                }
                Err(error) => again.after(error).await?,
            }
        }
    }

    async fn wait_for(&self, max_wait: Duration) -> Result<proto::JobServiceWaitResponse> {
        let request = proto::JobServiceWaitRequest {
            namespace: self.jobs.namespace_name(),
            job_id: self.id.clone(),
            max_wait: Some(convert::to_proto(max_wait, "max_wait")?),
        };
        let request = self.jobs.shared.request(request, max_wait);
        Ok(self.jobs.shared.jobs().wait(request).await?.into_inner())
    }

    /// Takes it back, whether it runs or not; its worker is told. One that has ended stays as it is, and is told so.
    pub async fn cancel(&self) -> Result<JobInfo> {
        let request = self.jobs.request(proto::JobServiceCancelRequest {
            namespace: self.jobs.namespace_name(),
            job_id: self.id.clone(),
        });
        let answer = self.jobs.shared.jobs().cancel(request).await?.into_inner();
        convert::required(answer.job, "job")?.try_into()
    }

    /// Makes a new job like this one, which has ended without success, with all its attempts and without its deadline.
    ///
    /// A handle and its clones make one: called again, for example after an error that leaves the outcome unknown, it tells the same.
    pub async fn retry(&self) -> Result<Submitted> {
        let request = self.jobs.request(proto::JobServiceRetryRequest {
            namespace: self.jobs.namespace_name(),
            job_id: self.id.clone(),
            request_id: self.retry_id.clone(),
        });
        let answer = self.jobs.shared.jobs().retry(request).await?.into_inner();
        Submitted::read(answer.job, &self.jobs)
    }
}
