//! The floor: decodes the same submissions, answers messages of the same size, and keeps nothing.

use crate::messages;
use tonic::{Request, Response, Status, Streaming};
use trellis_proto::v1::job_service_server::{JobService, JobServiceServer};
use trellis_proto::v1::{
    JobServiceSubmitRequest, JobServiceSubmitResponse, JobServiceSubmitStreamRequest,
    JobServiceSubmitStreamResponse, JobServiceWatchBatchRequest, JobServiceWatchBatchResponse,
    JobServiceWatchRequest, JobServiceWatchResponse, JobServiceWorkRequest, JobServiceWorkResponse,
};
use trellis_tests::bench::Result as Done;
use trellis_tests::{bench, unserved};

/// Serves until the process is ended.
pub fn serve() -> Done<()> {
    bench::echo::serve(|server| server.add_service(JobServiceServer::new(Echo)))
}

struct Echo;

#[tonic::async_trait]
impl JobService for Echo {
    async fn submit(
        &self,
        _: Request<JobServiceSubmitRequest>,
    ) -> Result<Response<JobServiceSubmitResponse>, Status> {
        Ok(Response::new(messages::submitted()))
    }

    type SubmitStreamStream = tokio_stream::Empty<Result<JobServiceSubmitStreamResponse, Status>>;

    async fn submit_stream(
        &self,
        _: Request<Streaming<JobServiceSubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    type WorkStream = tokio_stream::Empty<Result<JobServiceWorkResponse, Status>>;

    async fn work(
        &self,
        _: Request<Streaming<JobServiceWorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    type WatchStream = tokio_stream::Empty<Result<JobServiceWatchResponse, Status>>;

    async fn watch(
        &self,
        _: Request<JobServiceWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    type WatchBatchStream = tokio_stream::Empty<Result<JobServiceWatchBatchResponse, Status>>;

    async fn watch_batch(
        &self,
        _: Request<JobServiceWatchBatchRequest>,
    ) -> Result<Response<Self::WatchBatchStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    unserved! {
        submit_batch(JobServiceSubmitBatchRequest) -> JobServiceSubmitBatchResponse,
        reserve(JobServiceReserveRequest) -> JobServiceReserveResponse,
        finish(JobServiceFinishRequest) -> JobServiceFinishResponse,
        extend(JobServiceExtendRequest) -> JobServiceExtendResponse,
        progress(JobServiceProgressRequest) -> JobServiceProgressResponse,
        append_result(JobServiceAppendResultRequest) -> JobServiceAppendResultResponse,
        get(JobServiceGetRequest) -> JobServiceGetResponse,
        wait(JobServiceWaitRequest) -> JobServiceWaitResponse,
        create_batch(JobServiceCreateBatchRequest) -> JobServiceCreateBatchResponse,
        get_batch(JobServiceGetBatchRequest) -> JobServiceGetBatchResponse,
        cancel_batch(JobServiceCancelBatchRequest) -> JobServiceCancelBatchResponse,
        list(JobServiceListRequest) -> JobServiceListResponse,
        cancel(JobServiceCancelRequest) -> JobServiceCancelResponse,
        retry(JobServiceRetryRequest) -> JobServiceRetryResponse,
        purge(JobServicePurgeRequest) -> JobServicePurgeResponse,
        requeue(JobServiceRequeueRequest) -> JobServiceRequeueResponse,
        set_queue(JobServiceSetQueueRequest) -> JobServiceSetQueueResponse,
        get_queue(JobServiceGetQueueRequest) -> JobServiceGetQueueResponse,
        list_queues(JobServiceListQueuesRequest) -> JobServiceListQueuesResponse,
    }
}
