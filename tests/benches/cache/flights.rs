//! One who computes a key and one who waits for it, each on a Fetch stream of its own.

use crate::messages::{NAMESPACE, Size};
use std::cell::Cell;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_proto::v1::cache_service_client::CacheServiceClient;
use trellis_proto::v1::fetch_request::Request;
use trellis_proto::v1::fetch_response::Response;
use trellis_proto::v1::key_answer::Answer;
use trellis_proto::v1::{FetchKeys, FetchRequest, FetchResponse, FillRequest, StreamOpen};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::{Done, now};

/// Requests that are sent and not yet taken by the transport.
const QUEUE: usize = 256;

/// An open Fetch stream.
pub struct Fetching {
    requests: mpsc::Sender<FetchRequest>,
    answers: Streaming<FetchResponse>,
    last_id: u64,
}

impl Fetching {
    pub async fn open(channel: Channel) -> Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let request = Some(Request::Open(StreamOpen::default()));
        requests.try_send(FetchRequest { id: 0, request })?;
        let mut client = CacheServiceClient::new(channel);
        let answers = client.fetch(ReceiverStream::new(queue)).await?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
            last_id: 0,
        })
    }

    fn send(&mut self, request: Request) -> Result<()> {
        self.last_id += 1;
        let (id, request) = (self.last_id, Some(request));
        Ok(self.requests.try_send(FetchRequest { id, request })?)
    }

    pub fn fetch(&mut self, keys: &[&str]) -> Result<()> {
        self.send(Request::Fetch(FetchKeys {
            namespace: NAMESPACE.into(),
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            ..Default::default()
        }))
    }

    pub fn fill(&mut self, lease: i64) -> Result<()> {
        self.send(Request::Fill(FillRequest {
            namespace: NAMESPACE.into(),
            lease,
            value: Size::Small.value(),
            ..Default::default()
        }))
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Result<Response> {
        let answer = self.answers.message().await?.ok_or("a stream has ended")?;
        Ok(answer.response.ok_or("an empty answer")?)
    }

    /// The next answer, which must be to a key.
    pub async fn key(&mut self) -> Result<Answer> {
        match self.answer().await? {
            Response::Key(key) => Ok(key.answer.ok_or("a key without an answer")?),
            other => Err(format!("a fetch is answered {other:?}").into()),
        }
    }

    pub async fn hit(&mut self) -> Result<()> {
        match self.key().await? {
            Answer::Hit(_) => Ok(()),
            other => Err(format!("not a hit: {other:?}").into()),
        }
    }

    async fn lease(&mut self) -> Result<i64> {
        match self.key().await? {
            Answer::Lease(lease) => Ok(lease.lease),
            other => Err(format!("not a lease: {other:?}").into()),
        }
    }

    async fn computing(&mut self) -> Result<()> {
        match self.key().await? {
            Answer::Computing(_) => Ok(()),
            other => Err(format!("not being computed: {other:?}").into()),
        }
    }

    /// The next answer, which must be to a fill that was taken.
    pub async fn filled(&mut self) -> Result<()> {
        match self.answer().await? {
            Response::Fill(fill) if fill.lease_end == 0 => Ok(()),
            other => Err(format!("a fill is answered {other:?}").into()),
        }
    }
}

/// Keys that are computed by one and waited for by another.
pub struct Flights {
    /// Whose CPU counts: the daemon of the one that waits.
    pub process: u32,
    /// There unless they are in use.
    streams: Cell<Option<[Fetching; 2]>>,
    next: Cell<usize>,
}

impl Flights {
    /// The first computes, the second waits.
    pub async fn open([computes, waits]: [&Server; 2]) -> Result<Self> {
        let computing = Fetching::open(computes.connect().await?).await?;
        let waiting = Fetching::open(waits.connect().await?).await?;
        Ok(Self {
            process: waits.pid(),
            streams: Cell::new(Some([computing, waiting])),
            next: Cell::new(0),
        })
    }

    /// Times each wait from the fill on.
    pub async fn run(&self, deadline: Instant) -> Result<Done> {
        let streams = self.streams.take().ok_or("the streams are in use")?;
        let [mut computing, mut waiting] = streams;
        let mut done = Done::default();
        while now() < deadline {
            let key = format!("flight.{:08}", self.next.replace(self.next.get() + 1));
            computing.fetch(&[&key])?;
            let lease = computing.lease().await?;
            waiting.fetch(&[&key])?;
            waiting.computing().await?;
            let sent = now();
            computing.fill(lease)?;
            waiting.hit().await?;
            done.add(now() - sent);
            computing.filled().await?;
        }
        self.streams.set(Some([computing, waiting]));
        Ok(done)
    }
}
