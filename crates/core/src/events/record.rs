//! An event as a record of the log: `CloudEvents`' binary mode for Kafka, so that any consumer can read it. Attributes are
//! headers with the prefix `ce_`, the ordering key is the record's key, and the data is its value.

use super::event::{Attribute, Event, NewEvent, ReadEvent, Topic};
use super::stamp::{self, Stamp};
use crate::log::{Headers, Record, RecordWriter};
use crate::{Name, Namespace, Time};
use std::fmt::Display;

/// Where the topic stands: many topics share a partition.
const NAMESPACE: &str = "ce_trellisnamespace";
const TOPIC: &str = "ce_trellistopic";
const CONTENT_TYPE: &str = "content-type";
const SPEC_VERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
const SOURCE: &str = "ce_source";
/// The caller gave no id, and it has the one that its place gives it.
const UNNAMED: &str = "ce_trellisunnamed";
const PREFIX: &str = "ce_";

/// What the names of the attributes that have a field take, their lengths, a made-up id and a time.
const ROOM: usize = 224;

/// Why a record is not an event: it was not written by this version, or not by Trellis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is not an event: {0}")]
pub struct Unreadable(pub String);

/// The headers that every event of a topic has, made once for all of them.
#[derive(Clone, Debug)]
pub struct TopicHeaders(Headers);

impl TopicHeaders {
    /// Those of a topic.
    #[must_use]
    pub fn new(topic: &Topic) -> Self {
        let headers = [
            (SPEC_VERSION, "1.0"),
            (NAMESPACE, topic.namespace.as_str()),
            (TOPIC, topic.name.as_str()),
        ];
        Self(headers.into_iter().collect())
    }
}

/// The record of an event. `id` names an event whose caller gave it no name: `CloudEvents` demands one.
#[must_use]
pub fn to_record(topic: &TopicHeaders, event: &Event, id: impl Display, stamp: Stamp) -> Record {
    let named = event.attributes().len() * (PREFIX.len() + 4);
    let size = stamp::BYTES + topic.0.written().len() + event.bytes() + named + ROOM;
    let mut record = RecordWriter::with_capacity(size);
    stamp.begin(&mut record);
    record.put_all(&topic.0);
    if let Some(id) = event.id() {
        record.put(ID.as_bytes(), id.as_bytes());
    } else {
        record.put(UNNAMED.as_bytes(), b"1");
        record.put_shown(ID.as_bytes(), id);
    }
    let mut put = |name: &str, value: &str| record.put(name.as_bytes(), value.as_bytes());
    put(SOURCE, event.source());
    put("ce_type", event.kind());
    let time = event.time().and_then(to_text);
    let optional = [
        ("ce_subject", event.subject()),
        ("ce_time", time.as_deref()),
        (CONTENT_TYPE, event.content_type()),
        ("ce_dataschema", event.schema()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            put(name, value);
        }
    }
    let key = event.ordering_key().map(|key| put("ce_partitionkey", key));
    for (name, value) in event.attributes() {
        put(&format!("{PREFIX}{name}"), value);
    }
    record.finish(key.unwrap_or_default(), event.data())
}

/// What is read of a record without reading all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// The topic's namespace.
    pub namespace: &'a str,
    /// The topic's name.
    pub topic: &'a str,
    /// Who it is about.
    pub source: &'a str,
    /// The name that the caller gave it.
    pub id: Option<&'a str>,
}

/// Where a record belongs. Errors: it is no event of this version.
pub fn heading(record: &Record) -> Result<Heading<'_>, Unreadable> {
    let (mut namespace, mut topic, mut source, mut id) = (None, None, None, None);
    let (mut right, mut unnamed) = (false, false);
    for header in record.headers.iter() {
        match header.name {
            b"ce_specversion" => right = header.value == b"1.0",
            b"ce_trellisnamespace" => namespace = Some(text(header.value)?),
            b"ce_trellistopic" => topic = Some(text(header.value)?),
            b"ce_source" => source = Some(text(header.value)?),
            b"ce_trellisunnamed" => unnamed = true,
            b"ce_id" => id = Some(text(header.value)?),
            _ => {}
        }
        // Whether it is unnamed stands before its id.
        if right && namespace.is_some() && topic.is_some() && source.is_some() && id.is_some() {
            break;
        }
    }
    let missing = |what: &str| Unreadable(format!("it has no {what}"));
    if !right {
        return Err(missing("version, or another than 1.0"));
    }
    Ok(Heading {
        namespace: namespace.ok_or_else(|| missing("namespace"))?,
        topic: topic.ok_or_else(|| missing("topic"))?,
        source: source.ok_or_else(|| missing("source"))?,
        id: id.filter(|_| !unnamed),
    })
}

