//! The floor: decodes the same requests and answers messages of the same sizes, from values that lie ready as
//! the daemon's do.

use crate::messages::{Size, entry, scope};
use prost::bytes::Bytes;
use std::pin::Pin;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use trellis_proto::v1::cache_service_server::{CacheService, CacheServiceServer};
use trellis_proto::v1::fetch_request::Request as Asked;
use trellis_proto::v1::fetch_response::Response as Answered;
use trellis_proto::v1::{self, FetchRequest, FetchResponse, batch_get_result, key_answer};
use trellis_tests::bench::Result;
use trellis_tests::{bench, unserved};

/// Serves until the process is ended.
pub fn serve() -> Result<()> {
    let echo = Echo {
        small: Size::Small.value(),
        large: Size::Large.value(),
    };
    bench::echo::serve(|server| server.add_service(CacheServiceServer::new(echo)))
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
