//! The locks port through contract and server: unary calls, and a stream over a connection of its own for each
//! session, so that it can break.

mod convert;
mod link;

pub(super) use convert::{call, count, error, item_error, micros, scope};

use super::pipe::PipeServer;
use crate::Pace;
use crate::locks::Subject;
use async_trait::async_trait;
use link::{Feed, Link};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use trellis_core::locks::{
    AcquireLocks, AcquiredLocks, AcquiringLocks, ForceRelease, Holder, LeaseRef, ListLocks,
    LockPage, LockState, LockWatch, Locks, LocksStatus, OpenSession, Progress, SessionFeed,
    SessionId, SessionKey, SessionState, Token, TokenState, WaitingLocks,
};
use trellis_core::{Error, ErrorCode, Micros, Name, Namespace, Result, Scope};
use trellis_proto::v1;
use trellis_proto::v1::lock_service_client::LockServiceClient;

/// Daemons under test: calls of a case go to them by turns.
#[must_use]
pub fn locks_subject(servers: impl IntoIterator<Item = PipeServer>, pace: Pace) -> Subject {
    let handles = servers
        .into_iter()
        .map(|server| Arc::new(GrpcLocks::new(server)) as Arc<dyn Locks>);
    Subject::new(handles.collect(), pace)
}

/// One daemon's locks.
pub struct GrpcLocks {
    server: PipeServer,
    stub: LockServiceClient<Channel>,
    sessions: Mutex<HashMap<SessionKey, Arc<Link>>>,
}

impl GrpcLocks {
    /// Over connections to a server of this process.
    #[must_use]
    pub fn new(server: PipeServer) -> Self {
        Self {
            stub: LockServiceClient::new(server.channel().0),
            server,
            sessions: Mutex::default(),
        }
    }

    fn stub(&self) -> LockServiceClient<Channel> {
        self.stub.clone()
    }

    fn session(&self, key: SessionKey) -> Result<Arc<Link>> {
        let known = self.sessions.lock().get(&key).cloned();
        known.ok_or_else(|| Error::new(ErrorCode::LeaseLost, "the session was closed"))
    }

    async fn attach(
        &self,
        open: v1::LockSessionOpen,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        let (link, state, feed) = Link::open(&self.server, open).await?;
        self.sessions.lock().insert(state.key, link);
        Ok((state, Box::new(Feed(feed))))
    }
}

/// An RPC as a call that waits: dropping it takes it back.
struct Rpc(Pin<Box<dyn Future<Output = Result<AcquiredLocks>> + Send>>);

#[async_trait]
impl WaitingLocks for Rpc {
    async fn next(&mut self) -> Progress {
        Progress::Ended((&mut self.0).await)
    }
}

async fn acquire(
    mut stub: LockServiceClient<Channel>,
    acquire: AcquireLocks,
) -> Result<AcquiredLocks> {
    let (request, wait) = convert::acquire_out(&acquire);
    if wait.is_some() {
        return call(stub.acquire(request).await).map(convert::acquired);
    }
    let tried = stub.try_acquire(v1::LockServiceTryAcquireRequest {
        namespace: request.namespace,
        locks: request.locks,
        ttl: request.ttl,
        value: request.value,
        owner: request.owner,
        request_id: request.request_id,
        pipeline: request.pipeline,
        purpose: request.purpose,
    });
    let tried = call(tried.await)?;
    Ok(convert::acquired(v1::LockServiceAcquireResponse {
        outcome: tried.outcome,
        grant: tried.grant,
        retry_after: tried.retry_after,
        position: tried.position,
        scope: tried.scope,
    }))
}

struct Watch(Streaming<v1::LockServiceWatchResponse>);

#[async_trait]
impl LockWatch for Watch {
    async fn next(&mut self) -> Result<(LockState, Scope)> {
        let state = self.0.message().await.map_err(convert::error)?;
        let state = state.expect("a watch does not end by itself");
        Ok((convert::state(state.lock.unwrap()), scope(state.scope)))
    }
}

#[async_trait]
impl Locks for GrpcLocks {
    fn acquire(self: Arc<Self>, request: AcquireLocks) -> AcquiringLocks {
        match request.holder {
            Holder::Lease { .. } => {
                AcquiringLocks::Waiting(Box::new(Rpc(Box::pin(acquire(self.stub(), request)))))
            }
            Holder::Session(key) => match self.session(key) {
                Ok(link) => {
                    let request = convert::session_acquire_out(&request);
                    AcquiringLocks::Waiting(Box::new(link::Acquire::new(link, request)))
                }
                Err(error) => AcquiringLocks::Done(Err(error)),
            },
        }
    }

    async fn release(&self, lease: LeaseRef) -> Result<Scope> {
        let mut stub = self.stub();
        let released = stub.release(v1::LockServiceReleaseRequest {
            namespace: lease.namespace.into(),
            lease_id: lease.lease.reveal(),
        });
        let released = released.await;
        call(released).map(|answer| scope(answer.scope))
    }

