//! Whoever follows a job or a batch: a stream that reads on only as it is read.

use super::JobRpc;
use crate::convert::jobs as wire;
use crate::drain::or_draining;
use crate::error::status;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;
use tonic::Status;
use trellis_core::Result;
use trellis_proto::v1;

/// What is told on a stream.
pub(super) type Told<T> = BoxStream<'static, std::result::Result<T, Status>>;

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
        let rpc = Arc::clone(self);
        let told = stream::try_unfold((watch, permit), move |(mut watch, permit)| {
            let rpc = Arc::clone(&rpc);
            async move {
                let next = or_draining(&rpc.drain, watch.next()).await;
                let next = next.map_err(status)?;
                Ok(next.map(|event| (wire::watched(job, event), (watch, permit))))
            }
        });
        Ok(told.boxed())
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
        let rpc = Arc::clone(self);
        let told = stream::try_unfold((watch, permit), move |(mut watch, permit)| {
            let rpc = Arc::clone(&rpc);
            async move {
                let next = or_draining(&rpc.drain, watch.next()).await;
                let next = next.map_err(status)?;
                Ok(next.map(|event| (wire::watched_batch(event), (watch, permit))))
            }
        });
        Ok(told.boxed())
    }
}
