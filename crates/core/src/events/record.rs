//! An event as a record of the log: `CloudEvents`' binary mode for Kafka, so that any consumer can read it. Attributes are
//! headers with the prefix `ce_`, the ordering key is the record's key, and the data is its value.

use super::event::{Attribute, Event, NewEvent, ReadEvent, Topic};
use super::stamp::{self, Stamp};
use crate::log::{Header, HeaderIter, Headers, Record, RecordWriter};
use crate::{Name, Namespace, Time};

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

/// The name of an event whose caller gave it none, since `CloudEvents` demands one: that of the life that publishes it, and a number.
#[derive(Clone, Copy, Debug)]
pub struct Unnamed<'a> {
    /// What the names of a life begin with.
    pub life: &'a str,
    /// Which of them it is.
    pub number: u64,
}

/// The record of an event, and its name if its caller gave it none.
#[must_use]
pub fn to_record(
    record: &mut RecordWriter,
    topic: &TopicHeaders,
    (event, unnamed): (&Event, Unnamed<'_>),
    stamp: Stamp,
) -> Record {
    stamp.begin(record);
    record.put_all(&topic.0);
    if let Some(id) = event.id() {
        record.put(ID.as_bytes(), id.as_bytes());
    } else {
        record.put(UNNAMED.as_bytes(), b"1");
        let mut digits = [0; 16];
        let number = hex(unnamed.number, &mut digits);
        record.put_joined(ID.as_bytes(), (unnamed.life.as_bytes(), number));
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

/// What is read of a record without reading all of it. Nothing of it is checked: it is text in what we have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading<'a> {
    /// The topic's namespace.
    pub namespace: &'a [u8],
    /// The topic's name.
    pub topic: &'a [u8],
    /// Who it is about.
    pub source: &'a [u8],
    /// The name that the caller gave it.
    pub id: Option<&'a [u8]>,
    /// From the first header on that is nothing of these.
    rest: HeaderIter<'a>,
}

impl Heading<'_> {
    /// Whether it is one of a topic.
    #[must_use]
    pub fn is_of(&self, topic: &Topic) -> bool {
        let (namespace, name) = (topic.namespace.as_str(), topic.name.as_str());
        self.topic == name.as_bytes() && self.namespace == namespace.as_bytes()
    }

    /// The names of namespace and topic. Errors: they are not text.
    pub fn names(&self) -> Result<(&str, &str), Unreadable> {
        Ok((text(self.namespace)?, text(self.topic)?))
    }

    /// The topic. Errors: there can be none of these names.
    pub fn to_topic(&self) -> Result<Topic, Unreadable> {
        let unreadable = |error: crate::Error| Unreadable(error.message);
        let (namespace, name) = self.names()?;
        Ok(Topic {
            namespace: Namespace::new(namespace, "namespace").map_err(unreadable)?,
            name: Name::new(name, "topic").map_err(unreadable)?,
        })
    }
}

/// Where a record belongs. Errors: it is no event of this version.
pub fn heading(record: &Record) -> Result<Heading<'_>, Unreadable> {
    let (mut namespace, mut topic, mut source, mut id) = (None, None, None, None);
    let (mut right, mut unnamed) = (false, false);
    let (mut headers, mut rest) = (record.headers.iter(), None);
    loop {
        let from = headers.clone();
        let Some(header) = headers.next() else {
            break;
        };
        match header.name {
            b"ce_specversion" => right = header.value == b"1.0",
            b"ce_trellisnamespace" => namespace = Some(header.value),
            b"ce_trellistopic" => topic = Some(header.value),
            b"ce_source" => source = Some(header.value),
            b"ce_trellisunnamed" => unnamed = true,
            b"ce_id" => id = Some(header.value),
            stamp::NAME => {}
            _ => rest = rest.or(Some(from)),
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
        rest: rest.unwrap_or(headers),
    })
}

/// The event of a record, and its topic. Errors: it is none, or not one that could be published.
pub fn from_record(record: &Record) -> Result<(Topic, Event), Unreadable> {
    let heading = heading(record)?;
    let unreadable = |error: crate::Error| Unreadable(error.message);
    let topic = heading.to_topic()?;
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
    for Header { name, value } in heading.rest.clone() {
        match name {
            b"ce_type" => event.kind = value,
            b"ce_subject" => event.subject = value,
            b"ce_time" => event.time = Some(from_text(text(value)?)?),
            b"content-type" => event.content_type = value,
            b"ce_dataschema" => event.schema = value,
            b"ce_partitionkey" => event.ordering_key = value,
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
                    event.attributes.push((name, text(value)?.to_owned()));
                }
            }
        }
    }
    event.read().ok_or_else(not_text)
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| not_text())
}

fn not_text() -> Unreadable {
    Unreadable("a header is not UTF-8".to_owned())
}

/// A number as `{:x}` writes it.
fn hex(number: u64, digits: &mut [u8; 16]) -> &[u8] {
    let (mut left, mut at) = (number, digits.len());
    loop {
        let [low, ..] = left.to_le_bytes();
        at -= 1;
        digits[at] = b"0123456789abcdef"[usize::from(low & 0xf)];
        left >>= 4;
        if left == 0 {
            return &digits[at..];
        }
    }
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
        fn an_event_is_read_as_it_was_written(event in event(), number in any::<u64>()) {
            let stamp = Stamp { writer: u64::MAX, sequence: 1 };
            let unnamed = Unnamed { life: "made-up-", number };
            let headers = TopicHeaders::new(&topic());
            let record = to_record(&mut RecordWriter::default(), &headers, (&event, unnamed), stamp);
            prop_assert_eq!(Stamp::of(&record), Some(stamp));
            let id = record.headers.iter().find(|header| header.name == ID.as_bytes()).unwrap();
            let made_up = format!("made-up-{number:x}");
            prop_assert_eq!(id.value, event.id().unwrap_or(&made_up).as_bytes());
            let heading = heading(&record).unwrap();
            prop_assert!(heading.is_of(&topic()));
            prop_assert_eq!(heading.source, event.source().as_bytes());
            prop_assert_eq!(heading.id, event.id().map(str::as_bytes));
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
