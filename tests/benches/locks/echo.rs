//! The floor: decodes the messages of a session and answers each as if every lock were free.

use std::pin::Pin;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use trellis_proto::v1::lock_service_server::{LockService, LockServiceServer};
use trellis_proto::v1::lock_service_session_request::Request as Asked;
use trellis_proto::v1::lock_service_session_response::Response as Answered;
use trellis_proto::v1::{self, LockServiceSessionRequest, LockServiceSessionResponse};
use trellis_tests::bench::Result;
use trellis_tests::{bench, unserved};

/// As long as a real token or generation: microseconds of the wall clock.
const MICROS: i64 = 1_790_000_000_000_000;

/// As long as a real one after some thousands.
const LEASE: &str = "1fff-0123456789abcdef0123456789abcdef";

/// Serves until the process is ended.
pub fn serve() -> Result<()> {
    bench::echo::serve(|server| server.add_service(LockServiceServer::new(Echo)))
}

struct Echo;

type Answer<T> = std::result::Result<Response<T>, Status>;
type Item = std::result::Result<LockServiceSessionResponse, Status>;

fn scope() -> v1::Scope {
    v1::Scope {
        kind: v1::ScopeKind::Local.into(),
        ..Default::default()
    }
}

fn answer(request: LockServiceSessionRequest) -> Item {
    let response = match request.request {
        Some(Asked::Open(_)) => Answered::Opened(v1::LockSessionOpened::default()),
        Some(Asked::Acquire(acquire)) => {
            let locks = acquire.locks.into_iter().map(|lock| v1::GrantedLock {
                name: lock.name,
                mode: v1::LockMode::Exclusive.into(),
                token: MICROS,
            });
            Answered::Granted(v1::LockGranted {
                grant: Some(v1::LockGrant {
                    lease_id: LEASE.into(),
                    locks: locks.collect(),
                    lease_remaining: Some(prost_types::Duration {
                        seconds: 3_599,
                        nanos: 999_000_000,
                    }),
                    generation: MICROS,
                }),
                scope: Some(scope()),
            })
        }
        Some(Asked::Release(_)) => Answered::Released(v1::LockServiceReleaseResponse {
            scope: Some(scope()),
        }),
        _ => {
            return Err(Status::unimplemented(
                "the echo serves what is measured alone",
            ));
        }
    };
    Ok(LockServiceSessionResponse {
        id: request.id,
        response: Some(response),
    })
}

#[tonic::async_trait]
impl LockService for Echo {
    type SessionStream = Pin<Box<dyn Stream<Item = Item> + Send>>;
    type WatchStream =
        tokio_stream::Empty<std::result::Result<v1::LockServiceWatchResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<LockServiceSessionRequest>>,
    ) -> Answer<Self::SessionStream> {
        let answers = request.into_inner().map(|request| request.and_then(answer));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn watch(&self, _: Request<v1::LockServiceWatchRequest>) -> Answer<Self::WatchStream> {
        Ok(Response::new(tokio_stream::empty()))
    }

    unserved! {
        try_acquire(LockServiceTryAcquireRequest) -> LockServiceTryAcquireResponse,
        acquire(LockServiceAcquireRequest) -> LockServiceAcquireResponse,
        release(LockServiceReleaseRequest) -> LockServiceReleaseResponse,
        keep_alive(LockServiceKeepAliveRequest) -> LockServiceKeepAliveResponse,
        inspect(LockServiceInspectRequest) -> LockServiceInspectResponse,
        list(LockServiceListRequest) -> LockServiceListResponse,
        force_release(LockServiceForceReleaseRequest) -> LockServiceForceReleaseResponse,
        check_token(LockServiceCheckTokenRequest) -> LockServiceCheckTokenResponse,
    }
}
