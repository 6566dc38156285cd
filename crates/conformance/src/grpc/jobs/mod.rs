//! The jobs port through contract and server: unary calls, a stream for submissions, and one where a worker comes or goes.

mod convert;
mod submitter;
mod watching;
mod worker;

use super::events::convert::{duration_out, unsigned};
use super::locks::{call, error, item_error, micros};
use crate::spawn;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::OnceLock;
use submitter::Submitter;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use trellis_core::jobs::{
    Assigned, Attempt, AttemptEnd, BatchId, BatchSpec, BatchView, BatchWatch, Chunk, JobId,
    JobSpec, JobState, JobView, JobWatch, Jobs, JobsStatus, ListJobs, Progress, QueueId, QueueSpec,
    QueueState, Request, Reserve, Submitted, Submitting, SubmittingBatch, WatchAttempts,
};
use trellis_core::limits::ActualAmount;
use trellis_core::log::Durability;
use trellis_core::{Error, Micros, Name, Namespace, Result, Scope};
use trellis_proto::v1;
use trellis_proto::v1::job_service_client::JobServiceClient;

/// One daemon's jobs.
pub struct GrpcJobs {
    stub: JobServiceClient<Channel>,
    durability: Durability,
    /// From the first submission on.
    submitter: OnceLock<Submitter>,
}

impl GrpcJobs {
    /// Over a channel to a daemon whose answers survive so much.
    #[must_use]
    pub fn new(channel: Channel, durability: Durability) -> Self {
        Self {
            stub: JobServiceClient::new(channel),
            durability,
            submitter: OnceLock::new(),
        }
    }

    fn stub(&self) -> JobServiceClient<Channel> {
        self.stub.clone()
    }
}

/// An error whose field is named as the port does: without the messages around it.
fn bare(mut error: Error) -> Error {
    if let Some(violation) = &mut error.violation
        && let Some((before, field)) = violation.field.rsplit_once('.')
    {
        let place = before.ends_with("batch").then_some("batch.");
        violation.field = format!("{}{field}", place.unwrap_or_default());
    }
    error
}

fn told<T>(answer: std::result::Result<tonic::Response<T>, tonic::Status>) -> Result<T> {
    call(answer).map_err(bare)
}

async fn submit_all(
    mut stub: JobServiceClient<Channel>,
    requests: Vec<v1::JobServiceSubmitRequest>,
) -> Vec<Result<Submitted>> {
    use v1::job_submit_result::Result as Each;
    let submitted = stub.submit_batch(v1::JobServiceSubmitBatchRequest { requests });
    let results = call(submitted.await).unwrap().results.into_iter();
    let results = results.map(|each| match each.result.unwrap() {
        Each::Job(job) => Ok(convert::submitted(&job)),
        Each::Error(status) => Err(bare(item_error(&status))),
    });
    results.collect()
}

#[async_trait]
impl Jobs for GrpcJobs {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn scope(&self) -> Scope {
        panic!("the contract tells it with each answer");
    }

    fn status(&self) -> JobsStatus {
        panic!("the contract tells it by StatusService");
    }

    fn submit(&self, job: JobSpec) -> Submitting {
        let submitter = self.submitter.get_or_init(|| Submitter::start(self.stub()));
        submitter.submit(job)
    }

