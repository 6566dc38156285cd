//! The floor: decodes the same requests and answers messages of the same sizes, from values that lie ready as
//! the daemon's do.

use crate::messages::{Size, entry, scope};
use prost::bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use trellis_proto::v1::cache_service_server::{CacheService, CacheServiceServer};
use trellis_proto::v1::fetch_request::Request as Asked;
use trellis_proto::v1::fetch_response::Response as Answered;
use trellis_proto::v1::{self, FetchRequest, FetchResponse, batch_get_result, key_answer};
use trellis_tests::bench::Result;
use trellis_tests::{bench, unserved};

/// Serves until the process is ended.
pub fn serve() -> Result<()> {
    let echo = Arc::new(Echo {
        small: Size::Small.value(),
        large: Size::Large.value(),
    });
    let generated = CacheServiceServer::from_arc(Arc::clone(&echo));
    bench::echo::serve(|server| server.add_service(Bare { generated, echo }))
}

/// The generated server, but for batches, whose answers are large: these are encoded as tonic does it by itself, into a
/// buffer that grows, where our codec gives it the answer's size.
#[derive(Clone)]
struct Bare {
    generated: CacheServiceServer<Echo>,
    echo: Arc<Echo>,
}

impl NamedService for Bare {
    const NAME: &'static str = <CacheServiceServer<Echo> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().ends_with("/BatchGet") {
            let batches = Batches(Arc::clone(&self.echo));
            let mut grpc = Grpc::new(ProstCodec::default());
            Box::pin(async move { Ok(grpc.unary(batches, request).await) })
        } else {
            self.generated.call(request)
        }
    }
}

/// Answers batches.
struct Batches(Arc<Echo>);

impl UnaryService<v1::BatchGetRequest> for Batches {
    type Response = v1::BatchGetResponse;
    type Future = BoxFuture<Response<v1::BatchGetResponse>, Status>;

    fn call(&mut self, request: Request<v1::BatchGetRequest>) -> Self::Future {
        let echo = Arc::clone(&self.0);
        Box::pin(async move { echo.batch_get(request).await })
    }
}

struct Echo {
    small: Bytes,
    large: Bytes,
}

type Answer<T> = std::result::Result<Response<T>, Status>;
type Item = std::result::Result<FetchResponse, Status>;

impl Echo {
    fn entry(&self, key: &str) -> v1::Entry {
        entry(match Size::of(key) {
            Size::Small => self.small.clone(),
            Size::Large => self.large.clone(),
        })
    }
}

/// The answer to a request of the stream; none to `open`.
fn streamed(request: &FetchRequest, value: &Bytes) -> Option<Item> {
    let hit = v1::Hit {
        entry: Some(entry(value.clone())),
        ..Default::default()
    };
    let key = v1::KeyAnswer {
        indexes: vec![0],
        answer: Some(key_answer::Answer::Hit(hit)),
        scope: Some(scope()),
    };
    match request.request {
        Some(Asked::Open(_)) => None,
        Some(Asked::Fetch(_)) => Some(Ok(FetchResponse {
            id: request.id,
            response: Some(Answered::Key(key)),
        })),
        _ => Some(Err(Status::unimplemented(
            "the echo serves what is measured alone",
        ))),
    }
}

#[tonic::async_trait]
impl CacheService for Echo {
    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        Ok(Response::new(v1::GetResponse {
            entry: Some(self.entry(&request.get_ref().key)),
            scope: Some(scope()),
        }))
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Answer<v1::BatchGetResponse> {
        let keys = request.get_ref().keys.iter();
        let results = keys.map(|key| v1::BatchGetResult {
            result: Some(batch_get_result::Result::Entry(self.entry(key))),
        });
        Ok(Response::new(v1::BatchGetResponse {
            results: results.collect(),
            scope: Some(scope()),
        }))
    }

    type FetchStream = Pin<Box<dyn Stream<Item = Item> + Send>>;

    async fn fetch(&self, request: Request<Streaming<FetchRequest>>) -> Answer<Self::FetchStream> {
        let value = self.small.clone();
        let answers = request
            .into_inner()
            .filter_map(move |request| match request {
                Ok(request) => streamed(&request, &value),
                Err(error) => Some(Err(error)),
            });
        Ok(Response::new(Box::pin(answers)))
    }

    unserved! {
        set(SetRequest) -> SetResponse,
        batch_set(BatchSetRequest) -> BatchSetResponse,
        delete(DeleteRequest) -> DeleteResponse,
        batch_delete(BatchDeleteRequest) -> BatchDeleteResponse,
        clear(ClearRequest) -> ClearResponse,
        stats(StatsRequest) -> StatsResponse,
        begin_fill(BeginFillRequest) -> BeginFillResponse,
        await_fill(AwaitFillRequest) -> AwaitFillResponse,
        append_fill(AppendFillRequest) -> AppendFillResponse,
        fill(FillRequest) -> FillResponse,
        fail_fill(FailFillRequest) -> FailFillResponse,
        renew_fill(RenewFillRequest) -> RenewFillResponse,
    }
}
