//! A daemon without a will of its own: every call is handed to the test, which answers it.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use trellis_client::{Client, ClientBuilder};
use trellis_proto::v1 as proto;
use trellis_proto::v1::limit_service_server::{LimitService, LimitServiceServer};
use trellis_proto::v1::status_service_server::{StatusService, StatusServiceServer};

/// What a test waits for comes soon, or never.
const PATIENCE: Duration = Duration::from_secs(10);

/// A unary call in the test's hands.
pub struct Exchange<Q, A> {
    pub request: Q,
    /// The `grpc-timeout` header.
    pub timeout: Option<String>,
    reply: oneshot::Sender<Result<A, Status>>,
}

impl<Q, A> Exchange<Q, A> {
    pub fn answer(self, answer: A) -> Q {
        let _ = self.reply.send(Ok(answer));
        self.request
    }

    pub fn fail(self, status: Status) {
        let _ = self.reply.send(Err(status));
    }
}

/// A stream in the test's hands. Dropping it ends the stream.
pub struct Session {
    requests: Streaming<proto::AcquireStreamRequest>,
    answers: mpsc::Sender<Result<proto::AcquireStreamResponse, Status>>,
}

impl Session {
    pub async fn next(&mut self) -> (u64, proto::acquire_stream_request::Request) {
        let message = timeout(PATIENCE, self.requests.message()).await;
        let message = message
            .expect("no message")
            .unwrap()
            .expect("the request stream ended");
        (message.id, message.request.unwrap())
    }

    /// Whether the client ended its side.
    pub async fn ended(&mut self) -> bool {
        timeout(PATIENCE, self.requests.message())
            .await
            .expect("no end")
            .is_ok_and(|m| m.is_none())
    }

    pub async fn send(&self, id: u64, response: proto::acquire_stream_response::Response) {
        let message = proto::AcquireStreamResponse {
            id,
            response: Some(response),
        };
        self.answers.send(Ok(message)).await.unwrap();
    }

    pub async fn fail(self, status: Status) {
        self.answers.send(Err(status)).await.unwrap();
    }
}

macro_rules! calls {
    ($($call:ident($request:ident, $response:ident)),* $(,)?) => {
        pub enum Call {
            $($call(Exchange<proto::$request, proto::$response>),)*
            Stream(Session),
        }

        impl Call {
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$call(_) => stringify!($call),)*
                    Self::Stream(_) => "Stream",
                }
            }
        }
    };
}

calls! {
    Acquire(AcquireRequest, AcquireResponse),
    Batch(BatchAcquireRequest, BatchAcquireResponse),
    Settle(SettleRequest, SettleResponse),
    Extend(ExtendReservationRequest, ExtendReservationResponse),
    Peek(PeekRequest, PeekResponse),
    SetLimit(SetLimitRequest, SetLimitResponse),
    DeleteLimit(DeleteLimitRequest, DeleteLimitResponse),
    ListLimits(ListLimitsRequest, ListLimitsResponse),
    ListBuckets(ListBucketsRequest, ListBucketsResponse),
    ResetLimit(ResetLimitRequest, ResetLimitResponse),
    ReportThrottled(ReportThrottledRequest, ReportThrottledResponse),
    GetStatus(GetStatusRequest, GetStatusResponse),
}

/// The calls that came in, in order.
pub struct Fake {
    calls: mpsc::Receiver<Call>,
    address: String,
    _server: JoinSet<()>,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, calls) = mpsc::channel(64);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let serving = tonic::transport::Server::builder()
                .add_service(LimitServiceServer::new(Handler(sender.clone())))
                .add_service(StatusServiceServer::new(Handler(sender)))
                .serve_with_incoming(TcpListenerStream::new(listener));
            serving.await.unwrap();
        });
        Self {
            calls,
            address,
            _server: server,
        }
    }

    /// A daemon, and a client with default settings.
    pub async fn with_client() -> (Self, Client) {
        let fake = Self::start().await;
        let client = fake.builder().connect().await.unwrap();
        (fake, client)
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder(&self.address)
    }

    pub async fn next(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv())
            .await
            .expect("no call")
            .unwrap()
    }

    /// The next call, which opens a stream in `namespace`.
    pub async fn stream(&mut self, namespace: &str) -> Session {
        let Call::Stream(mut session) = self.next().await else {
            panic!("expected a stream")
        };
        let (id, request) = session.next().await;
        let open = proto::StreamOpen {
            namespace: namespace.into(),
        };
        assert_eq!(
            (id, request),
            (0, proto::acquire_stream_request::Request::Open(open))
        );
        session
    }
}

/// The next call, which is a `$call`.
macro_rules! expect_call {
    ($fake:expr, $call:ident) => {
        match $fake.next().await {
            crate::fake::Call::$call(exchange) => exchange,
            other => panic!("expected {}, got {}", stringify!($call), other.name()),
        }
    };
}
pub(crate) use expect_call;

