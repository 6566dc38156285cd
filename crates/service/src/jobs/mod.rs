//! `JobService` over the jobs port.
//!
//! - [`JobRpc`]: what every call and stream needs, and what submitters and workers ask by unary calls.
//! - [`JobServer`]: the service of the contract. `looking`: jobs and queues, as people see them; `batches` those that
//!   are counted together; `watching` whoever follows either.
//! - `submit`: a submitter's stream. `work`: a worker's; `worker` what it asks for; `held` what it has; `said` what it says of it.

mod batches;
mod held;
mod looking;
mod said;
mod server;
mod submit;
mod watching;
mod work;
mod worker;

pub(crate) use server::JobServer;

use crate::convert::{self, Context, jobs as wire};
use crate::drain::or_draining;
use crate::error::item_status;
use crate::items::{apart, check_count, together};
use crate::limits::admit_stream;
use crate::{Parts, RpcStats, ServiceConfig};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use trellis_core::jobs::{Attempt, AttemptEnd, Jobs, Progress, Submitted};
use trellis_core::limits::ActualAmount;
use trellis_core::{Clock, Error, Micros, Namespace, Result, Time};
use trellis_proto::v1;

/// What every call and stream of jobs needs.
pub(crate) struct JobRpc {
    jobs: Arc<dyn Jobs>,
    config: ServiceConfig,
    clock: Arc<dyn Clock>,
    stats: Arc<RpcStats>,
    drain: CancellationToken,
    /// One permit for each open stream.
    streams: Arc<Semaphore>,
    default_namespace: Namespace,
    /// Where what workers say on streams is counted.
    work_place: Option<usize>,
    /// Where what is submitted on streams is.
    submit_place: Option<usize>,
}

