//! An event as a record of the log: `CloudEvents`' binary mode for Kafka, so that any consumer can read it. Attributes are
//! headers with the prefix `ce_`, the ordering key is the record's key, and the data is its value.

use super::event::{Event, NewEvent, Topic};
use crate::log::{Header, Record};
use crate::{Name, Namespace, Time};
use bytes::Bytes;

/// Where the topic stands: many topics share a partition.
const NAMESPACE: &str = "ce_trellisnamespace";
const TOPIC: &str = "ce_trellistopic";
const CONTENT_TYPE: &str = "content-type";
const SPEC_VERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
/// The caller gave no id, and it has the one that its place gives it.
const UNNAMED: &str = "ce_trellisunnamed";

/// Why a record is not an event: it was not written by this version, or not by Trellis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is not an event: {0}")]
pub struct Unreadable(pub String);

/// The record of an event. `id` names an event whose caller gave it no name: `CloudEvents` demands one.
#[must_use]
pub fn to_record(topic: &Topic, event: &Event, id: &str) -> Record {
    let mut headers = Vec::with_capacity(8 + event.attributes().len());
    let mut put = |name: &str, value: &str| {
        headers.push(Header {
            name: Bytes::copy_from_slice(name.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
        });
    };
    put(SPEC_VERSION, "1.0");
    put(ID, event.id().unwrap_or(id));
    if event.id().is_none() {
        put(UNNAMED, "1");
    }
    put("ce_source", event.source());
    put("ce_type", event.kind());
    put(NAMESPACE, topic.namespace.as_str());
    put(TOPIC, topic.name.as_str());
    let time = event.time().and_then(to_text);
    let optional = [
        ("ce_subject", event.subject()),
        ("ce_time", time.as_deref()),
        (CONTENT_TYPE, event.content_type()),
        ("ce_dataschema", event.schema()),
        ("ce_partitionkey", event.ordering_key()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            put(name, value);
        }
    }
    for (name, value) in event.attributes() {
        put(&format!("ce_{name}"), value);
    }
    let key = event.ordering_key().unwrap_or_default();
    Record {
        key: Bytes::copy_from_slice(key.as_bytes()),
        headers,
        value: event.data().clone(),
    }
}

/// The event of a record, and its topic.
pub fn from_record(record: &Record) -> Result<(Topic, Event), Unreadable> {
    let mut event = NewEvent {
        data: record.value.clone(),
        ..NewEvent::default()
    };
    let (mut namespace, mut topic, mut version, mut unnamed) = (None, None, None, false);
    for header in &record.headers {
        let (name, value) = (text(&header.name)?, text(&header.value)?);
        let value = value.to_owned();
        match name {
            SPEC_VERSION => version = Some(value),
            NAMESPACE => namespace = Some(value),
            TOPIC => topic = Some(value),
            ID => event.id = value,
            UNNAMED => unnamed = true,
            CONTENT_TYPE => event.content_type = value,
            "ce_source" => event.source = value,
            "ce_type" => event.kind = value,
            "ce_subject" => event.subject = value,
            "ce_time" => event.time = Some(from_text(&value)?),
            "ce_dataschema" => event.schema = value,
            "ce_partitionkey" => event.ordering_key = value,
            other => {
                // Headers that are no attributes are somebody else's.
                if let Some(name) = other.strip_prefix("ce_") {
                    event.attributes.push((name.to_owned(), value));
                }
            }
        }
    }
    if version.as_deref() != Some("1.0") {
        return Err(Unreadable(format!("its version is {version:?}, not 1.0")));
    }
    if unnamed {
        event.id.clear();
    }
    let missing = |what: &str| Unreadable(format!("it has no {what}"));
    let unreadable = |error: crate::Error| Unreadable(error.message);
    let namespace = namespace.ok_or_else(|| missing("namespace"))?;
    let name = topic.ok_or_else(|| missing("topic"))?;
    let topic = Topic {
        namespace: Namespace::new(namespace, "namespace").map_err(unreadable)?,
        name: Name::new(name, "topic").map_err(unreadable)?,
    };
    Ok((topic, Event::new(event).map_err(unreadable)?))
}

fn text(bytes: &Bytes) -> Result<&str, Unreadable> {
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
            let record = to_record(&topic(), &event, "made-up");
            let id = record.headers.iter().find(|header| header.name == ID).unwrap();
            prop_assert_eq!(&id.value, event.id().unwrap_or("made-up"));
            prop_assert_eq!(from_record(&record), Ok((topic(), event)));
        }

        #[test]
        fn whatever_a_record_holds_it_is_an_event_or_told_why_not(
            names in proptest::collection::vec("ce_[a-z]{0,12}|content-type|x", 0..6), value in "\\PC{0,20}",
        ) {
            let headers = names.into_iter().map(|name| Header {
                name: name.into(),
                value: value.clone().into(),
            });
            let record = Record { headers: headers.collect(), ..Record::default() };
            prop_assert!(from_record(&record).is_err());
        }
    }
}
