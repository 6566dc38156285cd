//! The service of the contract.

use super::JobRpc;
use super::submit::Submissions;
use super::watching::Told;
use super::work::Work;
use crate::error::status;
use crate::layers::elsewhere;
use crate::limits::{Answer, answer, deadline};
use crate::pipelined::Pipelined;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;
use tonic::{Request, Status, Streaming};
use trellis_proto::v1::{self, job_service_server::JobService};

/// The service of the contract.
pub(crate) struct JobServer(pub Arc<JobRpc>);

#[tonic::async_trait]
impl JobService for JobServer {
    async fn submit(
        &self,
        request: Request<v1::JobServiceSubmitRequest>,
    ) -> Answer<v1::JobServiceSubmitResponse> {
        answer(self.0.submit(request.into_inner()).await)
    }

    async fn submit_batch(
        &self,
        request: Request<v1::JobServiceSubmitBatchRequest>,
    ) -> Answer<v1::JobServiceSubmitBatchResponse> {
        answer(self.0.submit_batch(request.into_inner()).await)
    }

    type SubmitStreamStream = Pipelined<Submissions>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<v1::JobServiceSubmitStreamRequest>>,
    ) -> Answer<Self::SubmitStreamStream> {
        let permit = self.0.admit().map_err(status)?;
        let (kind, common) = (Submissions(Arc::clone(&self.0)), self.0.submitting());
        let stream = Pipelined::new(kind, common, request.into_inner(), permit);
        Ok(elsewhere(stream))
    }

    async fn reserve(
        &self,
        request: Request<v1::JobServiceReserveRequest>,
    ) -> Answer<v1::JobServiceReserveResponse> {
        let deadline = deadline(request.metadata());
        answer(self.0.reserve(request.into_inner(), deadline).await)
    }

    async fn finish(
        &self,
        request: Request<v1::JobServiceFinishRequest>,
    ) -> Answer<v1::JobServiceFinishResponse> {
        answer(self.0.finish(request.into_inner()).await)
    }

    async fn extend(
        &self,
        request: Request<v1::JobServiceExtendRequest>,
    ) -> Answer<v1::JobServiceExtendResponse> {
        answer(self.0.extend(request.into_inner()).await)
    }

    async fn progress(
        &self,
        request: Request<v1::JobServiceProgressRequest>,
    ) -> Answer<v1::JobServiceProgressResponse> {
        answer(self.0.progress(request.into_inner()).await)
    }

    async fn append_result(
        &self,
        request: Request<v1::JobServiceAppendResultRequest>,
    ) -> Answer<v1::JobServiceAppendResultResponse> {
        answer(self.0.append_result(request.into_inner()).await)
    }

    type WorkStream = BoxStream<'static, std::result::Result<v1::JobServiceWorkResponse, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<v1::JobServiceWorkRequest>>,
    ) -> Answer<Self::WorkStream> {
        let permit = self.0.admit().map_err(status)?;
        let work = Work::new(Arc::clone(&self.0), request.into_inner(), permit);
        let told = stream::unfold(work, |mut work| async move {
            let next = work.next().await?;
            Some((next, work))
        });
        Ok(elsewhere(told.boxed()))
    }

    async fn get(
        &self,
        request: Request<v1::JobServiceGetRequest>,
    ) -> Answer<v1::JobServiceGetResponse> {
        answer(self.0.get(request.into_inner()).await)
    }

    async fn wait(
        &self,
        request: Request<v1::JobServiceWaitRequest>,
    ) -> Answer<v1::JobServiceWaitResponse> {
        let deadline = deadline(request.metadata());
        answer(self.0.wait(request.into_inner(), deadline).await)
    }

    type WatchStream = Told<v1::JobServiceWatchResponse>;

    async fn watch(
        &self,
        request: Request<v1::JobServiceWatchRequest>,
    ) -> Answer<Self::WatchStream> {
        let told = self.0.watch(request.into_inner()).await;
        told.map(elsewhere).map_err(status)
    }

    async fn create_batch(
        &self,
        request: Request<v1::JobServiceCreateBatchRequest>,
    ) -> Answer<v1::JobServiceCreateBatchResponse> {
        answer(self.0.create_batch(request.into_inner()).await)
    }

    async fn get_batch(
        &self,
        request: Request<v1::JobServiceGetBatchRequest>,
    ) -> Answer<v1::JobServiceGetBatchResponse> {
        answer(self.0.get_batch(request.into_inner()).await)
    }

    async fn cancel_batch(
        &self,
        request: Request<v1::JobServiceCancelBatchRequest>,
    ) -> Answer<v1::JobServiceCancelBatchResponse> {
        answer(self.0.cancel_batch(request.into_inner()).await)
    }

    type WatchBatchStream = Told<v1::JobServiceWatchBatchResponse>;

    async fn watch_batch(
        &self,
        request: Request<v1::JobServiceWatchBatchRequest>,
    ) -> Answer<Self::WatchBatchStream> {
        let told = self.0.watch_batch(request.into_inner()).await;
        told.map(elsewhere).map_err(status)
    }

    async fn list(
        &self,
        request: Request<v1::JobServiceListRequest>,
    ) -> Answer<v1::JobServiceListResponse> {
        answer(self.0.list(request.into_inner()).await)
    }

    async fn cancel(
        &self,
        request: Request<v1::JobServiceCancelRequest>,
    ) -> Answer<v1::JobServiceCancelResponse> {
        answer(self.0.cancel(request.into_inner()).await)
    }

    async fn retry(
        &self,
        request: Request<v1::JobServiceRetryRequest>,
    ) -> Answer<v1::JobServiceRetryResponse> {
        answer(self.0.retry(request.into_inner()).await)
    }

    async fn purge(
        &self,
        request: Request<v1::JobServicePurgeRequest>,
    ) -> Answer<v1::JobServicePurgeResponse> {
        answer(self.0.purge(request.into_inner()).await)
    }

    async fn requeue(
        &self,
        request: Request<v1::JobServiceRequeueRequest>,
    ) -> Answer<v1::JobServiceRequeueResponse> {
        answer(self.0.requeue(request.into_inner()).await)
    }

    async fn set_queue(
        &self,
        request: Request<v1::JobServiceSetQueueRequest>,
    ) -> Answer<v1::JobServiceSetQueueResponse> {
        answer(self.0.set_queue(request.into_inner()).await)
    }

    async fn get_queue(
        &self,
        request: Request<v1::JobServiceGetQueueRequest>,
    ) -> Answer<v1::JobServiceGetQueueResponse> {
        answer(self.0.get_queue(request.into_inner()).await)
    }

    async fn list_queues(
        &self,
        request: Request<v1::JobServiceListQueuesRequest>,
    ) -> Answer<v1::JobServiceListQueuesResponse> {
        answer(self.0.list_queues(request.into_inner()).await)
    }
}
