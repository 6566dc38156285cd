//! `LimitService` over the limits port.

use crate::announce::Announcer;
use crate::convert::{self, Context};
use crate::drain::or_draining;
use crate::error::{item_status, status};
use crate::layers::BoundElsewhere;
use crate::stream::AcquireStream;
use crate::{Parts, RpcStats, ServiceConfig};
use futures::future::join_all;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use trellis_core::limits::{Acquiring, Limits};
use trellis_core::{Clock, Error, ErrorCode, Micros, Namespace, Result};
use trellis_proto::v1::{self, limit_service_server::LimitService};

/// The most of a gRPC deadline that is left for the way of an answer.
const DEADLINE_MARGIN: Micros = Micros::from_millis(50);

/// What every call and stream of limits needs.
pub(crate) struct LimitRpc {
    pub limits: Arc<dyn Limits>,
    pub announcer: Announcer,
    pub config: ServiceConfig,
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<RpcStats>,
    pub drain: CancellationToken,
    /// One permit for each open stream.
    pub streams: Arc<Semaphore>,
    default_namespace: Namespace,
    /// Where streamed requests are counted.
    pub stream_place: Option<usize>,
}

impl LimitRpc {
    pub fn new(parts: &Parts, config: &ServiceConfig, streams: Arc<Semaphore>) -> Result<Self> {
        Ok(Self {
            announcer: parts.announcer.clone(),
            limits: Arc::clone(&parts.limits),
            config: *config,
            clock: Arc::clone(&parts.clock),
            stats: Arc::clone(&parts.stats),
            drain: parts.drain.clone(),
            streams,
            default_namespace: convert::namespace(String::new())?,
            stream_place: parts.stats.find(crate::stream::NAME),
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            namespace: &self.default_namespace,
            deadline: None,
        }
    }

    pub async fn acquire(
        &self,
        request: v1::AcquireRequest,
        context: Context<'_>,
    ) -> Result<v1::AcquireResponse> {
        match self.begin(request, &context)? {
            Begun::Done(answer) => Ok(answer),
            Begun::Waiting(acquiring) => or_draining(&self.drain, acquiring)
                .await
                .map(convert::acquired),
        }
    }

    /// Begins an acquire, and answers it where that needs no waiting.
    pub fn begin(&self, request: v1::AcquireRequest, context: &Context<'_>) -> Result<Begun> {
        let request = convert::acquire(request, context)?;
        match Arc::clone(&self.limits).acquire(request) {
            Acquiring::Done(result) => result.into_inner().map(convert::acquired).map(Begun::Done),
            waiting @ Acquiring::Waiting(_) => Ok(Begun::Waiting(waiting)),
        }
    }

    pub async fn settle(
        &self,
        request: v1::SettleRequest,
        context: Context<'_>,
    ) -> Result<v1::SettleResponse> {
        let settled = self
            .limits
            .settle(convert::settle(request, &context)?)
            .await?;
        Ok(convert::settled(settled))
    }

    pub async fn extend(
        &self,
        request: v1::ExtendReservationRequest,
        context: Context<'_>,
    ) -> Result<v1::ExtendReservationResponse> {
        let extended = self
            .limits
            .extend(convert::extend(request, &context)?)
            .await?;
        Ok(convert::extended(extended))
    }

    async fn batch(
        &self,
        requests: Vec<v1::AcquireRequest>,
        context: Context<'_>,
    ) -> Result<v1::BatchAcquireResponse> {
        let max = self.config.max_batch;
        if requests.is_empty() || requests.len() > max {
            let allowed = format!("must hold 1 to {max} requests, has {}", requests.len());
            return Err(Error::invalid("requests", allowed));
        }
        // Polled in order for the first time, and decided or put in line by that.
        let results = requests
            .into_iter()
            .map(|request| self.acquire(request, context));
        let results = join_all(results).await.into_iter().map(|result| {
            let result = match result {
                Ok(response) => v1::batch_acquire_result::Result::Response(response),
                Err(error) => v1::batch_acquire_result::Result::Error(item_status(error)),
            };
            v1::BatchAcquireResult {
                result: Some(result),
            }
        });
        Ok(v1::BatchAcquireResponse {
            results: results.collect(),
        })
    }
}

/// An acquire that has begun.
pub(crate) enum Begun {
    /// It is answered.
    Done(v1::AcquireResponse),
    /// It is to be awaited.
    Waiting(Acquiring),
}

/// A place for one more open stream.
pub(crate) fn admit_stream(streams: &Arc<Semaphore>, max: usize) -> Result<OwnedSemaphorePermit> {
    Arc::clone(streams).try_acquire_owned().map_err(|_| {
        let message = format!("{max} streams are open in this daemon");
        Error::new(ErrorCode::TooManyStreams, message).retry_after(Micros::from_secs(1))
    })
}

/// How long a call may wait so that its answer is out before its gRPC deadline.
pub(crate) fn deadline(metadata: &MetadataMap) -> Option<Micros> {
    let timeout = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok()?;
    let left = match unit {
        "H" => Micros::from_secs(amount.saturating_mul(3_600)),
        "M" => Micros::from_secs(amount.saturating_mul(60)),
        "S" => Micros::from_secs(amount),
        "m" => Micros::from_millis(amount),
        "u" => Micros(amount),
        "n" => Micros(amount / 1_000),
        _ => return None,
    };
    let margin = DEADLINE_MARGIN.min(Micros(left.0 / 4));
    Some(Micros(left.0 - margin.0))
}

/// The service of the contract.
pub(crate) struct LimitServer(pub Arc<LimitRpc>);

pub(crate) type Answer<T> = std::result::Result<Response<T>, Status>;

pub(crate) fn answer<T>(result: Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(status)
}

#[tonic::async_trait]
impl LimitService for LimitServer {
    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Answer<v1::AcquireResponse> {
        let context = Context {
            deadline: deadline(request.metadata()),
            ..self.0.context()
        };
        answer(self.0.acquire(request.into_inner(), context).await)
    }

