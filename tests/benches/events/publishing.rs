//! Publishers: streams of the generated client, spread over a few connections.

use crate::messages;
use futures::future::try_join_all;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use trellis_proto::v1::event_service_client::EventServiceClient;
use trellis_proto::v1::event_service_publish_stream_request::Request;
use trellis_proto::v1::event_service_publish_stream_response::Response;
use trellis_proto::v1::{
    EventServicePublishStreamRequest, EventServicePublishStreamResponse, StreamOpen,
};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;
use trellis_tests::bench::rounds::{Done, now};

const CONNECTIONS: usize = 4;

/// Streams at once.
pub const STREAMS: usize = 8;

/// Events in flight on each.
pub const IN_FLIGHT: usize = 64;

/// Requests that are sent and not yet taken by the transport.
const QUEUE: usize = 1_024;

/// Connections to a server.
pub struct Publishers {
    channels: Vec<Channel>,
}

/// An open stream. The server answers in the order of the requests, as far as this program looks.
pub struct Publisher {
    requests: mpsc::Sender<EventServicePublishStreamRequest>,
    answers: Streaming<EventServicePublishStreamResponse>,
    sent: u64,
}

impl Publishers {
    pub async fn open(server: &Server) -> Result<Self> {
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(server.connect().await?);
        }
        Ok(Self { channels })
    }

    /// A stream on one of the connections, taken by turns.
    pub async fn stream(&self, turn: usize) -> Result<Publisher> {
        Publisher::open(self.channels[turn % self.channels.len()].clone()).await
    }

    /// Publishes until the deadline on streams of these numbers, to a topic each, and waits for every answer.
    pub async fn run(
        &self,
        streams: Range<usize>,
        in_flight: usize,
        deadline: Instant,
    ) -> Result<Done> {
        let lanes = streams.map(|lane| async move {
            let mut stream = self.stream(lane).await?;
            let request = messages::publish(&messages::topic(lane));
            let (mut done, mut sent) = (Done::default(), VecDeque::new());
            for _ in 0..in_flight {
                sent.push_back(now());
                stream.send(request.clone())?;
            }
            while let Some(at) = sent.pop_front() {
                stream.answer().await?;
                let answered = now();
                done.add(answered - at);
                if answered < deadline {
                    sent.push_back(answered);
                    stream.send(request.clone())?;
                }
            }
            Result::Ok(done)
        });
        Ok(Done::sum(try_join_all(lanes).await?))
    }

    /// Publishes one event at a time, so many a second.
    pub async fn paced(&self, topic: &str, a_second: u32, deadline: Instant) -> Result<Done> {
        let mut stream = self.stream(0).await?;
        let request = messages::publish(topic);
        let (begun, mut done) = (now(), Done::default());
        for number in 0.. {
            let at = begun + Duration::from_secs(1) * number / a_second;
            if at >= deadline {
                break;
            }
            tokio::time::sleep_until(at.into()).await;
            let sent = now();
            stream.send(request.clone())?;
            stream.answer().await?;
            done.add(now() - sent);
        }
        Ok(done)
    }

    /// Publishes so many events to a topic.
    pub async fn fill(&self, topic: &str, events: usize) -> Result<()> {
        let mut stream = self.stream(0).await?;
        let request = messages::publish(topic);
        let (mut sent, mut answered) = (0, 0);
        while answered < events {
            while sent < events && sent - answered < QUEUE / 2 {
                stream.send(request.clone())?;
                sent += 1;
            }
            stream.answer().await?;
            answered += 1;
        }
        Ok(())
    }
}

impl Publisher {
    async fn open(channel: Channel) -> Result<Self> {
        let (requests, queue) = mpsc::channel(QUEUE);
        requests.try_send(EventServicePublishStreamRequest {
            id: 0,
            request: Some(Request::Open(StreamOpen::default())),
        })?;
        let mut client = EventServiceClient::new(channel);
        let answers = client.publish_stream(ReceiverStream::new(queue)).await?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
            sent: 0,
        })
    }

    pub fn send(&mut self, publish: trellis_proto::v1::EventServicePublishRequest) -> Result<()> {
        self.sent += 1;
        let request = Some(Request::Publish(publish));
        let id = self.sent;
        Ok(self
            .requests
            .try_send(EventServicePublishStreamRequest { id, request })?)
    }

    pub async fn answer(&mut self) -> Result<()> {
        let answer = self.answers.message().await?;
        match answer.and_then(|answer| answer.response) {
            Some(Response::Published(_)) => Ok(()),
            other => Err(format!("a publish is answered by {other:?}").into()),
        }
    }
}
