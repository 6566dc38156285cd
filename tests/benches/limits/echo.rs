//! The floor: a bare tonic server with the daemon's server settings that decodes the same requests and
//! answers messages of the same sizes. It keeps no state and has no layers, no tracing, no histograms.
//! Its calls go through tonic's router, as in any tonic server; those of the daemon's limits do not.

use crate::{Result, messages};
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use trellis_proto::v1::acquire_stream_request::Request as Streamed;
use trellis_proto::v1::acquire_stream_response::Response as Answered;
use trellis_proto::v1::limit_service_server::{LimitService, LimitServiceServer};
use trellis_proto::v1::{self, AcquireStreamRequest, AcquireStreamResponse};

/// Makes this program the echo.
pub const ARGUMENT: &str = "--echo";

/// What a server says before its address, the daemon too.
pub const SERVING: &str = "serving gRPC";

/// Serves until the process is ended.
pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        tell(&format!("{SERVING} address={}", listener.local_addr()?));
        // The daemon's own settings, by its defaults.
        tonic::transport::Server::builder()
            .max_concurrent_streams(4_096)
            .http2_keepalive_interval(Some(Duration::from_secs(15)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .add_service(LimitServiceServer::new(Echo))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await?;
        Ok(())
    })
}

#[expect(
    clippy::print_stderr,
    reason = "it has no log; it says its address as the daemon does"
)]
fn tell(line: &str) {
    eprintln!("{line}");
}

struct Echo;

type Answer<T> = std::result::Result<Response<T>, Status>;

fn unserved<T>() -> Answer<T> {
    Err(Status::unimplemented("the echo serves acquires alone"))
}

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

    async fn batch_acquire(
        &self,
        _: Request<v1::BatchAcquireRequest>,
    ) -> Answer<v1::BatchAcquireResponse> {
        unserved()
    }

    async fn settle(&self, _: Request<v1::SettleRequest>) -> Answer<v1::SettleResponse> {
        unserved()
    }

    async fn extend_reservation(
        &self,
        _: Request<v1::ExtendReservationRequest>,
    ) -> Answer<v1::ExtendReservationResponse> {
        unserved()
    }

    async fn peek(&self, _: Request<v1::PeekRequest>) -> Answer<v1::PeekResponse> {
        unserved()
    }

    async fn set_limit(&self, _: Request<v1::SetLimitRequest>) -> Answer<v1::SetLimitResponse> {
        unserved()
    }

    async fn delete_limit(
        &self,
        _: Request<v1::DeleteLimitRequest>,
    ) -> Answer<v1::DeleteLimitResponse> {
        unserved()
    }

    async fn list_limits(
        &self,
        _: Request<v1::ListLimitsRequest>,
    ) -> Answer<v1::ListLimitsResponse> {
        unserved()
    }

    async fn list_buckets(
        &self,
        _: Request<v1::ListBucketsRequest>,
    ) -> Answer<v1::ListBucketsResponse> {
        unserved()
    }

    async fn reset_limit(
        &self,
        _: Request<v1::ResetLimitRequest>,
    ) -> Answer<v1::ResetLimitResponse> {
        unserved()
    }

    async fn report_throttled(
        &self,
        _: Request<v1::ReportThrottledRequest>,
    ) -> Answer<v1::ReportThrottledResponse> {
        unserved()
    }
}