    async fn batch_acquire(
        &self,
        request: Request<v1::BatchAcquireRequest>,
    ) -> Answer<v1::BatchAcquireResponse> {
        let context = Context {
            deadline: deadline(request.metadata()),
            ..self.0.context()
        };
        answer(self.0.batch(request.into_inner().requests, context).await)
    }

    type AcquireStreamStream = AcquireStream;

    async fn acquire_stream(
        &self,
        request: Request<Streaming<v1::AcquireStreamRequest>>,
    ) -> Answer<Self::AcquireStreamStream> {
        let permit = admit_stream(&self.0.streams, self.0.config.max_streams).map_err(status)?;
        let rpc = Arc::clone(&self.0);
        let stream = AcquireStream::new(rpc, request.into_inner(), permit);
        let mut answers = Response::new(stream);
        answers.extensions_mut().insert(BoundElsewhere);
        Ok(answers)
    }

    async fn settle(&self, request: Request<v1::SettleRequest>) -> Answer<v1::SettleResponse> {
        answer(self.0.settle(request.into_inner(), self.0.context()).await)
    }

    async fn extend_reservation(
        &self,
        request: Request<v1::ExtendReservationRequest>,
    ) -> Answer<v1::ExtendReservationResponse> {
        answer(self.0.extend(request.into_inner(), self.0.context()).await)
    }

    async fn peek(&self, request: Request<v1::PeekRequest>) -> Answer<v1::PeekResponse> {
        let (namespace, limit, key) =
            convert::peek(request.into_inner(), &self.0.context()).map_err(status)?;
        let (bucket, scope) = self
            .0
            .limits
            .peek(namespace, limit, key)
            .await
            .map_err(status)?;
        Ok(Response::new(v1::PeekResponse {
            bucket: Some(convert::bucket_state(bucket)),
            scope: Some(convert::scope(&scope)),
        }))
    }

    async fn set_limit(
        &self,
        request: Request<v1::SetLimitRequest>,
    ) -> Answer<v1::SetLimitResponse> {
        let set = convert::set_limit(request.into_inner(), &self.0.context()).map_err(status)?;
        let namespace = set.namespace.clone();
        let (limit, created, scope) = self.0.limits.set_limit(set).await.map_err(status)?;
        let data = json!({"created": created});
        let name = limit.name.as_str();
        self.0
            .announcer
            .tell(&namespace, "trellis.limit.set", name, &data);
        Ok(Response::new(v1::SetLimitResponse {
            limit: Some(convert::limit_state(limit)),
            created,
            scope: Some(convert::scope(&scope)),
        }))
    }

