//! `LockService` over the locks port: its unary calls and watches. The session stream is `lock_session`.

use crate::announce::Announcer;
use crate::convert::{self, Context, locks as wire};
use crate::drain::{draining, or_draining};
use crate::error::status;
use crate::layers::BoundElsewhere;
use crate::limits::{Answer, admit_stream, answer, deadline};
use crate::lock_session::LockSession;
use crate::obey::Obeyed;
use crate::{Parts, RpcStats, ServiceConfig};
use futures::stream::{self, BoxStream, StreamExt as _};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use trellis_core::locks::{AcquireLocks, AcquiredLocks, LockWatch, Locks};
use trellis_core::{Clock, Namespace, Result};
use trellis_proto::v1::{self, lock_service_server::LockService};

/// What every call and stream of locks needs.
pub(crate) struct LockRpc {
    pub locks: Arc<dyn Locks>,
    pub announcer: Announcer,
    pipelines: Obeyed,
    pub config: ServiceConfig,
    pub clock: Arc<dyn Clock>,
    pub stats: Arc<RpcStats>,
    pub drain: CancellationToken,
    /// One permit for each open stream.
    streams: Arc<Semaphore>,
    pub default_namespace: Namespace,
    /// Where streamed requests are counted.
    pub stream_place: Option<usize>,
}

impl LockRpc {
    pub fn new(parts: &Parts, config: &ServiceConfig, streams: Arc<Semaphore>) -> Result<Self> {
        Ok(Self {
            announcer: parts.announcer.clone(),
            locks: Arc::clone(&parts.locks),
            pipelines: Obeyed::new(parts),
            config: *config,
            clock: Arc::clone(&parts.clock),
            stats: Arc::clone(&parts.stats),
            drain: parts.drain.clone(),
            streams,
            default_namespace: convert::namespace(String::new())?,
            stream_place: parts.stats.find(crate::lock_session::NAME),
        })
    }

    fn context(&self) -> Context<'_> {
        Context {
            config: &self.config,
            namespace: &self.default_namespace,
            deadline: None,
        }
    }

    /// The TTL of a request: of the step of a pipeline that it names, or its own.
    pub fn ttl(
        &self,
        namespace: &str,
        pipeline: &str,
        ttl: Option<prost_types::Duration>,
    ) -> Result<Option<prost_types::Duration>> {
        if pipeline.is_empty() {
            return Ok(ttl);
        }
        let namespace = self.context().namespace(namespace.to_owned())?;
        self.pipelines.lock_ttl(&namespace, pipeline, ttl)
    }

    async fn acquire(&self, acquire: AcquireLocks) -> Result<AcquiredLocks> {
        let acquiring = Arc::clone(&self.locks).acquire(acquire);
        or_draining(&self.drain, acquiring.outcome()).await
    }

    async fn force_release(
        &self,
        request: v1::LockServiceForceReleaseRequest,
    ) -> Result<v1::LockServiceForceReleaseResponse> {
        let force = wire::force_release(request, &self.context())?;
        let (released, scope) = self.locks.force_release(force.clone()).await?;
        tracing::warn!(
            target: "trellis::audit",
            namespace = %force.namespace,
            lock = %force.name,
            token = force.expected.get(),
            released,
            actor = %force.actor,
            reason = %force.reason,
            "a lock was released by force"
        );
        if released > 0 {
            let data = json!({
                "token": force.expected.get(),
                "released": released,
                "actor": &*force.actor,
                "reason": &*force.reason,
            });
            let (namespace, name) = (&force.namespace, force.name.as_str());
            self.announcer
                .tell(namespace, "trellis.lock.force_released", name, &data);
        }
        Ok(v1::LockServiceForceReleaseResponse {
            released: convert::count(released),
            scope: Some(convert::scope(&scope)),
        })
    }

    async fn watch(&self, request: v1::LockServiceWatchRequest) -> Result<Watching> {
        let permit = admit_stream(&self.streams, self.config.max_streams)?;
        let (namespace, name) = wire::lock(request.namespace, request.name, &self.context())?;
        let watch = Arc::clone(&self.locks).watch(namespace, name).await?;
        Ok(Watching {
            watch,
            drain: self.drain.clone(),
            over: false,
            _permit: permit,
        })
    }
}

/// An open watch.
struct Watching {
    watch: Box<dyn LockWatch>,
    drain: CancellationToken,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Watching {
    async fn next(&mut self) -> Option<std::result::Result<v1::LockServiceWatchResponse, Status>> {
        if self.over {
            return None;
        }
        let next = tokio::select! {
            biased;
            next = self.watch.next() => next,
            () = self.drain.cancelled() => Err(draining()),
        };
        self.over = next.is_err();
        Some(
            next.map_err(status)
                .map(|(state, scope)| v1::LockServiceWatchResponse {
                    lock: Some(wire::state(state)),
                    scope: Some(convert::scope(&scope)),
                }),
        )
    }
}

/// The service of the contract.
pub(crate) struct LockServer(pub Arc<LockRpc>);

#[tonic::async_trait]
impl LockService for LockServer {
    async fn try_acquire(
        &self,
        request: Request<v1::LockServiceTryAcquireRequest>,
    ) -> Answer<v1::LockServiceTryAcquireResponse> {
        let mut request = request.into_inner();
        let ttl = self
            .0
            .ttl(&request.namespace, &request.pipeline, request.ttl);
        request.ttl = ttl.map_err(status)?;
        let acquire = wire::try_acquire(request, &self.0.context()).map_err(status)?;
        answer(self.0.acquire(acquire).await.map(wire::tried))
    }

