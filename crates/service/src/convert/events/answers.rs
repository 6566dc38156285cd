//! What the port answers, as the contract spells it.

use super::super::pages::fitting;
use super::super::{count, duration, scope, timestamp};
use super::{dead_letters_token, groups_token, topics_token};
use prost::bytes::Bytes;
use std::sync::Arc;
use trellis_core::events::group::{DeadReason, LeaseKey};
use trellis_core::events::{
    Cursor, CursorWriter, DeadEvent, Delivered, Event, GapReason, GroupId, GroupSpec, GroupState,
    Position, Published, Room, StoredEvent, Topic, TopicRetention, TopicState,
};
use trellis_core::log::{Durability, Offset};
use trellis_core::{Micros, Namespace, Scope};
use trellis_proto::{MAX_MESSAGE_BYTES, v1};

/// What a message has beside the bytes of its events, and what each event adds beyond its bytes: tags, lengths, cursor, times, lease.
const MESSAGE_OVERHEAD: usize = 4_096;
const EVENT_OVERHEAD: usize = 512;

/// How many events fit one answer.
pub(crate) fn page(events: usize) -> Room {
    Room {
        events,
        bytes: MAX_MESSAGE_BYTES - MESSAGE_OVERHEAD - events * EVENT_OVERHEAD,
    }
}

pub(crate) fn published(published: &Published, cursors: &mut CursorWriter) -> v1::PublishedEvent {
    v1::PublishedEvent {
        offset: offset(published.offset),
        cursor: cursors.write(&published.cursor),
        duplicate: published.duplicate,
        durability: durability(published.durability).into(),
    }
}

fn offset(offset: Offset) -> i64 {
    count(offset.0)
}

pub(crate) fn durability(durability: Durability) -> v1::Durability {
    match durability {
        Durability::Volatile => v1::Durability::Volatile,
        Durability::Disk => v1::Durability::Disk,
        Durability::Store => v1::Durability::Store,
        Durability::Replicated => v1::Durability::Replicated,
    }
}

fn event(event: &Event) -> v1::Event {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let attributes = event.attributes().iter();
    let attributes = attributes.map(|(name, value)| (name.as_str().to_owned(), value.clone()));
    v1::Event {
        id: text(event.id()),
        source: event.source().to_owned(),
        r#type: event.kind().to_owned(),
        subject: text(event.subject()),
        time: event.time().map(timestamp),
        content_type: text(event.content_type()),
        schema: text(event.schema()),
        ordering_key: text(event.ordering_key()),
        attributes: attributes.collect(),
        data: event.data().clone(),
    }
}

fn one_stored(stored: &StoredEvent, cursors: &mut CursorWriter) -> v1::StoredEvent {
    v1::StoredEvent {
        event: Some(event(&stored.event)),
        offset: offset(stored.offset),
        published_time: Some(timestamp(stored.time)),
        cursor: cursors.write(&stored.cursor),
    }
}

/// Events of a topic.
pub(crate) fn stored(events: &[Arc<StoredEvent>], topic: &Topic) -> Vec<v1::StoredEvent> {
    let mut cursors = CursorWriter::new(topic, events.len());
    let events = events.iter();
    events
        .map(|event| one_stored(event, &mut cursors))
        .collect()
}

pub(crate) fn gap(reason: GapReason, cursor: Cursor, topic: &Topic) -> v1::EventGap {
    let reason = match reason {
        GapReason::Retention => v1::EventGapReason::Retention,
        GapReason::History => v1::EventGapReason::History,
        GapReason::LostTail => v1::EventGapReason::LostTail,
    };
    v1::EventGap {
        reason: reason.into(),
        cursor: cursor.encode(topic),
    }
}

pub(crate) fn position(position: Position, now: &Scope, topic: &Topic) -> v1::EventPosition {
    v1::EventPosition {
        cursor: position.cursor.encode(topic),
        behind: count(position.behind),
        scope: Some(scope(now)),
    }
}

/// A delivery's name as text.
pub(super) fn lease_id(lease: LeaseKey) -> String {
    format!("{:x}-{:x}", lease.offset, lease.number)
}

/// A delivery that was taken this long ago.
pub(crate) fn delivery(delivered: &Delivered, ago: Micros, topic: &Topic) -> v1::EventDelivery {
    let remaining = delivered.remaining.0.saturating_sub(ago.0);
    v1::EventDelivery {
        event: Some(one_stored(
            &delivered.event,
            &mut CursorWriter::new(topic, 1),
        )),
        lease_id: lease_id(delivered.lease),
        attempt: i32::try_from(delivered.attempt).unwrap_or(i32::MAX),
        lease_remaining: Some(duration(Micros(remaining))),
    }
}

