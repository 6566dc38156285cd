//! Between the types of the events port and the contract's messages.
//!
//! What a daemon sends and the port cannot express is a defect, and ends the case that met it.

use super::{count, micros};
use std::sync::Arc;
use trellis_core::events::group::{DeadReason, LeaseKey};
use trellis_core::events::{
    Cursor, DeadEvent, Delivered, Event, Filter, GapReason, GroupId, GroupSpec, GroupState,
    NewEvent, Pattern, Published, Settlement, Start, StoredEvent, Subscribe, Topic, TopicRetention,
    TopicState,
};
use trellis_core::log::{Durability, Offset};
use trellis_core::{Micros, Name, Namespace, Time};
use trellis_proto::v1;

// To the daemon.

pub(in crate::grpc) fn duration_out(span: Micros) -> prost_types::Duration {
    std::time::Duration::from(span).try_into().unwrap()
}

pub(in crate::grpc) fn timestamp_out(time: Time) -> prost_types::Timestamp {
    let prost_types::Duration { seconds, nanos } = duration_out(Micros(time.0));
    prost_types::Timestamp { seconds, nanos }
}

pub(super) fn event_out(event: &Event) -> v1::Event {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let attributes = event.attributes().iter();
    v1::Event {
        id: text(event.id()),
        source: event.source().to_owned(),
        r#type: event.kind().to_owned(),
        subject: text(event.subject()),
        time: event.time().map(timestamp_out),
        content_type: text(event.content_type()),
        schema: text(event.schema()),
        ordering_key: text(event.ordering_key()),
        attributes: attributes
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect(),
        data: event.data().clone(),
    }
}

pub(super) fn start_out(start: Start, topic: &Topic) -> v1::EventStart {
    use v1::event_start::Start as Out;
    let start = match start {
        Start::Earliest => Out::Edge(v1::EventEdge::Earliest.into()),
        Start::Latest => Out::Edge(v1::EventEdge::Latest.into()),
        Start::Cursor(cursor) => Out::Cursor(cursor.encode(topic)),
        Start::Time(time) => Out::Time(timestamp_out(time)),
    };
    v1::EventStart { start: Some(start) }
}

fn pattern_out(pattern: &Pattern) -> v1::EventPattern {
    use v1::event_pattern::Pattern as Out;
    let pattern = match pattern {
        Pattern::Exact(text) => Out::Exact(text.clone()),
        Pattern::Prefix(text) => Out::Prefix(text.clone()),
    };
    v1::EventPattern {
        pattern: Some(pattern),
    }
}

fn filter_out(filter: &Filter) -> v1::EventFilter {
    let part = |patterns: &[Pattern]| patterns.iter().map(pattern_out).collect();
    let attributes = filter.attributes().iter();
    let attributes = attributes.map(|(name, value)| v1::EventAttributePattern {
        name: name.to_string(),
        value: Some(pattern_out(value)),
    });
    v1::EventFilter {
        types: part(filter.types()),
        sources: part(filter.sources()),
        subjects: part(filter.subjects()),
        attributes: attributes.collect(),
    }
}

pub(super) fn subscribe_out(subscribe: &Subscribe) -> v1::SubscriptionOpen {
    let topic = &subscribe.topic;
    v1::SubscriptionOpen {
        namespace: topic.namespace.to_string(),
        topic: topic.name.to_string(),
        start: Some(start_out(subscribe.start, topic)),
        filter: Some(filter_out(&subscribe.filter)),
        credit: None,
        heartbeat: None,
    }
}

pub(super) fn retention_out(retention: TopicRetention) -> v1::EventRetention {
    let bound = |bound: Option<u64>| i64::try_from(bound.unwrap_or(0)).unwrap();
    v1::EventRetention {
        max_age: retention.max_age.map(duration_out),
        max_bytes: bound(retention.max_bytes),
        max_events: bound(retention.max_events),
    }
}

pub(super) fn spec_out(spec: GroupSpec) -> v1::EventGroupSpec {
    v1::EventGroupSpec {
        lease: Some(duration_out(spec.lease)),
        max_attempts: i32::try_from(spec.max_attempts).unwrap(),
        min_backoff: Some(duration_out(spec.min_backoff)),
        max_backoff: Some(duration_out(spec.max_backoff)),
        ordered: spec.ordered,
    }
}

pub(super) fn settlement_out((lease, settlement): (LeaseKey, Settlement)) -> v1::EventSettlement {
    use v1::event_settlement::Settlement as Out;
    let settlement = match settlement {
        Settlement::Ack => Out::Ack(v1::EventAck {}),
        Settlement::Nack(delay) => Out::Nack(v1::EventNack {
            delay: delay.map(duration_out),
        }),
        Settlement::Reject => Out::Reject(v1::EventReject {}),
        Settlement::Extend(lease) => Out::Extend(v1::EventExtend {
            lease: lease.map(duration_out),
        }),
    };
    v1::EventSettlement {
        lease_id: format!("{:x}-{:x}", lease.offset, lease.number),
        settlement: Some(settlement),
    }
}

// From the daemon.

pub(in crate::grpc) fn unsigned(value: i64) -> u64 {
    count(value) as u64
}