    async fn acquire(
        &self,
        request: Request<v1::LockServiceAcquireRequest>,
    ) -> Answer<v1::LockServiceAcquireResponse> {
        let context = Context {
            deadline: deadline(request.metadata()),
            ..self.0.context()
        };
        let mut request = request.into_inner();
        let ttl = self
            .0
            .ttl(&request.namespace, &request.pipeline, request.ttl);
        request.ttl = ttl.map_err(status)?;
        let acquire = wire::acquire(request, &context).map_err(status)?;
        answer(self.0.acquire(acquire).await.map(wire::acquired))
    }

    async fn release(
        &self,
        request: Request<v1::LockServiceReleaseRequest>,
    ) -> Answer<v1::LockServiceReleaseResponse> {
        let request = request.into_inner();
        let lease = wire::lease(request.namespace, &request.lease_id, &self.0.context());
        let locks = &self.0.locks;
        let released = locks.release(lease.map_err(status)?).await;
        answer(released.map(|scope| v1::LockServiceReleaseResponse {
            scope: Some(convert::scope(&scope)),
        }))
    }

    async fn keep_alive(
        &self,
        request: Request<v1::LockServiceKeepAliveRequest>,
    ) -> Answer<v1::LockServiceKeepAliveResponse> {
        let request = request.into_inner();
        let lease = wire::lease(request.namespace, &request.lease_id, &self.0.context());
        let locks = &self.0.locks;
        let kept = locks.keep_alive(lease.map_err(status)?).await;
        answer(
            kept.map(|(remaining, scope)| v1::LockServiceKeepAliveResponse {
                lease_remaining: Some(convert::duration(remaining)),
                scope: Some(convert::scope(&scope)),
            }),
        )
    }

    async fn inspect(
        &self,
        request: Request<v1::LockServiceInspectRequest>,
    ) -> Answer<v1::LockServiceInspectResponse> {
        let request = request.into_inner();
        let lock = wire::lock(request.namespace, request.name, &self.0.context());
        let (namespace, name) = lock.map_err(status)?;
        let locks = &self.0.locks;
        let inspected = locks.inspect(namespace, name).await;
        answer(
            inspected.map(|(state, scope)| v1::LockServiceInspectResponse {
                lock: Some(wire::state(state)),
                scope: Some(convert::scope(&scope)),
            }),
        )
    }

    async fn list(
        &self,
        request: Request<v1::LockServiceListRequest>,
    ) -> Answer<v1::LockServiceListResponse> {
        let list = wire::list(request.into_inner(), &self.0.context()).map_err(status)?;
        let namespace = list.namespace.clone();
        let listed = self.0.locks.list(list).await;
        answer(listed.map(|page| wire::page(page, &namespace)))
    }

    type WatchStream =
        BoxStream<'static, std::result::Result<v1::LockServiceWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::LockServiceWatchRequest>,
    ) -> Answer<Self::WatchStream> {
        let watching = self.0.watch(request.into_inner()).await.map_err(status)?;
        let states = stream::unfold(watching, |mut watching| async move {
            let next = watching.next().await?;
            Some((next, watching))
        });
        Ok(elsewhere(states.boxed()))
    }

    async fn force_release(
        &self,
        request: Request<v1::LockServiceForceReleaseRequest>,
    ) -> Answer<v1::LockServiceForceReleaseResponse> {
        answer(self.0.force_release(request.into_inner()).await)
    }

    async fn check_token(
        &self,
        request: Request<v1::LockServiceCheckTokenRequest>,
    ) -> Answer<v1::LockServiceCheckTokenResponse> {
        let request = request.into_inner();
        let lock = wire::lock(request.namespace, request.name, &self.0.context());
        let (namespace, name) = lock.map_err(status)?;
        let token = trellis_core::locks::Token::new(request.token, "token").map_err(status)?;
        let locks = &self.0.locks;
        let checked = locks.check_token(namespace, name, token).await;
        answer(
            checked
                .as_ref()
                .map(wire::token_state)
                .map_err(Clone::clone),
        )
    }

    type SessionStream =
        BoxStream<'static, std::result::Result<v1::LockServiceSessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::LockServiceSessionRequest>>,
    ) -> Answer<Self::SessionStream> {
        let permit = admit_stream(&self.0.streams, self.0.config.max_streams).map_err(status)?;
        let session = LockSession::new(Arc::clone(&self.0), request.into_inner(), permit);
        let answers = stream::unfold(session, |mut session| async move {
            let next = session.next().await?;
            Some((next, session))
        });
        Ok(elsewhere(answers.boxed()))
    }
}

/// Streams have a bound of their own.
fn elsewhere<T>(stream: T) -> Response<T> {
    let mut answers = Response::new(stream);
    answers.extensions_mut().insert(BoundElsewhere);
    answers
}