/// The event of a record, and its topic. Errors: it is none, or not one that could be published.
pub fn from_record(record: &Record) -> Result<(Topic, Event), Unreadable> {
    let heading = heading(record)?;
    let unreadable = |error: crate::Error| Unreadable(error.message);
    let topic = Topic {
        namespace: Namespace::new(heading.namespace, "namespace").map_err(unreadable)?,
        name: Name::new(heading.topic, "topic").map_err(unreadable)?,
    };
    let event = read_event(record, &heading)?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let attributes = event.attributes().iter();
    let attributes = attributes.map(|(name, value)| (name.to_string(), value.clone()));
    let checked = Event::new(NewEvent {
        id: text(event.id()),
        source: event.source().to_owned(),
        kind: event.kind().to_owned(),
        subject: text(event.subject()),
        time: event.time(),
        content_type: text(event.content_type()),
        schema: text(event.schema()),
        ordering_key: text(event.ordering_key()),
        attributes: attributes.collect(),
        data: event.data().clone(),
    });
    Ok((topic, checked.map_err(unreadable)?))
}

/// The event of a record that we have written: what was checked when it was published is not checked again.
pub fn read_event(record: &Record, heading: &Heading<'_>) -> Result<Event, Unreadable> {
    let mut event = ReadEvent {
        id: heading.id.unwrap_or_default(),
        source: heading.source,
        data: record.value.clone(),
        ..ReadEvent::default()
    };
    for header in record.headers.iter() {
        let value = || text(header.value);
        match header.name {
            b"ce_type" => event.kind = value()?,
            b"ce_subject" => event.subject = value()?,
            b"ce_time" => event.time = Some(from_text(value()?)?),
            b"content-type" => event.content_type = value()?,
            b"ce_dataschema" => event.schema = value()?,
            b"ce_partitionkey" => event.ordering_key = value()?,
            b"ce_specversion"
            | b"ce_trellisnamespace"
            | b"ce_trellistopic"
            | b"ce_id"
            | b"ce_source"
            | b"ce_trellisunnamed" => {}
            other => {
                // Headers that are no attributes are somebody else's.
                if let Some(name) = other.strip_prefix(PREFIX.as_bytes()) {
                    let name = std::str::from_utf8(name).unwrap_or_default();
                    let name = Attribute::new(name, "attributes");
                    let name = name.map_err(|error| Unreadable(error.message))?;
                    event.attributes.push((name, value()?.to_owned()));
                }
            }
        }
    }
    Ok(event.into())
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable("a header is not UTF-8".to_owned()))
}

/// A time as RFC 3339 writes it, in UTC; `None` for one beyond its years.
fn to_text(time: Time) -> Option<String> {
    let micros = i64::try_from(time.0).ok()?;
    let timestamp = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(timestamp.to_string())
}

fn from_text(text: &str) -> Result<Time, Unreadable> {
    let bad = || Unreadable(format!("its time {text:?} is not one since 1970"));
    let timestamp: jiff::Timestamp = text.parse().map_err(|_| bad())?;
    let micros = u64::try_from(timestamp.as_microsecond()).map_err(|_| bad())?;
    Ok(Time(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic() -> Topic {
        Topic {
            namespace: Namespace::new("default", "namespace").unwrap(),
            name: Name::new("orders", "topic").unwrap(),
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        let text = || "[ -~é]{0,30}";
        let some = || "[a-z/.]{1,30}";
        let attributes = proptest::collection::btree_map("x[a-z0-9]{0,8}", "[ -~]{0,20}", 0..4);
        let texts = (text(), some(), some(), text(), text(), text(), text());
        let time = proptest::option::of(0..253_402_300_799_000_000_u64);
        let data = proptest::collection::vec(any::<u8>(), 0..50);
        (texts, attributes, time, data).prop_map(|(texts, attributes, time, data)| {
            let (id, source, kind, subject, content_type, schema, ordering_key) = texts;
            Event::new(NewEvent {
                id,
                source,
                kind,
                subject,
                time: time.map(Time),
                content_type,
                schema,
                ordering_key,
                attributes: attributes.into_iter().collect(),
                data: data.into(),
            })
            .unwrap()
        })
    }

    proptest! {
        #[test]
        fn an_event_is_read_as_it_was_written(event in event()) {
            let stamp = Stamp { writer: u64::MAX, sequence: 1 };
            let record = to_record(&TopicHeaders::new(&topic()), &event, "made-up", stamp);
            prop_assert_eq!(Stamp::of(&record), Some(stamp));
            let id = record.headers.iter().find(|header| header.name == ID.as_bytes()).unwrap();
            prop_assert_eq!(id.value, event.id().unwrap_or("made-up").as_bytes());
            let heading = heading(&record).unwrap();
            prop_assert_eq!((heading.namespace, heading.topic), ("default", "orders"));
            prop_assert_eq!((heading.source, heading.id), (event.source(), event.id()));
            prop_assert_eq!(record.key.as_ref(), event.ordering_key().unwrap_or_default().as_bytes());
            prop_assert_eq!(read_event(&record, &heading), Ok(event.clone()));
            prop_assert_eq!(from_record(&record), Ok((topic(), event)));
        }

        #[test]
        fn whatever_a_record_holds_it_is_an_event_or_told_why_not(
            names in proptest::collection::vec("ce_[a-z]{0,12}|content-type|x", 0..6), value in "\\PC{0,20}",
        ) {
            let headers = names.into_iter().map(|name| (name, &value));
            let record = Record { headers: headers.collect(), ..Record::default() };
            prop_assert!(from_record(&record).is_err());
        }
    }
}