fn cursor(bytes: &[u8], topic: &Topic) -> Cursor {
    Cursor::decode(bytes, topic, "cursor").unwrap()
}

pub(in crate::grpc) fn time(time: prost_types::Timestamp) -> Time {
    let prost_types::Timestamp { seconds, nanos } = time;
    let since = prost_types::Duration { seconds, nanos };
    Time(micros(Some(since)).0)
}

fn topic_of(namespace: String, name: String) -> Topic {
    Topic {
        namespace: Namespace::new(namespace, "namespace").unwrap(),
        name: Name::new(name, "name").unwrap(),
    }
}

pub(in crate::grpc) fn durability(durability: v1::Durability) -> Durability {
    match durability {
        v1::Durability::Volatile => Durability::Volatile,
        v1::Durability::Disk => Durability::Disk,
        v1::Durability::Store => Durability::Store,
        v1::Durability::Replicated => Durability::Replicated,
        v1::Durability::Unspecified => panic!("no durability"),
    }
}

pub(super) fn published(published: &v1::PublishedEvent, topic: &Topic) -> Published {
    let durability = durability(published.durability());
    Published {
        offset: Offset(unsigned(published.offset)),
        cursor: cursor(&published.cursor, topic),
        duplicate: published.duplicate,
        durability,
    }
}

pub(super) fn stored(stored: v1::StoredEvent, topic: &Topic) -> Arc<StoredEvent> {
    let event = stored.event.unwrap();
    let mut attributes: Vec<_> = event.attributes.into_iter().collect();
    attributes.sort_unstable();
    let event = Event::new(NewEvent {
        id: event.id,
        source: event.source,
        kind: event.r#type,
        subject: event.subject,
        time: event.time.map(time),
        content_type: event.content_type,
        schema: event.schema,
        ordering_key: event.ordering_key,
        attributes,
        data: event.data,
    });
    Arc::new(StoredEvent {
        event: event.unwrap(),
        offset: Offset(unsigned(stored.offset)),
        time: time(stored.published_time.unwrap()),
        cursor: cursor(&stored.cursor, topic),
    })
}

pub(super) fn gap(reason: v1::EventGapReason) -> GapReason {
    match reason {
        v1::EventGapReason::Retention => GapReason::Retention,
        v1::EventGapReason::History => GapReason::History,
        v1::EventGapReason::LostTail => GapReason::LostTail,
        v1::EventGapReason::Unspecified => panic!("no reason"),
    }
}

pub(super) fn topic(state: v1::EventTopic) -> TopicState {
    let topic = topic_of(state.namespace, state.name);
    let kept = state.retention.unwrap();
    let bound = |bound: i64| Some(unsigned(bound)).filter(|bound| *bound > 0);
    let oldest = state.oldest_time.map(time);
    TopicState {
        retention: TopicRetention {
            max_age: kept.max_age.map(|age| micros(Some(age))),
            max_bytes: bound(kept.max_bytes),
            max_events: bound(kept.max_events),
        },
        events: unsigned(state.event_count),
        bytes: unsigned(state.byte_count),
        oldest: oldest.map(|time| (cursor(&state.oldest_cursor, &topic), time)),
        end: cursor(&state.end_cursor, &topic),
        newest: state.newest_time.map(time),
        groups: usize::try_from(state.group_count).unwrap(),
        topic,
    }
}

pub(super) fn group(state: v1::EventGroup) -> GroupState {
    let topic = topic_of(state.namespace, state.topic);
    let spec = state.spec.unwrap();
    GroupState {
        spec: GroupSpec {
            lease: micros(spec.lease),
            max_attempts: u32::try_from(spec.max_attempts).unwrap(),
            min_backoff: micros(spec.min_backoff),
            max_backoff: micros(spec.max_backoff),
            ordered: spec.ordered,
        },
        floor: cursor(&state.floor_cursor, &topic),
        behind: unsigned(state.behind),
        leased: count(state.leased_count),
        retrying: count(state.retrying_count),
        dead: count(state.dead_letter_count),
        id: GroupId {
            topic,
            name: Name::new(state.name, "name").unwrap(),
        },
    }
}

pub(super) fn delivered(delivery: v1::EventDelivery, topic: &Topic) -> Delivered {
    let (offset, number) = delivery.lease_id.split_once('-').unwrap();
    let number_of = |hex| u64::from_str_radix(hex, 16).unwrap();
    Delivered {
        event: stored(delivery.event.unwrap(), topic),
        lease: LeaseKey {
            offset: number_of(offset),
            number: number_of(number),
        },
        attempt: u32::try_from(delivery.attempt).unwrap(),
        remaining: micros(delivery.lease_remaining),
    }
}

pub(super) fn dead(dead: v1::EventDeadLetter, topic: &Topic) -> DeadEvent {
    let reason = match dead.reason() {
        v1::EventDeadReason::Attempts => DeadReason::Attempts,
        v1::EventDeadReason::Rejected => DeadReason::Rejected,
        v1::EventDeadReason::Unspecified => panic!("no reason"),
    };
    DeadEvent {
        event: stored(dead.event.unwrap(), topic),
        attempts: u32::try_from(dead.attempts).unwrap(),
        reason,
    }
}