    async fn keep_alive(&self, lease: LeaseRef) -> Result<(Micros, Scope)> {
        let mut stub = self.stub();
        let kept = stub.keep_alive(v1::LockServiceKeepAliveRequest {
            namespace: lease.namespace.into(),
            lease_id: lease.lease.reveal(),
        });
        let kept = call(kept.await)?;
        Ok((micros(kept.lease_remaining), scope(kept.scope)))
    }

    async fn inspect(&self, namespace: Namespace, name: Name) -> Result<(LockState, Scope)> {
        let mut stub = self.stub();
        let inspected = stub.inspect(v1::LockServiceInspectRequest {
            namespace: namespace.into(),
            name: name.into(),
        });
        let inspected = call(inspected.await)?;
        Ok((
            convert::state(inspected.lock.unwrap()),
            scope(inspected.scope),
        ))
    }

    async fn list(&self, list: ListLocks) -> Result<LockPage> {
        let mut stub = self.stub();
        let namespace = list.namespace.to_string();
        let listed = stub.list(v1::LockServiceListRequest {
            // The token of a page that ended with this name.
            page_token: list
                .after
                .map_or_else(String::new, |after| format!("locks/{namespace}/{after}")),
            namespace,
            page_size: i32::try_from(list.page_size).unwrap(),
        });
        let page = call(listed.await)?;
        Ok(LockPage {
            locks: page.locks.into_iter().map(convert::state).collect(),
            more: !page.next_page_token.is_empty(),
            scope: scope(page.scope),
        })
    }

    async fn watch(
        self: Arc<Self>,
        namespace: Namespace,
        name: Name,
    ) -> Result<Box<dyn LockWatch>> {
        let mut stub = self.stub();
        let watched = stub.watch(v1::LockServiceWatchRequest {
            namespace: namespace.into(),
            name: name.into(),
        });
        Ok(Box::new(Watch(call(watched.await)?)))
    }

    async fn force_release(&self, force: ForceRelease) -> Result<(usize, Scope)> {
        let mut stub = self.stub();
        let forced = stub.force_release(v1::LockServiceForceReleaseRequest {
            namespace: force.namespace.into(),
            name: force.name.into(),
            expected_token: convert::token_out(force.expected),
            reason: force.reason.to_string(),
            actor: force.actor.to_string(),
            request_id: force.request_id.map(String::from).unwrap_or_default(),
        });
        let forced = call(forced.await)?;
        Ok((count(forced.released), scope(forced.scope)))
    }

    async fn check_token(
        &self,
        namespace: Namespace,
        name: Name,
        token: Token,
    ) -> Result<TokenState> {
        let mut stub = self.stub();
        let checked = stub.check_token(v1::LockServiceCheckTokenRequest {
            namespace: namespace.into(),
            name: name.into(),
            token: convert::token_out(token),
        });
        let checked = call(checked.await)?;
        assert_eq!(checked.current, checked.lease_remaining.is_some());
        Ok(TokenState {
            held: convert::token(checked.held_token),
            remaining: checked.lease_remaining.map(|left| micros(Some(left))),
            scope: scope(checked.scope),
        })
    }

    async fn open_session(
        self: Arc<Self>,
        open: OpenSession,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.attach(convert::open_out(&open)).await
    }

    async fn attach_session(
        self: Arc<Self>,
        namespace: Namespace,
        session: SessionId,
    ) -> Result<(SessionState, Box<dyn SessionFeed>)> {
        self.attach(v1::LockSessionOpen {
            namespace: namespace.into(),
            session_secret: session.reveal(),
            ..v1::LockSessionOpen::default()
        })
        .await
    }

    async fn keep_session(&self, _: Namespace, session: SessionKey) -> Result<(Micros, Scope)> {
        self.session(session)?.keep_alive().await
    }

    async fn close_session(&self, _: Namespace, session: SessionKey) -> Result<usize> {
        let link = self.session(session)?;
        let closed = link.close().await;
        self.sessions.lock().remove(&session);
        closed
    }

    fn break_session(&self, _: &Namespace, session: SessionKey) {
        if let Some(link) = self.sessions.lock().remove(&session) {
            link.cut();
        }
    }

    fn status(&self) -> LocksStatus {
        panic!("the contract tells it by StatusService");
    }

    fn scope(&self) -> Scope {
        panic!("the contract tells it by StatusService");
    }
}

/// A stream of requests.
fn streaming<T: Send + 'static>(
    requests: tokio::sync::mpsc::Receiver<T>,
) -> Request<tokio_stream::wrappers::ReceiverStream<T>> {
    Request::new(tokio_stream::wrappers::ReceiverStream::new(requests))
}
