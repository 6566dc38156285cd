//! The floor: decodes the same requests and answers messages of the same sizes.

use crate::messages;
use std::pin::Pin;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use trellis_proto::v1::acquire_stream_request::Request as Streamed;
use trellis_proto::v1::acquire_stream_response::Response as Answered;
use trellis_proto::v1::limit_service_server::{LimitService, LimitServiceServer};
use trellis_proto::v1::{self, AcquireStreamRequest, AcquireStreamResponse};
use trellis_tests::bench::Result;
use trellis_tests::{bench, unserved};

/// Serves until the process is ended.
pub fn serve() -> Result<()> {
    bench::echo::serve(|server| server.add_service(LimitServiceServer::new(Echo)))
}

struct Echo;

type Answer<T> = std::result::Result<Response<T>, Status>;

/// The answer to a streamed request; none to `open`.
fn streamed(
    request: std::result::Result<AcquireStreamRequest, Status>,
) -> Option<std::result::Result<AcquireStreamResponse, Status>> {
    let answer = |request: AcquireStreamRequest| AcquireStreamResponse {
        id: request.id,
        response: Some(Answered::Acquire(messages::answer())),
    };
    match request {
        Ok(AcquireStreamRequest {
            request: Some(Streamed::Open(_)),
            ..
        }) => None,
        request => Some(request.map(answer)),
    }
}

#[tonic::async_trait]
impl LimitService for Echo {
    async fn acquire(&self, _: Request<v1::AcquireRequest>) -> Answer<v1::AcquireResponse> {
        Ok(Response::new(messages::answer()))
    }

    type AcquireStreamStream =
        Pin<Box<dyn Stream<Item = std::result::Result<AcquireStreamResponse, Status>> + Send>>;

    async fn acquire_stream(
        &self,
        request: Request<Streaming<AcquireStreamRequest>>,
    ) -> Answer<Self::AcquireStreamStream> {
        let answers = request.into_inner().filter_map(streamed);
        Ok(Response::new(Box::pin(answers)))
    }

    unserved! {
        batch_acquire(BatchAcquireRequest) -> BatchAcquireResponse,
        settle(SettleRequest) -> SettleResponse,
        extend_reservation(ExtendReservationRequest) -> ExtendReservationResponse,
        peek(PeekRequest) -> PeekResponse,
        set_limit(SetLimitRequest) -> SetLimitResponse,
        delete_limit(DeleteLimitRequest) -> DeleteLimitResponse,
        list_limits(ListLimitsRequest) -> ListLimitsResponse,
        list_buckets(ListBucketsRequest) -> ListBucketsResponse,
        reset_limit(ResetLimitRequest) -> ResetLimitResponse,
        report_throttled(ReportThrottledRequest) -> ReportThrottledResponse,
    }
}