    fn submit_batch(&self, jobs: Vec<JobSpec>) -> SubmittingBatch {
        let (tell, told) = oneshot::channel();
        let requests = jobs.into_iter().map(convert::submit_out);
        let submitting = submit_all(self.stub(), requests.collect());
        spawn(async move {
            // Whoever does not listen any more has given up.
            let _ = tell.send(submitting.await);
        });
        Box::pin(async move { told.await.expect("the call is answered") })
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Vec<Assigned>> {
        let mut stub = self.stub();
        let reserved = stub.reserve(v1::JobServiceReserveRequest {
            namespace: reserve.queue.namespace.into(),
            queue: reserve.queue.name.into(),
            worker: reserve.worker.into(),
            // The contract means one by none.
            max_jobs: match reserve.max_jobs {
                0 => -1,
                jobs => i32::try_from(jobs).unwrap(),
            },
            max_bytes: i64::try_from(reserve.max_bytes).unwrap(),
            max_wait: Some(duration_out(reserve.max_wait)),
            lease: reserve.lease.map(duration_out),
        });
        let jobs = told(reserved.await)?.jobs.into_iter();
        Ok(jobs.map(convert::assigned).collect())
    }

    async fn finish(
        &self,
        namespace: &Namespace,
        ends: Vec<(Attempt, AttemptEnd)>,
    ) -> Vec<Result<()>> {
        use v1::job_finish_result::Result as Each;
        let mut stub = self.stub();
        let finished = stub.finish(v1::JobServiceFinishRequest {
            namespace: namespace.to_string(),
            ends: ends.into_iter().map(convert::end_out).collect(),
        });
        let results = told(finished.await).unwrap().results.into_iter();
        let results = results.map(|each| match each.result.unwrap() {
            Each::Finished(_) => Ok(()),
            Each::Error(status) => Err(bare(item_error(&status))),
        });
        results.collect()
    }

    async fn extend(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        span: Option<Micros>,
    ) -> Result<Micros> {
        let mut stub = self.stub();
        let extended = stub.extend(v1::JobServiceExtendRequest {
            namespace: namespace.to_string(),
            lease_id: convert::lease_id(attempt),
            lease: span.map(duration_out),
        });
        Ok(micros(told(extended.await)?.lease_remaining))
    }

    fn let_go(&self, namespace: &Namespace, attempts: &[Attempt], _: Micros) {
        // A worker that comes back and goes again. Within which time is a setting of the daemon.
        spawn(worker::come_and_go(
            self.stub(),
            namespace.clone(),
            attempts.to_vec(),
        ));
    }

    fn watch_attempts(&self, namespace: &Namespace) -> Box<dyn WatchAttempts> {
        Box::new(worker::Watched::new(self.stub(), namespace.clone()))
    }

    async fn progress(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        progress: Progress,
    ) -> Result<()> {
        let mut stub = self.stub();
        let kept = stub.progress(v1::JobServiceProgressRequest {
            namespace: namespace.to_string(),
            progress: Some(convert::progress_out(attempt, progress, Vec::new())),
        });
        told(kept.await).map(drop)
    }

    async fn used(
        &self,
        namespace: &Namespace,
        attempt: Attempt,
        used: Vec<ActualAmount>,
    ) -> Result<()> {
        let mut stub = self.stub();
        let kept = stub.progress(v1::JobServiceProgressRequest {
            namespace: namespace.to_string(),
            progress: Some(convert::progress_out(attempt, Progress::default(), used)),
        });
        told(kept.await).map(drop)
    }

    async fn append(&self, namespace: &Namespace, attempt: Attempt, chunk: Chunk) -> Result<()> {
        let mut stub = self.stub();
        let appended = stub.append_result(v1::JobServiceAppendResultRequest {
            namespace: namespace.to_string(),
            chunk: Some(v1::JobChunk {
                lease_id: convert::lease_id(attempt),
                index: i32::try_from(chunk.index).unwrap(),
                data: chunk.data,
            }),
        });
        told(appended.await).map(drop)
    }

    async fn watch(
        &self,
        namespace: &Namespace,
        job: JobId,
        from: u64,
    ) -> Result<Box<dyn JobWatch>> {
        let mut stub = self.stub();
        let watched = stub.watch(v1::JobServiceWatchRequest {
            namespace: namespace.to_string(),
            job_id: job.to_string(),
            from_sequence: i64::try_from(from).unwrap(),
        });
        Ok(Box::new(watching::Job(told(watched.await)?)))
    }

    async fn create_batch(&self, spec: BatchSpec) -> Result<(BatchView, bool)> {
        let (mut stub, namespace) = (self.stub(), spec.queue.namespace.clone());
        let created = told(stub.create_batch(convert::batch_out(spec)).await);
        let created = created.map_err(|mut error| {
            // As the contract names what the port counts.
            if let Some(violation) = error.violation.as_mut().filter(|it| it.field == "jobs") {
                "count".clone_into(&mut violation.field);
            }
            error
        })?;
        let view = convert::batch(&created.batch.unwrap(), &namespace);
        Ok((view, !created.duplicate))
    }

    async fn batch(&self, namespace: &Namespace, batch: BatchId) -> Result<BatchView> {
        let mut stub = self.stub();
        let got = stub.get_batch(v1::JobServiceGetBatchRequest {
            namespace: namespace.to_string(),
            batch_id: batch.to_string(),
        });
        Ok(convert::batch(&told(got.await)?.batch.unwrap(), namespace))
    }

    async fn cancel_batch(&self, namespace: &Namespace, batch: BatchId) -> Result<BatchView> {
        let mut stub = self.stub();
        let cancelled = stub.cancel_batch(v1::JobServiceCancelBatchRequest {
            namespace: namespace.to_string(),
            batch_id: batch.to_string(),
        });
        let batch = told(cancelled.await)?.batch.unwrap();
        Ok(convert::batch(&batch, namespace))
    }

    async fn watch_batch(
        &self,
        namespace: &Namespace,
        batch: BatchId,
        from: u64,
    ) -> Result<Box<dyn BatchWatch>> {
        let mut stub = self.stub();
        let watched = stub.watch_batch(v1::JobServiceWatchBatchRequest {
            namespace: namespace.to_string(),
            batch_id: batch.to_string(),
            from_sequence: i64::try_from(from).unwrap(),
        });
        let told = told(watched.await)?;
        Ok(Box::new(watching::Batch(told, namespace.clone())))
    }

    async fn job(&self, namespace: &Namespace, job: JobId) -> Result<JobView> {
        let mut stub = self.stub();
        let got = stub.get(v1::JobServiceGetRequest {
            namespace: namespace.to_string(),
            job_id: job.to_string(),
        });
        Ok(convert::job(told(got.await)?.job.unwrap()))
    }

    async fn wait(
        &self,
        namespace: &Namespace,
        job: JobId,
        max_wait: Micros,
    ) -> Result<(JobView, Option<Bytes>)> {
        let mut stub = self.stub();
        let waited = stub.wait(v1::JobServiceWaitRequest {
            namespace: namespace.to_string(),
            job_id: job.to_string(),
            max_wait: Some(duration_out(max_wait)),
        });
        let waited = told(waited.await)?;
        let view = convert::job(waited.job.unwrap());
        assert_eq!(waited.timed_out, !view.state.is_ended());
        let succeeded = view.state == JobState::Succeeded;
        Ok((view, succeeded.then_some(waited.result)))
    }

    async fn jobs(&self, list: ListJobs) -> Result<(Vec<JobView>, bool)> {
        let mut stub = self.stub();
        let (namespace, queue) = (
            list.queue.namespace.to_string(),
            list.queue.name.to_string(),
        );
        let states = list.states.into_iter().map(convert::state_out);
        // The token of a page that ended with this job.
        let token = list
            .after
            .map(|after| format!("jobs/{namespace}/{queue}/{after}"));
        let listed = stub.list(v1::JobServiceListRequest {
            namespace,
            queue,
            states: states.collect(),
            page_size: i32::try_from(list.page_size).unwrap(),
            page_token: token.unwrap_or_default(),
        });
        let page = told(listed.await)?;
        let jobs = page.jobs.into_iter().map(convert::job);
        Ok((jobs.collect(), !page.next_page_token.is_empty()))
    }

    async fn cancel(&self, namespace: &Namespace, job: JobId) -> Result<JobView> {
        let mut stub = self.stub();
        let cancelled = stub.cancel(v1::JobServiceCancelRequest {
            namespace: namespace.to_string(),
            job_id: job.to_string(),
        });
        Ok(convert::job(told(cancelled.await)?.job.unwrap()))
    }

    async fn retry(
        &self,
        namespace: &Namespace,
        job: JobId,
        request: Option<Request>,
    ) -> Result<Submitted> {
        let mut stub = self.stub();
        let retried = stub.retry(v1::JobServiceRetryRequest {
            namespace: namespace.to_string(),
            job_id: job.to_string(),
            request_id: request.map(|request| request.id.into()).unwrap_or_default(),
        });
        Ok(convert::submitted(&told(retried.await)?.job.unwrap()))
    }

    async fn purge(&self, queue: QueueId, states: Vec<JobState>) -> Result<u64> {
        let mut stub = self.stub();
        let purged = stub.purge(v1::JobServicePurgeRequest {
            namespace: queue.namespace.into(),
            queue: queue.name.into(),
            states: states.into_iter().map(convert::state_out).collect(),
        });
        Ok(unsigned(told(purged.await)?.jobs))
    }

    async fn requeue(&self, queue: QueueId, max_jobs: usize) -> Result<u64> {
        let mut stub = self.stub();
        let requeued = stub.requeue(v1::JobServiceRequeueRequest {
            namespace: queue.namespace.into(),
            queue: queue.name.into(),
            // The contract means all by none.
            max_jobs: match max_jobs {
                0 => -1,
                jobs => i32::try_from(jobs).unwrap(),
            },
        });
        Ok(unsigned(told(requeued.await)?.jobs))
    }

    async fn set_queue(&self, queue: QueueId, spec: QueueSpec) -> Result<QueueState> {
        let mut stub = self.stub();
        let set = stub.set_queue(v1::JobServiceSetQueueRequest {
            namespace: queue.namespace.into(),
            queue: queue.name.into(),
            spec: Some(convert::queue_spec_out(spec)),
        });
        Ok(convert::queue(told(set.await)?.queue.unwrap()))
    }

    async fn queue(&self, queue: QueueId) -> Result<QueueState> {
        let mut stub = self.stub();
        let got = stub.get_queue(v1::JobServiceGetQueueRequest {
            namespace: queue.namespace.into(),
            queue: queue.name.into(),
        });
        Ok(convert::queue(told(got.await)?.queue.unwrap()))
    }

    async fn queues(
        &self,
        namespace: &Namespace,
        after: Option<Name>,
        page_size: usize,
    ) -> Result<(Vec<QueueState>, bool)> {
        let mut stub = self.stub();
        let token = after.map(|after| format!("queues/{namespace}/{after}"));
        let listed = stub.list_queues(v1::JobServiceListQueuesRequest {
            namespace: namespace.to_string(),
            page_size: i32::try_from(page_size).unwrap(),
            page_token: token.unwrap_or_default(),
        });
        let page = told(listed.await)?;
        let queues = page.queues.into_iter().map(convert::queue);
        Ok((queues.collect(), !page.next_page_token.is_empty()))
    }
}
