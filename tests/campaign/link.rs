//! A client's way to one daemon: a connection, and on it either calls or one stream.

use crate::cluster::Cluster;
use prost::Message as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::{self, AcquireStreamRequest, AcquireStreamResponse};

/// What a stopped daemon does not answer within.
const CONNECT: Duration = Duration::from_millis(500);

/// A way to a daemon.
pub struct Link {
    client: LimitServiceClient<Channel>,
    stream: Option<Stream>,
}

/// A stream with one request in hand.
struct Stream {
    requests: mpsc::Sender<AcquireStreamRequest>,
    answers: Streaming<AcquireStreamResponse>,
    last: u64,
}

impl Link {
    /// Connects; `None` when the daemon does not run or does not answer.
    pub async fn open(cluster: &Cluster, seat: usize, streams: bool) -> Option<Self> {
        let address = cluster.address(seat)?;
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let connected = tokio::time::timeout(CONNECT, endpoint.connect()).await;
        let mut client = LimitServiceClient::new(connected.ok()?.ok()?);
        let stream = if streams {
            let opened = tokio::time::timeout(CONNECT, Stream::open(&mut client)).await;
            Some(opened.ok()?.ok()?)
        } else {
            None
        };
        Some(Self { client, stream })
    }

    pub async fn acquire(&mut self, request: v1::AcquireRequest) -> Answer<v1::AcquireResponse> {
        let Some(stream) = &mut self.stream else {
            return Ok(self.client.acquire(request).await?.into_inner());
        };
        match stream.ask(Request::Acquire(request)).await? {
            Response::Acquire(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    pub async fn settle(&mut self, request: v1::SettleRequest) -> Answer<v1::SettleResponse> {
        let Some(stream) = &mut self.stream else {
            return Ok(self.client.settle(request).await?.into_inner());
        };
        match stream.ask(Request::Settle(request)).await? {
            Response::Settle(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    /// Takes back the acquire that was left unanswered. Its future is gone, which ended a call; on a
    /// stream the daemon has to be told. False when that cannot be.
    pub async fn cancel(&mut self) -> bool {
        match &mut self.stream {
            None => true,
            Some(stream) => {
                let cancel = Request::Cancel(v1::CancelAcquire {});
                stream.send(stream.last, cancel).await.is_ok()
            }
        }
    }

    /// Declares a limit.
    pub async fn declare(&mut self, request: v1::SetLimitRequest) -> Answer<v1::SetLimitResponse> {
        Ok(self.client.set_limit(request).await?.into_inner())
    }
}

/// An answer or why there is none.
pub type Answer<T> = Result<T, Status>;

fn unexpected(answer: Response) -> Status {
    match answer {
        Response::Error(error) => {
            let (code, message) = (tonic::Code::from_i32(error.code), error.message.clone());
            Status::with_details(code, message, error.encode_to_vec().into())
        }
        Response::Draining(_) => Status::unavailable("draining"),
        other => Status::internal(format!("unexpected: {other:?}")),
    }
}

impl Stream {
    async fn open(client: &mut LimitServiceClient<Channel>) -> Answer<Self> {
        let (requests, queue) = mpsc::channel(4);
        let open = AcquireStreamRequest {
            id: 0,
            request: Some(Request::Open(v1::StreamOpen::default())),
        };
        let _ = requests.send(open).await;
        let answers = client.acquire_stream(ReceiverStream::new(queue)).await?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
            last: 0,
        })
    }

    async fn send(&self, id: u64, request: Request) -> Answer<()> {
        let request = Some(request);
        let sent = self.requests.send(AcquireStreamRequest { id, request });
        let sent = sent.await;
        sent.map_err(|_| Status::unavailable("the stream has ended"))
    }

    async fn ask(&mut self, request: Request) -> Answer<Response> {
        self.last += 1;
        self.send(self.last, request).await?;
        loop {
            let answer = self.answers.message().await?;
            let answer = answer.ok_or_else(|| Status::unavailable("the stream has ended"))?;
            let draining = matches!(answer.response, Some(Response::Draining(_)));
            // Answers to what was left unanswered come late.
            if answer.id == self.last || draining {
                return answer
                    .response
                    .ok_or_else(|| Status::internal("an empty answer"));
            }
        }
    }
}
