//! What a test works with: the service over the fake, and streams to it.

use crate::fake::Fake;
use crate::support;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;
use trellis_conformance::grpc::PipeServer;
use trellis_proto::v1;
use trellis_proto::v1::event_service_client::EventServiceClient;
use trellis_service::{EventBounds, Parts, ServiceConfig, Services, routes};

pub struct Bench {
    pub fake: Fake,
    pub stub: EventServiceClient<Channel>,
    pub drain: CancellationToken,
}

impl Bench {
    pub fn new() -> Self {
        Self::bounded(EventBounds::default())
    }

    pub fn bounded(events: EventBounds) -> Self {
        let fake = Fake::new();
        let (services, drain) = services(&fake, events);
        let stub = EventServiceClient::new(PipeServer::start(services).channel().0);
        Self { fake, stub, drain }
    }

    pub async fn publish(&self, topic: &str, event: v1::Event) -> v1::PublishedEvent {
        let answer = self.stub.clone().publish(publish(topic, event)).await;
        answer.unwrap().into_inner().published.unwrap()
    }

    /// Publishes events whose data is a number from 0.
    pub async fn publish_numbers(&self, topic: &str, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.publish(topic, numbered(number)).await;
        }
    }
}

/// The services over a backend, as in one life of a daemon, and what drains them.
pub fn services(fake: &Fake, events: EventBounds) -> (Services, CancellationToken) {
    let clock = support::clock();
    let parts = Parts {
        events: Some(Arc::new(fake.clone())),
        ..support::parts(&clock)
    };
    let config = ServiceConfig {
        events,
        ..ServiceConfig::default()
    };
    (routes(&parts, config).unwrap().0, parts.drain)
}

pub fn event() -> v1::Event {
    v1::Event {
        source: "/shop".into(),
        r#type: "order.paid".into(),
        ..v1::Event::default()
    }
}

pub fn numbered(number: usize) -> v1::Event {
    v1::Event {
        data: number.to_string().into(),
        ..event()
    }
}

pub fn number(event: &v1::StoredEvent) -> usize {
    let data = &event.event.as_ref().unwrap().data;
    std::str::from_utf8(data).unwrap().parse().unwrap()
}

pub fn publish(topic: &str, event: v1::Event) -> v1::EventServicePublishRequest {
    v1::EventServicePublishRequest {
        namespace: String::new(),
        topic: topic.into(),
        event: Some(event),
    }
}

pub fn earliest() -> Option<v1::EventStart> {
    use v1::event_start::Start;
    let start = Start::Edge(v1::EventEdge::Earliest.into());
    Some(v1::EventStart { start: Some(start) })
}

pub fn from(cursor: impl Into<prost::bytes::Bytes>) -> Option<v1::EventStart> {
    let start = v1::event_start::Start::Cursor(cursor.into());
    Some(v1::EventStart { start: Some(start) })
}

pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A stream's two directions.
pub struct Duplex<Q, A> {
    pub requests: mpsc::Sender<Q>,
    pub answers: Streaming<A>,
}

impl<Q: Send + 'static, A> Duplex<Q, A> {
    pub fn outgoing() -> (mpsc::Sender<Q>, ReceiverStream<Q>) {
        let (requests, receiver) = mpsc::channel(4_096);
        (requests, ReceiverStream::new(receiver))
    }

    pub async fn send(&self, request: Q) {
        assert!(self.requests.send(request).await.is_ok());
    }

    pub async fn next(&mut self) -> A {
        self.answers.message().await.unwrap().unwrap()
    }

    /// Ends this side.
    pub fn end(&mut self) {
        self.requests = mpsc::channel(1).0;
    }

    pub async fn expect_end(&mut self) {
        assert!(self.answers.message().await.unwrap().is_none());
    }

    pub async fn expect_error(&mut self) -> Status {
        loop {
            match self.answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without an error"),
                Err(status) => return status,
            }
        }
    }
}

/// The field that a refused call names.
#[track_caller]
pub fn field<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations[0].field.clone()
}

/// The reason that a refused call gives.
#[track_caller]
pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let details = answer.unwrap_err().get_error_details();
    details.error_info().unwrap().reason.clone()
}

/// The status of an item, as that of a call.
pub fn of_item(status: &tonic_types::Status) -> Status {
    use prost::Message as _;
    let details = status.encode_to_vec().into();
    Status::with_details(Code::from_i32(status.code), &status.message, details)
}