impl JobRpc {
    pub fn new(parts: &Parts, jobs: Arc<dyn Jobs>, config: &ServiceConfig) -> Result<Self> {
        Ok(Self {
            jobs,
            config: *config,
            clock: Arc::clone(&parts.clock),
            stats: Arc::clone(&parts.stats),
            drain: parts.drain.clone(),
            streams: Arc::new(Semaphore::new(config.jobs.max_streams)),
            default_namespace: convert::namespace(String::new())?,
            work_place: parts.stats.find(work::NAME),
            submit_place: parts.stats.find(submit::NAME),
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            namespace: &self.default_namespace,
            deadline: None,
        }
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit> {
        admit_stream(&self.streams, self.config.jobs.max_streams)
    }

    fn scope(&self) -> v1::Scope {
        convert::scope(&self.jobs.scope())
    }

    fn record(&self, started: Time, is_error: bool) {
        if let Some(place) = self.work_place {
            let elapsed: Micros = self.clock.mono() - started;
            self.stats.record(place, elapsed, is_error);
        }
    }

    async fn submit(
        &self,
        request: v1::JobServiceSubmitRequest,
    ) -> Result<v1::JobServiceSubmitResponse> {
        let now = self.clock.now().wall;
        let spec = wire::submit(request, &self.context(), now)?;
        let job = self.jobs.submit(spec).await.map_err(in_options)?;
        Ok(v1::JobServiceSubmitResponse {
            job: Some(wire::submitted(job)),
            scope: Some(self.scope()),
        })
    }

    async fn submit_batch(
        &self,
        request: v1::JobServiceSubmitBatchRequest,
    ) -> Result<v1::JobServiceSubmitBatchResponse> {
        use v1::job_submit_result::Result as Wire;
        check_count(
            "requests",
            request.requests.len(),
            self.config.jobs.max_batch,
        )?;
        let (context, now) = (self.context(), self.clock.now().wall);
        let (jobs, refused) = apart("requests", request.requests, |request| {
            wire::submit(request, &context, now)
        });
        let told = self.jobs.submit_batch(jobs).await;
        let results = together(told, refused).map(|result: Result<Submitted>| {
            let result = match result {
                Ok(job) => Wire::Job(wire::submitted(job)),
                Err(error) => Wire::Error(item_status(in_options(error))),
            };
            v1::JobSubmitResult {
                result: Some(result),
            }
        });
        Ok(v1::JobServiceSubmitBatchResponse {
            results: results.collect(),
            scope: Some(self.scope()),
        })
    }

    async fn reserve(
        &self,
        request: v1::JobServiceReserveRequest,
        deadline: Option<Micros>,
    ) -> Result<v1::JobServiceReserveResponse> {
        let context = Context {
            deadline,
            ..self.context()
        };
        let reserve = wire::reserve(request, &context)?;
        let assigned = or_draining(&self.drain, self.jobs.reserve(reserve)).await?;
        let jobs = assigned
            .into_iter()
            .map(|job| wire::assigned(job, Micros::ZERO));
        Ok(v1::JobServiceReserveResponse {
            jobs: jobs.collect(),
            scope: Some(self.scope()),
        })
    }

    async fn finish(
        &self,
        request: v1::JobServiceFinishRequest,
    ) -> Result<v1::JobServiceFinishResponse> {
        use v1::job_finish_result::Result as Wire;
        let context = self.context();
        let namespace = context.namespace(request.namespace)?;
        check_count("ends", request.ends.len(), self.config.jobs.max_batch)?;
        let (ends, refused): (Vec<(Attempt, AttemptEnd)>, _) =
            apart("ends", request.ends, |end| wire::end(end, &context));
        let told = self.jobs.finish(&namespace, ends).await;
        let results = together(told, refused).map(|result| {
            let result = match result {
                Ok(()) => Wire::Finished(v1::JobFinished {}),
                Err(error) => Wire::Error(item_status(error)),
            };
            v1::JobFinishResult {
                result: Some(result),
            }
        });
        Ok(v1::JobServiceFinishResponse {
            results: results.collect(),
            scope: Some(self.scope()),
        })
    }

    async fn extend(
        &self,
        request: v1::JobServiceExtendRequest,
    ) -> Result<v1::JobServiceExtendResponse> {
        let namespace = self.context().namespace(request.namespace)?;
        let attempt = wire::attempt(&request.lease_id)?;
        let span = wire::span_of_lease(request.lease)?;
        let remaining = self.jobs.extend(&namespace, attempt, span).await?;
        Ok(v1::JobServiceExtendResponse {
            lease_remaining: Some(convert::duration(remaining)),
            scope: Some(self.scope()),
        })
    }

    async fn progress(
        &self,
        request: v1::JobServiceProgressRequest,
    ) -> Result<v1::JobServiceProgressResponse> {
        let context = self.context();
        let namespace = context.namespace(request.namespace)?;
        let said = wire::progress(request.progress.unwrap_or_default(), &context);
        let said = said.map_err(|error| error.within("progress"))?;
        report(&*self.jobs, &namespace, said).await?;
        let scope = Some(self.scope());
        Ok(v1::JobServiceProgressResponse { scope })
    }

    async fn append_result(
        &self,
        request: v1::JobServiceAppendResultRequest,
    ) -> Result<v1::JobServiceAppendResultResponse> {
        let context = self.context();
        let namespace = context.namespace(request.namespace)?;
        let chunk = wire::chunk(request.chunk.unwrap_or_default(), &context);
        let (attempt, chunk) = chunk.map_err(|error| error.within("chunk"))?;
        self.jobs.append(&namespace, attempt, chunk).await?;
        let scope = Some(self.scope());
        Ok(v1::JobServiceAppendResultResponse { scope })
    }
}

/// Says how far an attempt is, and what it has used, the latter first: an attempt that is reported done has told what it used.
async fn report(
    jobs: &dyn Jobs,
    namespace: &Namespace,
    (attempt, progress, used): (Attempt, Progress, Vec<ActualAmount>),
) -> Result<()> {
    if !used.is_empty() {
        jobs.used(namespace, attempt, used).await?;
    }
    if progress != Progress::default() {
        jobs.progress(namespace, attempt, progress).await?;
    }
    Ok(())
}

/// What the port refuses of a job that is well formed is its batch; the error names it within the request.
fn in_options(error: Error) -> Error {
    let field = error.violation.as_ref().map(|it| it.field.as_str());
    if field.is_some_and(|field| field.starts_with("batch.")) {
        return error.within("job.options");
    }
    error
}