pub(crate) fn deliveries(delivered: &[Delivered], topic: &Topic) -> Vec<v1::EventDelivery> {
    let each = delivered.iter();
    each.map(|delivered| delivery(delivered, Micros::ZERO, topic))
        .collect()
}

fn retention(retention: TopicRetention) -> v1::EventRetention {
    v1::EventRetention {
        max_age: retention.max_age.map(duration),
        max_bytes: retention.max_bytes.map_or(0, count),
        max_events: retention.max_events.map_or(0, count),
    }
}

pub(crate) fn topic_state(state: TopicState) -> v1::EventTopic {
    let topic = &state.topic;
    v1::EventTopic {
        retention: Some(retention(state.retention)),
        event_count: count(state.events),
        byte_count: count(state.bytes),
        oldest_cursor: state
            .oldest
            .map_or_else(Bytes::new, |(cursor, _)| cursor.encode(topic)),
        oldest_time: state.oldest.map(|(_, time)| timestamp(time)),
        end_cursor: state.end.encode(topic),
        newest_time: state.newest.map(timestamp),
        group_count: i32::try_from(state.groups).unwrap_or(i32::MAX),
        namespace: state.topic.namespace.into(),
        name: state.topic.name.into(),
    }
}

pub(crate) fn topic_page(
    (topics, more): (Vec<TopicState>, bool),
    namespace: &Namespace,
    now: &Scope,
) -> v1::EventServiceListTopicsResponse {
    let (topics, cut) = fitting(topics.into_iter().map(topic_state));
    let last = topics.last().filter(|_| cut || more);
    v1::EventServiceListTopicsResponse {
        next_page_token: last
            .map(|last| format!("{}{}", topics_token(namespace), last.name))
            .unwrap_or_default(),
        topics,
        scope: Some(scope(now)),
    }
}

fn group_spec(spec: GroupSpec) -> v1::EventGroupSpec {
    v1::EventGroupSpec {
        lease: Some(duration(spec.lease)),
        max_attempts: i32::try_from(spec.max_attempts).unwrap_or(i32::MAX),
        min_backoff: Some(duration(spec.min_backoff)),
        max_backoff: Some(duration(spec.max_backoff)),
        ordered: spec.ordered,
    }
}

pub(crate) fn group_state(state: GroupState) -> v1::EventGroup {
    let GroupId { topic, name } = state.id;
    v1::EventGroup {
        spec: Some(group_spec(state.spec)),
        floor_cursor: state.floor.encode(&topic),
        behind: count(state.behind),
        leased_count: count(state.leased),
        retrying_count: count(state.retrying),
        dead_letter_count: count(state.dead),
        namespace: topic.namespace.into(),
        topic: topic.name.into(),
        name: name.into(),
    }
}

pub(crate) fn group_page(
    (groups, more): (Vec<GroupState>, bool),
    topic: &Topic,
    now: &Scope,
) -> v1::EventServiceListGroupsResponse {
    let (groups, cut) = fitting(groups.into_iter().map(group_state));
    let last = groups.last().filter(|_| cut || more);
    v1::EventServiceListGroupsResponse {
        next_page_token: last
            .map(|last| format!("{}{}", groups_token(topic), last.name))
            .unwrap_or_default(),
        groups,
        scope: Some(scope(now)),
    }
}

pub(crate) fn dead_letter_page(
    (dead, next): (Vec<DeadEvent>, Option<Offset>),
    group: &GroupId,
    now: &Scope,
) -> v1::EventServiceListDeadLettersResponse {
    let mut cursors = CursorWriter::new(&group.topic, dead.len());
    let dead_letters = dead.iter().map(|dead| {
        let reason = match dead.reason {
            DeadReason::Attempts => v1::EventDeadReason::Attempts,
            DeadReason::Rejected => v1::EventDeadReason::Rejected,
        };
        v1::EventDeadLetter {
            event: Some(one_stored(&dead.event, &mut cursors)),
            attempts: i32::try_from(dead.attempts).unwrap_or(i32::MAX),
            reason: reason.into(),
        }
    });
    v1::EventServiceListDeadLettersResponse {
        dead_letters: dead_letters.collect(),
        next_page_token: next
            .map(|next| format!("{}{}", dead_letters_token(group), next.0))
            .unwrap_or_default(),
        scope: Some(scope(now)),
    }
}
