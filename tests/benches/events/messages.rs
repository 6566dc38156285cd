//! What is sent: events of one size.

use prost::Message as _;
use trellis_proto::v1::event_service_client::EventServiceClient;
use trellis_proto::v1::{self, EventServicePublishRequest, PublishedEvent};
use trellis_tests::bench::Result;
use trellis_tests::bench::process::Server;

/// Bytes of data.
const DATA: usize = 100;

/// Bytes of a cursor.
const CURSOR: usize = 41;

/// The topic of a stream.
pub fn topic(stream: usize) -> String {
    format!("orders.{stream}")
}

/// The event that everything is measured with.
pub fn event() -> v1::Event {
    v1::Event {
        source: "/shop/eu-1".into(),
        r#type: "com.example.order.paid".into(),
        subject: "orders/4711".into(),
        data: vec![b'x'; DATA].into(),
        ..Default::default()
    }
}

/// The bytes of its texts and its data, which credit counts.
pub fn bytes() -> usize {
    let event = event();
    event.source.len() + event.r#type.len() + event.subject.len() + event.data.len()
}

pub fn publish(topic: &str) -> EventServicePublishRequest {
    EventServicePublishRequest {
        topic: topic.into(),
        event: Some(event()),
        ..Default::default()
    }
}

/// An answer as long as that of a daemon that has some thousands of events.
pub fn published() -> v1::EventServicePublishResponse {
    v1::EventServicePublishResponse {
        published: Some(PublishedEvent {
            offset: 100_000,
            cursor: vec![7; CURSOR].into(),
            duplicate: false,
            durability: v1::Durability::Volatile.into(),
        }),
        scope: Some(v1::Scope {
            kind: v1::ScopeKind::Local.into(),
            ..Default::default()
        }),
    }
}

/// An event as a reader gets it.
pub fn stored() -> v1::StoredEvent {
    v1::StoredEvent {
        event: Some(event()),
        offset: 100_000,
        published_time: Some(prost_types::Timestamp {
            seconds: 1_790_000_000,
            nanos: 123_456_000,
        }),
        cursor: vec![7; CURSOR].into(),
    }
}

/// The sizes of an answer on both sides, which must not differ by much.
pub async fn compare_sizes(echo: &Server, trellis: &Server) -> Result<String> {
    let mut sizes = Vec::new();
    for server in [echo, trellis] {
        let mut client = EventServiceClient::new(server.connect().await?);
        let answer = client.publish(publish("sizes")).await?.into_inner();
        sizes.push(answer.encoded_len());
    }
    let (echo, trellis) = (sizes[0], sizes[1]);
    if echo.abs_diff(trellis) > 8 {
        return Err(
            format!("an answer has {echo} bytes on the echo, {trellis} on trellisd").into(),
        );
    }
    let (request, stored) = (publish("sizes").encoded_len(), stored().encoded_len());
    Ok(format!(
        "encoded bytes: a publish {request}, its answer {echo} on the echo and {trellis} on trellisd; an event read {stored}"
    ))
}
