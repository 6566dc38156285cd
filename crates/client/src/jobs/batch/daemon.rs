//! A batch as the daemon has it: made, filled, followed and taken back.

use bytes::Bytes;
use tonic::Streaming;
use trellis_proto::v1 as proto;
use trellis_proto::v1::job_service_watch_batch_response::Event;

use super::super::Jobs;
use super::super::failed::{JobError, outcome};
use super::super::info::JobInfo;
use super::super::job::Job;
use super::super::options::signed;
use super::super::queue::Queue;
use super::super::submit::{Submit, Submitted};
use crate::again::{Again, Followed};
use crate::convert;
use crate::error::{Result, RetryAdvice};

/// Makes a batch, and tells its id.
pub(super) async fn create(
    queue: Queue,
    spec: (usize, u32, bool),
    request_id: String,
) -> Result<String> {
    use proto::JobBatchOnFailure::{Collect, FailFast};
    let (jobs, max_concurrent, fail_fast) = spec;
    let on_failure = if fail_fast { FailFast } else { Collect };
    let mut again = Again::default();
    loop {
        let jobs = i32::try_from(jobs).unwrap_or(i32::MAX);
        let request = queue.jobs.request(proto::JobServiceCreateBatchRequest {
            namespace: queue.jobs.namespace_name(),
            queue: queue.name.clone(),
            jobs,
            max_concurrent: signed(max_concurrent),
            on_failure: on_failure.into(),
            request_id: request_id.clone(),
        });
        match queue.jobs.shared.jobs().create_batch(request).await {
            Ok(answer) => {
                let batch = convert::required(answer.into_inner().batch, "batch")?;
                return Ok(batch.batch_id);
            }
            Err(status) => again.after(status.into()).await?,
        }
    }
}

/// Submits jobs of a batch, each by its place, until it is known what became of each.
pub(super) async fn submit(
    queue: Queue,
    mut left: Vec<(usize, Submit)>,
) -> Vec<(usize, Result<Submitted>)> {
    let (mut told, mut again) = (Vec::with_capacity(left.len()), Again::default());
    while !left.is_empty() {
        let submits: Vec<Submit> = left.iter().map(|(_, submit)| submit.clone()).collect();
        let results = queue.submit_many(submits).await;
        let mut failed = None;
        let sent = std::mem::take(&mut left).into_iter().zip(results);
        for ((index, submit), result) in sent {
            match result {
                Err(error) if error.retry_advice() != RetryAdvice::Never => {
                    failed = Some(error);
                    left.push((index, submit));
                }
                result => told.push((index, result)),
            }
        }
        if let Some(error) = failed {
            // It is one of those that trying again may help.
            let _ = again.after(error).await;
        }
    }
    told
}

/// Takes back what has not ended.
pub(super) async fn cancel(jobs: Jobs, batch_id: String) {
    let request = jobs.request(proto::JobServiceCancelBatchRequest {
        namespace: jobs.namespace_name(),
        batch_id,
    });
    if let Err(error) = jobs.shared.jobs().cancel_batch(request).await {
        tracing::debug!(%error, "a batch that ends was not cancelled");
    }
}

/// A job of a batch that has ended.
pub(super) struct Ended {
    pub index: usize,
    pub job: Job,
    pub result: Result<Bytes, JobError>,
}

/// Follows a batch, through broken streams.
pub(super) struct Ends {
    jobs: Jobs,
    batch_id: String,
    told: Followed<proto::JobServiceWatchBatchResponse>,
    /// Where it goes on.
    from: i64,
}

impl Ends {
    pub(super) fn new(jobs: Jobs, batch_id: String) -> Self {
        Self {
            jobs,
            batch_id,
            told: Followed::default(),
            from: 0,
        }
    }

    /// The next job that ends; `None` once the batch is over. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Ended>> {
        loop {
            let connect = || connect(&self.jobs, &self.batch_id, self.from);
            let told = self.told.next(connect).await?;
            self.from = told.sequence.saturating_add(1);
            match told.event {
                Some(Event::Ended(ended)) => return self.read(ended).map(Some),
                Some(Event::Over(_)) => return Ok(None),
                // One of a kind that this version does not know is passed by.
                None => {}
            }
        }
    }

    fn read(&self, ended: proto::JobEnded) -> Result<Ended> {
        let job = convert::required(ended.job, "job")?;
        let place = job.options.as_ref().and_then(|it| it.batch.as_ref());
        let index = convert::required(place, "batch")?.index;
        let info = JobInfo::try_from(job)?;
        Ok(Ended {
            index: usize::try_from(index).unwrap_or(usize::MAX),
            job: self.jobs.job(info.id.clone()),
            result: outcome(info, ended.result),
        })
    }
}

async fn connect(
    jobs: &Jobs,
    batch_id: &str,
    from: i64,
) -> Result<Streaming<proto::JobServiceWatchBatchResponse>> {
    let request = proto::JobServiceWatchBatchRequest {
        namespace: jobs.namespace_name(),
        batch_id: batch_id.to_owned(),
        from_sequence: from,
    };
    let mut stub = jobs.shared.jobs();
    let opening = stub.watch_batch(request);
    Ok(jobs.shared.opened(opening).await?.into_inner())
}
