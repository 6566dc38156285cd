//! What a test works with: the service over the fake, and streams to it.

use crate::fake::Fake;
use crate::support;
pub use crate::support::streams::{Duplex, field, of_item, reason};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
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