    async fn delete_limit(
        &self,
        request: Request<v1::DeleteLimitRequest>,
    ) -> Answer<v1::DeleteLimitResponse> {
        let delete =
            convert::delete_limit(request.into_inner(), &self.0.context()).map_err(status)?;
        let (namespace, name) = (delete.namespace.clone(), delete.name.clone());
        let (deleted, scope) = self.0.limits.delete_limit(delete).await.map_err(status)?;
        if deleted {
            let (announcer, none) = (&self.0.announcer, json!({}));
            announcer.tell(&namespace, "trellis.limit.deleted", name.as_str(), &none);
        }
        let scope = Some(convert::scope(&scope));
        Ok(Response::new(v1::DeleteLimitResponse { deleted, scope }))
    }

    async fn list_limits(
        &self,
        request: Request<v1::ListLimitsRequest>,
    ) -> Answer<v1::ListLimitsResponse> {
        let list = convert::list_limits(request.into_inner(), &self.0.context()).map_err(status)?;
        let token = convert::limits_token(&list.namespace);
        let page = self.0.limits.list_limits(list).await;
        answer(page.map(|page| convert::limit_page(page, &token)))
    }

    async fn list_buckets(
        &self,
        request: Request<v1::ListBucketsRequest>,
    ) -> Answer<v1::ListBucketsResponse> {
        let list =
            convert::list_buckets(request.into_inner(), &self.0.context()).map_err(status)?;
        let token = convert::buckets_token(&list.namespace, &list.limit);
        let page = self.0.limits.list_buckets(list).await;
        answer(page.map(|page| convert::bucket_page(page, &token)))
    }

    async fn reset_limit(
        &self,
        request: Request<v1::ResetLimitRequest>,
    ) -> Answer<v1::ResetLimitResponse> {
        let reset =
            convert::reset_limit(request.into_inner(), &self.0.context()).map_err(status)?;
        let (namespace, limit) = (reset.namespace.clone(), reset.name.clone());
        let (buckets, scope) = self.0.limits.reset_limit(reset).await.map_err(status)?;
        let data = json!({"buckets": buckets});
        let announcer = &self.0.announcer;
        announcer.tell(&namespace, "trellis.limit.reset", limit.as_str(), &data);
        let scope = Some(convert::scope(&scope));
        Ok(Response::new(v1::ResetLimitResponse {
            buckets: convert::count(buckets),
            scope,
        }))
    }

    async fn report_throttled(
        &self,
        request: Request<v1::ReportThrottledRequest>,
    ) -> Answer<v1::ReportThrottledResponse> {
        let report =
            convert::report_throttled(request.into_inner(), &self.0.context()).map_err(status)?;
        let (namespace, limit) = (report.namespace.clone(), report.limit.clone());
        let key = report.key.as_str().to_owned();
        let reported = self.0.limits.report_throttled(report).await;
        let (paused, scope) = reported.map_err(status)?;
        let data = json!({"key": key, "paused_micros": paused.0});
        let announcer = &self.0.announcer;
        announcer.tell(&namespace, "trellis.limit.throttled", limit.as_str(), &data);
        Ok(Response::new(v1::ReportThrottledResponse {
            paused_for: Some(convert::duration(paused)),
            scope: Some(convert::scope(&scope)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_before_the_grpc_deadline_by_the_stated_margin() {
        let wait = |timeout: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", timeout.parse().unwrap());
            deadline(&metadata)
        };
        assert_eq!(wait("10S"), Some(Micros(9_950_000)));
        assert_eq!(wait("100m"), Some(Micros(75_000)));
        assert_eq!(wait("2000000n"), Some(Micros(1_500)));
        assert_eq!(
            wait("99999999H"),
            Some(Micros(99_999_999 * 3_600_000_000 - 50_000))
        );
        for odd in ["", "S", "1", "x5S", "-1S", "5s"] {
            assert_eq!(wait(odd), None, "{odd:?}");
        }
        assert_eq!(deadline(&MetadataMap::new()), None);
    }
}
