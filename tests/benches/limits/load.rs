//! The load generator: closed loops over a few connections, the same for both servers.

use crate::messages::{self, Work};
use futures::future::try_join_all;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use trellis_client::{Acquired, Charge, Client, Limits};
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;
use trellis_proto::v1::limit_service_client::LimitServiceClient;
use trellis_proto::v1::{AcquireStreamRequest, SetLimitRequest, StreamOpen};
use trellis_tests::bench::Result;
use trellis_tests::bench::rounds::{Done, now};

/// Connections to a server; two to each where there are more of those.
const CONNECTIONS: usize = 4;

/// Calls in flight: of all unary calls, or of each stream.
pub const CALLS: usize = 64;

/// Streams, spread over the connections.
pub const STREAMS: usize = 8;

/// How calls are sent.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// An RPC each, so many in flight.
    Unary(usize),
    /// Over [`STREAMS`] streams of the generated client, [`CALLS`] in flight on each.
    Streams,
    /// Over as many pipelines of the typed client.
    Pipelines,
}

/// Connections to one server, or to several.
pub struct Connections {
    channels: Vec<Channel>,
    typed: Vec<Limits>,
}

impl Connections {
    pub async fn open(address: &str) -> Result<Self> {
        Self::open_all(&[address]).await
    }

    /// Connections to several servers, by turns.
    pub async fn open_all(addresses: &[&str]) -> Result<Self> {
        let (mut channels, mut typed) = (Vec::new(), Vec::new());
        for place in 0..CONNECTIONS.max(2 * addresses.len()) {
            let uri = format!("http://{}", addresses[place % addresses.len()]);
            channels.push(Endpoint::from_shared(uri.clone())?.connect().await?);
            let limits = Client::connect(&uri).await?.limits();
            typed.push(limits.namespace(messages::NAMESPACE));
        }
        Ok(Self { channels, typed })
    }

    /// A client on one of the connections, taken by turns.
    pub fn client(&self, turn: usize) -> LimitServiceClient<Channel> {
        LimitServiceClient::new(self.channels[turn % self.channels.len()].clone())
    }

    /// Declares limits, many at a time.
    pub async fn declare(&self, limits: impl IntoIterator<Item = SetLimitRequest>) -> Result<()> {
        let limits = std::cell::RefCell::new(limits.into_iter());
        let lanes = (0..CALLS).map(|lane| {
            let (mut client, limits) = (self.client(lane), &limits);
            async move {
                loop {
                    let next = limits.borrow_mut().next();
                    let Some(limit) = next else {
                        return Result::Ok(());
                    };
                    client.set_limit(limit).await?;
                }
            }
        });
        try_join_all(lanes).await?;
        Ok(())
    }

    /// Sends work until the deadline and waits for every answer.
    pub async fn run(&self, shape: Shape, work: &Work, deadline: Instant) -> Result<Done> {
        let done = match shape {
            Shape::Unary(in_flight) => {
                let lanes = (0..in_flight).map(|lane| {
                    // Lanes start apart, so that they do not ask for the same limits in step.
                    let first = lane * work.requests.len() / in_flight;
                    unary(self.client(lane), work, first, deadline)
                });
                try_join_all(lanes).await?
            }
            Shape::Streams => {
                let lanes = (0..STREAMS).map(|lane| {
                    let first = lane * work.requests.len() / STREAMS;
                    stream(self.client(lane), work, first, deadline)
                });
                try_join_all(lanes).await?
            }
            Shape::Pipelines => {
                let pipelines: Vec<_> = (0..STREAMS)
                    .map(|lane| self.typed[lane % self.typed.len()].pipeline())
                    .collect();
                let lanes = pipelines
                    .iter()
                    .flat_map(|pipeline| (0..CALLS).map(move |_| typed(pipeline, work, deadline)));
                try_join_all(lanes).await?
            }
        };
        Ok(Done::sum(done))
    }
}

async fn unary(
    mut client: LimitServiceClient<Channel>,
    work: &Work,
    first: usize,
    deadline: Instant,
) -> Result<Done> {
    let mut done = Done::default();
    let mut sent = now();
    for request in work.requests.iter().cycle().skip(first) {
        let answer = client.acquire(request.clone()).await?.into_inner();
        done.granted += work.granted(&answer)?;
        let answered = now();
        done.add(answered - sent);
        if answered >= deadline {
            break;
        }
        sent = answered;
    }
    Ok(done)
}

async fn stream(
    mut client: LimitServiceClient<Channel>,
    work: &Work,
    first: usize,
    deadline: Instant,
) -> Result<Done> {
    // Each answer makes room for one request, so the queue never fills.
    let (requests, queue) = mpsc::channel(CALLS + 1);
    let mut next = work.requests.iter().cycle().skip(first).zip(1..);
    let mut send = |requests: &mpsc::Sender<_>| {
        let request = next.next().map(|(request, id)| AcquireStreamRequest {
            id,
            request: Some(Request::Acquire(request.clone())),
        });
        requests.try_send(request.ok_or("no work")?)?;
        Result::Ok(())
    };
    let open = Request::Open(StreamOpen::default());
    requests.try_send(AcquireStreamRequest {
        id: 0,
        request: Some(open),
    })?;
    for _ in 0..CALLS {
        send(&requests)?;
    }
    let mut answers = client
        .acquire_stream(ReceiverStream::new(queue))
        .await?
        .into_inner();
    let mut requests = Some(requests);
    let mut done = Done::default();
    while let Some(answer) = answers.message().await? {
        match answer.response {
            Some(Response::Acquire(answer)) => done.granted += work.granted(&answer)?,
            other => return Err(format!("a stream answers {other:?}").into()),
        }
        done.calls += 1;
        if now() >= deadline {
            // Ends the stream, once what is in flight is answered.
            requests = None;
        }
        if let Some(requests) = &requests {
            send(requests)?;
        }
    }
    Ok(done)
}

async fn typed(
    pipeline: &trellis_client::Pipeline,
    work: &Work,
    deadline: Instant,
) -> Result<Done> {
    let names = work.requests.iter().flat_map(|request| &request.charges);
    let mut done = Done::default();
    for charge in names.cycle() {
        let acquired = pipeline
            .try_acquire(Charge::new(&charge.limit, charge.amount))
            .await?;
        if !matches!(acquired, Acquired::Granted(_)) {
            return Err(format!("a pipeline answers {acquired:?}").into());
        }
        done.calls += 1;
        if now() >= deadline {
            break;
        }
    }
    Ok(done)
}
