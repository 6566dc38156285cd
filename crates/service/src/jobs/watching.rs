//! Whoever follows a job or a batch: a stream that reads on only as it is read.

use super::JobRpc;
use crate::convert::jobs as wire;
use crate::drain::or_draining;
use crate::error::status;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use trellis_core::Result;
use trellis_proto::v1;

/// What is told on a stream.
pub(super) type Told<T> = BoxStream<'static, std::result::Result<T, Status>>;

/// How a reader waits for what comes next.
type Next<W, E> = fn(&mut W) -> BoxFuture<'_, Result<Option<E>>>;

impl JobRpc {
    pub(super) async fn watch(
        self: &Arc<Self>,
        request: v1::JobServiceWatchRequest,
    ) -> Result<Told<v1::JobServiceWatchResponse>> {
        let permit = self.admit()?;
        let namespace = self.context().namespace(request.namespace)?;
        let job = wire::job_id(&request.job_id)?;
        let from = wire::from_sequence(request.from_sequence)?;
        let watch = self.jobs.watch(&namespace, job, from).await?;
        let told = self.told(watch, permit, |watch| watch.next());
        Ok(told
            .map(move |event| event.map(|event| wire::watched(job, event)))
            .boxed())
    }

    pub(super) async fn watch_batch(
        self: &Arc<Self>,
        request: v1::JobServiceWatchBatchRequest,
    ) -> Result<Told<v1::JobServiceWatchBatchResponse>> {
        let permit = self.admit()?;
        let namespace = self.context().namespace(request.namespace)?;
        let batch = wire::batch_id(&request.batch_id)?;
        let from = wire::from_sequence(request.from_sequence)?;
        let watch = self.jobs.watch_batch(&namespace, batch, from).await?;
        let told = self.told(watch, permit, |watch| watch.next());
        Ok(told.map(|event| event.map(wire::watched_batch)).boxed())
    }

    /// What a reader learns, until there is nothing more or the daemon drains.
    fn told<W: Send + 'static, E: Send + 'static>(
        self: &Arc<Self>,
        watch: W,
        permit: OwnedSemaphorePermit,
        next: Next<W, E>,
    ) -> Told<E> {
        let rpc = Arc::clone(self);
        let told = stream::try_unfold(
            (watch, permit, rpc),
            move |(mut watch, permit, rpc)| async move {
                let event = or_draining(&rpc.drain, next(&mut watch)).await;
                let event = event.map_err(status)?;
                Ok(event.map(|event| (event, (watch, permit, rpc))))
            },
        );
        told.boxed()
    }
}
