//! What publishers, readers and members ask for.

use super::super::{Context, span, wall};
use std::sync::Arc;
use trellis_core::events::group::LeaseKey;
use trellis_core::events::{
    Attribute, Cursor, Event, Filter, GroupId, MAX_FILTER_VALUES, NewEvent, Pattern, Room,
    Settlement, Start, Subscribe, Topic,
};
use trellis_core::{Error, Micros, Name, Result};
use trellis_proto::v1;

/// Topics that the daemon alone publishes to begin so.
const OWN_TOPICS: &str = "trellis.";

/// Longer patterns match no text of an event.
const MAX_PATTERN_BYTES: usize = 1_024;

/// The most events that one answer can be asked for.
const MAX_EVENTS: usize = 1_000;

/// The longest time before a vain delivery is repeated, and the longest lease.
const HOUR: Micros = Micros::from_secs(3_600);

/// How often the position is told: the default, and its bounds.
const HEARTBEAT: Micros = Micros::from_secs(15);
const HEARTBEATS: (Micros, Micros) = (Micros::from_secs(1), Micros::from_secs(300));

pub(crate) fn topic(namespace: String, topic: String, context: &Context<'_>) -> Result<Topic> {
    Ok(Topic {
        namespace: context.namespace(namespace)?,
        name: Name::new(topic, "topic")?,
    })
}

/// A topic that callers may publish to.
pub(crate) fn publish_topic(
    namespace: String,
    name: String,
    context: &Context<'_>,
) -> Result<Topic> {
    let topic = topic(namespace, name, context)?;
    if topic.name.as_str().starts_with(OWN_TOPICS) {
        let allowed = "must not begin with `trellis.`: such topics are the daemon's own";
        return Err(Error::invalid("topic", allowed));
    }
    Ok(topic)
}

/// The topic of a stream's last event: most streams publish to one.
#[derive(Default)]
pub(crate) struct Known(Option<Arc<Topic>>);

impl Known {
    /// As [`publish_topic`].
    pub fn topic(
        &mut self,
        namespace: String,
        name: String,
        context: &Context<'_>,
    ) -> Result<Arc<Topic>> {
        let meant = if namespace.is_empty() {
            context.namespace.as_str()
        } else {
            &namespace
        };
        if let Some(known) = &self.0
            && known.name.as_str() == name
            && known.namespace.as_str() == meant
        {
            return Ok(Arc::clone(known));
        }
        let topic = Arc::new(publish_topic(namespace, name, context)?);
        self.0 = Some(Arc::clone(&topic));
        Ok(topic)
    }
}

pub(crate) fn group(
    (namespace, topic_name, group): (String, String, String),
    context: &Context<'_>,
) -> Result<GroupId> {
    Ok(GroupId {
        topic: topic(namespace, topic_name, context)?,
        name: Name::new(group, "group")?,
    })
}

/// Errors name the field below the event.
pub(crate) fn event(event: v1::Event, context: &Context<'_>) -> Result<Event> {
    let max = context.config.events.max_data_bytes;
    if event.data.len() > max {
        let allowed = format!("must be at most {max} bytes, is {}", event.data.len());
        return Err(Error::invalid("data", allowed));
    }
    let mut attributes: Vec<_> = event.attributes.into_iter().collect();
    // A map has no order, an event has one.
    attributes.sort_unstable();
    Event::new(NewEvent {
        id: event.id,
        source: event.source,
        kind: event.r#type,
        subject: event.subject,
        time: event.time.map(|time| wall(&time, "time")).transpose()?,
        content_type: event.content_type,
        schema: event.schema,
        ordering_key: event.ordering_key,
        attributes,
        data: event.data,
    })
}

pub(crate) fn start(start: Option<v1::EventStart>, topic: &Topic) -> Result<Start> {
    use v1::event_start::Start as Wire;
    match start.and_then(|start| start.start) {
        None => Ok(Start::Latest),
        Some(Wire::Cursor(cursor)) => {
            Cursor::decode(&cursor, topic, "start.cursor").map(Start::Cursor)
        }
        Some(Wire::Time(time)) => wall(&time, "start.time").map(Start::Time),
        Some(Wire::Edge(edge)) => match v1::EventEdge::try_from(edge) {
            Ok(v1::EventEdge::Unspecified | v1::EventEdge::Latest) => Ok(Start::Latest),
            Ok(v1::EventEdge::Earliest) => Ok(Start::Earliest),
            Err(_) => Err(Error::invalid(
                "start.edge",
                format!("must be LATEST or EARLIEST, is {edge}"),
            )),
        },
    }
}

fn filter(filter: Option<v1::EventFilter>) -> Result<Filter> {
    let Some(filter) = filter else {
        return Ok(Filter::default());
    };
    let mut attributes = Vec::with_capacity(filter.attributes.len().min(MAX_FILTER_VALUES));
    for (index, demand) in filter.attributes.into_iter().enumerate() {
        let path = |field: &str| format!("filter.attributes[{index}].{field}");
        let name = Attribute::new(demand.name, &path("name"))?;
        attributes.push((name, pattern(demand.value, || path("value"))?));
    }
    let filter = Filter::new(
        patterns(filter.types, "types")?,
        patterns(filter.sources, "sources")?,
        patterns(filter.subjects, "subjects")?,
        attributes,
    );
    filter.map_err(|error| error.within("filter"))
}

fn patterns(patterns: Vec<v1::EventPattern>, part: &str) -> Result<Vec<Pattern>> {
    let each = patterns.into_iter().enumerate();
    each.map(|(index, each)| pattern(Some(each), || format!("filter.{part}[{index}]")))
        .collect()
}

