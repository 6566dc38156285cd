//! The service of the contract.

use super::fetch::Fetch;
use super::{CacheRpc, of_item};
use crate::convert::{self, cache as spelled};
use crate::error::status;
use crate::layers::BoundElsewhere;
use crate::limits::deadline;
use futures::stream::BoxStream;
use serde_json::json;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};
use trellis_core::cache::ClearTarget;
use trellis_core::cache::Precondition;
use trellis_core::{Error, ErrorCode, Micros, Result};
use trellis_proto::v1::{self, cache_service_server::CacheService};

/// The service of the contract.
pub(crate) struct CacheServer(pub Arc<CacheRpc>);

type Answer<T> = std::result::Result<Response<T>, Status>;

fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(status)
}

impl CacheRpc {
    async fn one_set(&self, request: v1::SetRequest) -> Result<v1::SetResponse> {
        let namespace = self.context(None).namespace(request.namespace)?;
        let item = request
            .item
            .ok_or_else(|| Error::invalid("item", "is required"))?;
        let fence = spelled::fence(request.fence)?;
        let set = self.set(&namespace, item, fence).await;
        set.map_err(|error| of_item(error, "item"))
    }

    async fn one_delete(&self, request: v1::DeleteRequest) -> Result<v1::DeleteResponse> {
        let namespace = self.context(None).namespace(request.namespace)?;
        let key = spelled::entry_key(request.key, "key")?;
        let condition = match request.if_version {
            None => Precondition::Always,
            Some(version) => spelled::version_is(version)?,
        };
        self.delete(&namespace, &key, condition).await
    }

    async fn clear(&self, request: v1::ClearRequest) -> Result<v1::ClearResponse> {
        let namespace = self.context(None).namespace(request.namespace)?;
        let target = spelled::clear(request.tag)?;
        let tag = match &target {
            ClearTarget::All => json!(null),
            ClearTarget::Tag(tag) => json!(tag.as_str()),
        };
        let (generation, scope) = self.cache.clear(&namespace, target).await?;
        let (announcer, data) = (&self.announcer, json!({"tag": tag}));
        announcer.tell(
            &namespace,
            "trellis.cache.cleared",
            namespace.as_str(),
            &data,
        );
        Ok(v1::ClearResponse {
            generation: convert::count(generation),
            scope: Some(convert::scope(&scope)),
        })
    }

    async fn stats(&self, request: v1::StatsRequest) -> Result<v1::StatsResponse> {
        let namespace = self.context(None).namespace(request.namespace)?;
        let (stats, scope) = self.cache.stats(&namespace).await?;
        Ok(v1::StatsResponse {
            stats: Some(spelled::stats(&stats)),
            scope: Some(convert::scope(&scope)),
            near: Some(spelled::near(&self.cache.status().near)),
        })
    }
}

#[tonic::async_trait]
impl CacheService for CacheServer {
    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        answer(self.0.get(request.into_inner()).await)
    }

    async fn batch_get(
        &self,
        request: Request<v1::BatchGetRequest>,
    ) -> Answer<v1::BatchGetResponse> {
        answer(self.0.batch_get(request.into_inner()).await)
    }

    async fn set(&self, request: Request<v1::SetRequest>) -> Answer<v1::SetResponse> {
        answer(self.0.one_set(request.into_inner()).await)
    }

    async fn batch_set(
        &self,
        request: Request<v1::BatchSetRequest>,
    ) -> Answer<v1::BatchSetResponse> {
        answer(self.0.batch_set(request.into_inner()).await)
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answer<v1::DeleteResponse> {
        answer(self.0.one_delete(request.into_inner()).await)
    }

    async fn batch_delete(
        &self,
        request: Request<v1::BatchDeleteRequest>,
    ) -> Answer<v1::BatchDeleteResponse> {
        answer(self.0.batch_delete(request.into_inner()).await)
    }

    async fn clear(&self, request: Request<v1::ClearRequest>) -> Answer<v1::ClearResponse> {
        answer(self.0.clear(request.into_inner()).await)
    }

    async fn stats(&self, request: Request<v1::StatsRequest>) -> Answer<v1::StatsResponse> {
        answer(self.0.stats(request.into_inner()).await)
    }

    type FetchStream = BoxStream<'static, std::result::Result<v1::FetchResponse, Status>>;

    async fn fetch(
        &self,
        request: Request<Streaming<v1::FetchRequest>>,
    ) -> Answer<Self::FetchStream> {
        let permit = Arc::clone(&self.0.streams).try_acquire_owned();
        let permit = permit.map_err(|_| {
            let max = self.0.config.cache.max_streams;
            let message = format!("{max} streams of the cache are open in this daemon");
            let error = Error::new(ErrorCode::TooManyStreams, message);
            status(error.retry_after(Micros::from_secs(1)))
        })?;
        let fetch = Fetch::new(Arc::clone(&self.0), request.into_inner(), permit);
        let mut answers = Response::new(fetch.answers());
        answers.extensions_mut().insert(BoundElsewhere);
        Ok(answers)
    }

    async fn begin_fill(
        &self,
        request: Request<v1::BeginFillRequest>,
    ) -> Answer<v1::BeginFillResponse> {
        answer(self.0.begin_fill(request.into_inner()).await)
    }

    async fn await_fill(
        &self,
        request: Request<v1::AwaitFillRequest>,
    ) -> Answer<v1::AwaitFillResponse> {
        let deadline = deadline(request.metadata());
        answer(self.0.await_fill(request.into_inner(), deadline).await)
    }

    async fn append_fill(
        &self,
        request: Request<v1::AppendFillRequest>,
    ) -> Answer<v1::AppendFillResponse> {
        answer(
            self.0
                .append(request.into_inner(), &self.0.context(None))
                .await,
        )
    }

    async fn fill(&self, request: Request<v1::FillRequest>) -> Answer<v1::FillResponse> {
        answer(
            self.0
                .fill(request.into_inner(), &self.0.context(None))
                .await,
        )
    }

    async fn fail_fill(
        &self,
        request: Request<v1::FailFillRequest>,
    ) -> Answer<v1::FailFillResponse> {
        answer(
            self.0
                .fail(request.into_inner(), &self.0.context(None))
                .await,
        )
    }

    async fn renew_fill(
        &self,
        request: Request<v1::RenewFillRequest>,
    ) -> Answer<v1::RenewFillResponse> {
        answer(
            self.0
                .renew(request.into_inner(), &self.0.context(None))
                .await,
        )
    }
}