struct Handler(mpsc::Sender<Call>);

impl Handler {
    async fn hand<Q, A>(
        &self,
        request: Request<Q>,
        call: fn(Exchange<Q, A>) -> Call,
    ) -> Result<Response<A>, Status> {
        let header = request.metadata().get("grpc-timeout");
        let timeout = header.map(|value| value.to_str().unwrap().to_owned());
        let (reply, answer) = oneshot::channel();
        let exchange = Exchange {
            request: request.into_inner(),
            timeout,
            reply,
        };
        self.0
            .send(call(exchange))
            .await
            .map_err(|_| Status::internal("the test is over"))?;
        answer
            .await
            .map_err(|_| Status::internal("the test gave no answer"))?
            .map(Response::new)
    }
}

/// Implements a service: the methods in the first braces as they are, the others by `Handler::hand`.
macro_rules! service {
    ($service:ident { $($own:tt)* } { $($method:ident: $call:ident($request:ident, $response:ident),)* }) => {
        #[tonic::async_trait]
        impl $service for Handler {
            $($own)*

            $(async fn $method(
                &self,
                request: Request<proto::$request>,
            ) -> Result<Response<proto::$response>, Status> {
                self.hand(request, Call::$call).await
            })*
        }
    };
}

service! {
    LimitService {
        type AcquireStreamStream = ReceiverStream<Result<proto::AcquireStreamResponse, Status>>;

        async fn acquire_stream(
            &self,
            request: Request<Streaming<proto::AcquireStreamRequest>>,
        ) -> Result<Response<Self::AcquireStreamStream>, Status> {
            let (answers, stream) = mpsc::channel(64);
            let session = Session { requests: request.into_inner(), answers };
            let sent = self.0.send(Call::Stream(session)).await;
            sent.map_err(|_| Status::internal("the test is over"))?;
            Ok(Response::new(ReceiverStream::new(stream)))
        }
    } {
        acquire: Acquire(AcquireRequest, AcquireResponse),
        batch_acquire: Batch(BatchAcquireRequest, BatchAcquireResponse),
        settle: Settle(SettleRequest, SettleResponse),
        extend_reservation: Extend(ExtendReservationRequest, ExtendReservationResponse),
        peek: Peek(PeekRequest, PeekResponse),
        set_limit: SetLimit(SetLimitRequest, SetLimitResponse),
        delete_limit: DeleteLimit(DeleteLimitRequest, DeleteLimitResponse),
        list_limits: ListLimits(ListLimitsRequest, ListLimitsResponse),
        list_buckets: ListBuckets(ListBucketsRequest, ListBucketsResponse),
        reset_limit: ResetLimit(ResetLimitRequest, ResetLimitResponse),
        report_throttled: ReportThrottled(ReportThrottledRequest, ReportThrottledResponse),
    }
}

service! {
    StatusService {} {
        get_status: GetStatus(GetStatusRequest, GetStatusResponse),
    }
}

/// Answers that tests give often.
#[expect(clippy::unnecessary_wraps, reason = "message fields are optional")]
pub mod answers {
    use super::{Duration, proto};

    pub fn scope() -> Option<proto::Scope> {
        let kind = proto::ScopeKind::Local.into();
        Some(proto::Scope {
            kind,
            since: None,
            reason: String::new(),
        })
    }

    pub fn duration(duration: Duration) -> Option<prost_types::Duration> {
        Some(duration.try_into().unwrap())
    }

    pub fn concurrency(slots: i64) -> Option<proto::LimitSpec> {
        let kind = proto::limit_spec::Kind::Concurrency(proto::ConcurrencySpec { slots });
        Some(proto::LimitSpec { kind: Some(kind) })
    }

    pub fn outcome(outcome: proto::Outcome) -> proto::AcquireResponse {
        proto::AcquireResponse {
            outcome: outcome.into(),
            retry_after: duration(Duration::from_millis(250)),
            scope: scope(),
            ..Default::default()
        }
    }

    pub fn granted() -> proto::AcquireResponse {
        proto::AcquireResponse {
            charges: vec![proto::ChargeResult {
                remaining: 4,
                spec: concurrency(5),
                source: proto::SpecSource::SetLimit.into(),
                ..Default::default()
            }],
            ..outcome(proto::Outcome::Granted)
        }
    }

    pub fn reserved(id: &str) -> proto::AcquireResponse {
        proto::AcquireResponse {
            reservation_id: id.into(),
            reservation_ttl: duration(Duration::from_mins(1)),
            ..granted()
        }
    }

    pub fn settled() -> proto::SettleResponse {
        proto::SettleResponse {
            charges: Vec::new(),
            scope: scope(),
        }
    }
}
