//! Batches, and many jobs of a queue at once.

use super::JobRpc;
use crate::convert::{self, jobs as wire};
use trellis_core::Result;
use trellis_proto::v1;

impl JobRpc {
    pub(super) async fn create_batch(
        &self,
        request: v1::JobServiceCreateBatchRequest,
    ) -> Result<v1::JobServiceCreateBatchResponse> {
        let spec = wire::create_batch(request, &self.context())?;
        let (view, is_new) = self.jobs.create_batch(spec).await?;
        Ok(v1::JobServiceCreateBatchResponse {
            batch: Some(wire::batch(view)),
            duplicate: !is_new,
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn get_batch(
        &self,
        request: v1::JobServiceGetBatchRequest,
    ) -> Result<v1::JobServiceGetBatchResponse> {
        let namespace = self.context().namespace(request.namespace)?;
        let batch = wire::batch_id(&request.batch_id)?;
        let view = self.jobs.batch(&namespace, batch).await?;
        Ok(v1::JobServiceGetBatchResponse {
            batch: Some(wire::batch(view)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn cancel_batch(
        &self,
        request: v1::JobServiceCancelBatchRequest,
    ) -> Result<v1::JobServiceCancelBatchResponse> {
        let namespace = self.context().namespace(request.namespace)?;
        let batch = wire::batch_id(&request.batch_id)?;
        let view = self.jobs.cancel_batch(&namespace, batch).await?;
        Ok(v1::JobServiceCancelBatchResponse {
            batch: Some(wire::batch(view)),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn purge(
        &self,
        request: v1::JobServicePurgeRequest,
    ) -> Result<v1::JobServicePurgeResponse> {
        let (queue, states) = wire::purge(request, &self.context())?;
        let jobs = self.jobs.purge(queue, states).await?;
        Ok(v1::JobServicePurgeResponse {
            jobs: convert::count(jobs),
            scope: Some(self.scope()),
        })
    }

    pub(super) async fn requeue(
        &self,
        request: v1::JobServiceRequeueRequest,
    ) -> Result<v1::JobServiceRequeueResponse> {
        let (queue, most) = wire::requeue(request, &self.context())?;
        let jobs = self.jobs.requeue(queue, most).await?;
        Ok(v1::JobServiceRequeueResponse {
            jobs: convert::count(jobs),
            scope: Some(self.scope()),
        })
    }
}