fn pattern(pattern: Option<v1::EventPattern>, path: impl Fn() -> String) -> Result<Pattern> {
    use v1::event_pattern::Pattern as Wire;
    let (field, text, pattern) = match pattern.and_then(|pattern| pattern.pattern) {
        None => return Err(Error::invalid(path(), "must have one of exact, prefix")),
        Some(Wire::Exact(text)) => ("exact", text.len(), Pattern::Exact(text)),
        Some(Wire::Prefix(text)) => ("prefix", text.len(), Pattern::Prefix(text)),
    };
    if text > MAX_PATTERN_BYTES {
        let allowed = format!("must be at most {MAX_PATTERN_BYTES} bytes, is {text}");
        return Err(Error::invalid(format!("{}.{field}", path()), allowed));
    }
    Ok(pattern)
}

/// What a subscription asks for, and how often it is told its position.
pub(crate) fn subscribe(
    open: v1::SubscriptionOpen,
    context: &Context<'_>,
) -> Result<(Subscribe, Micros)> {
    let topic = topic(open.namespace, open.topic, context)?;
    let heartbeat = span(open.heartbeat, "heartbeat", HEARTBEATS)?;
    let subscribe = Subscribe {
        start: start(open.start, &topic)?,
        filter: filter(open.filter)?,
        topic,
    };
    Ok((subscribe, heartbeat.unwrap_or(HEARTBEAT)))
}

pub(crate) fn read(
    request: v1::EventServiceReadRequest,
    context: &Context<'_>,
) -> Result<Subscribe> {
    let topic = topic(request.namespace, request.topic, context)?;
    Ok(Subscribe {
        start: start(request.start, &topic)?,
        filter: filter(request.filter)?,
        topic,
    })
}

/// How many events one answer may have.
pub(crate) fn max_events(events: i32, default: usize) -> Result<usize> {
    match usize::try_from(events) {
        Ok(0) => Ok(default),
        Ok(events) if events <= MAX_EVENTS => Ok(events),
        _ => {
            let allowed = format!("must be 0 to {MAX_EVENTS}, is {events}");
            Err(Error::invalid("max_events", allowed))
        }
    }
}

/// A room, of so many bytes at most.
pub(crate) fn max_bytes(bytes: i64, room: Room) -> Result<Room> {
    match usize::try_from(bytes) {
        Ok(0) => Ok(room),
        Ok(bytes) => Ok(Room {
            bytes: bytes.min(room.bytes),
            ..room
        }),
        Err(_) => {
            let allowed = format!("must be at least 0, is {bytes}");
            Err(Error::invalid("max_bytes", allowed))
        }
    }
}

/// How long a call waits.
pub(crate) fn max_wait(
    wait: Option<prost_types::Duration>,
    context: &Context<'_>,
) -> Result<Micros> {
    let bounds = (Micros::ZERO, context.config.events.max_wait);
    let wait = span(wait, "max_wait", bounds)?.unwrap_or_default();
    Ok(wait.min(context.deadline.unwrap_or(wait)))
}

/// What a member says of a delivery.
pub(crate) fn settlement(settlement: &v1::EventSettlement) -> Result<(LeaseKey, Settlement)> {
    use v1::event_settlement::Settlement as Wire;
    let lease = lease(&settlement.lease_id)?;
    let settlement = match &settlement.settlement {
        None => {
            let allowed = "must be one of ack, nack, reject, extend";
            return Err(Error::invalid("settlement", allowed));
        }
        Some(Wire::Ack(_)) => Settlement::Ack,
        Some(Wire::Reject(_)) => Settlement::Reject,
        Some(Wire::Nack(nack)) => {
            Settlement::Nack(span(nack.delay, "nack.delay", (Micros::ZERO, HOUR))?)
        }
        Some(Wire::Extend(extend)) => {
            let bounds = (Micros::from_secs(1), HOUR);
            Settlement::Extend(span(extend.lease, "extend.lease", bounds)?)
        }
    };
    Ok((lease, settlement))
}

/// A delivery's name, as [`super::answers::lease_id`] spells it and in no other way.
fn lease(text: &str) -> Result<LeaseKey> {
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let parsed = text.split_once('-').and_then(|(offset, lease)| {
        let (offset, number) = (number(offset)?, number(lease)?);
        Some(LeaseKey { offset, number })
    });
    let parsed = parsed.filter(|lease| super::answers::lease_id(*lease) == text);
    parsed.ok_or_else(|| Error::invalid("lease_id", "must be the lease_id of a delivery"))
}

#[cfg(test)]
mod tests {
    use super::super::answers::lease_id;
    use super::*;

    #[test]
    fn a_lease_id_is_taken_as_it_was_given_and_in_no_other_spelling() {
        for (offset, number) in [(0, 0), (31, 0x5c3), (u64::MAX, u64::MAX)] {
            let key = LeaseKey { offset, number };
            assert_eq!(lease(&lease_id(key)), Ok(key));
        }
        assert_eq!(lease_id(lease("1f-5c3").unwrap()), "1f-5c3");
        for odd in [
            "",
            "-",
            "1f",
            "1f-",
            "-5c3",
            "1F-5c3",
            "01f-5c3",
            "+1f-5c3",
            "1f-5c3-1",
            " 1f-5c3",
            "1f-10000000000000000",
            "1f-5g3",
        ] {
            let error = lease(odd).unwrap_err();
            assert_eq!(error.violation.unwrap().field, "lease_id", "{odd:?}");
        }
    }
}
