//! [`Event`] and [`StoredEvent`]: the attributes of `CloudEvents` 1.0 and data.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use trellis_proto::v1 as proto;

use crate::convert;
use crate::error::{Error, Result};

/// The media type of [`Event::json`].
const JSON: &str = "application/json";

/// Something that has happened. What it may hold is checked by the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its name among those of its source; empty for none. With it, a repeat is published once.
    pub id: String,
    /// Who it is about: a URI reference.
    pub source: String,
    /// What has happened, for example `com.example.order.paid`: the `type` of `CloudEvents`.
    pub kind: String,
    /// What in the source it is about; empty for none.
    pub subject: String,
    /// When it happened, by its source.
    pub time: Option<SystemTime>,
    /// The media type of the data; empty for none.
    pub content_type: String,
    /// A URI of the data's schema; empty for none.
    pub schema: String,
    /// Events of one key reach the members of an ordered group one after the other; empty for none.
    pub ordering_key: String,
    /// Further attributes: names of 1 to 20 lower-case letters and digits.
    pub attributes: BTreeMap<String, String>,
    /// What it carries.
    pub data: Bytes,
}

impl Event {
    /// An event without data.
    pub fn new(source: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            kind: kind.into(),
            ..Self::default()
        }
    }

    /// An event that carries a value as JSON.
    ///
    /// Fails with [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) when the value has no JSON.
    pub fn json(
        source: impl Into<String>,
        kind: impl Into<String>,
        value: &impl Serialize,
    ) -> Result<Self> {
        let data = serde_json::to_vec(value)
            .map_err(|error| Error::invalid_request(format!("the value has no JSON: {error}")))?;
        Ok(Self::new(source, kind).content_type(JSON).data(data))
    }

    /// Names it, so that a repeat with the same source is published once.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Gives it a name of its own, so that this client may send it again by itself.
    #[must_use]
    pub fn random_id(self) -> Self {
        self.id(crate::again::random_id())
    }

    /// What in the source it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// When it happened, by its source.
    #[must_use]
    pub fn time(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// The media type of the data.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// A URI of the data's schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Puts it in order among the events of this key.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = key.into();
        self
    }

    /// A further attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// What it carries.
    #[must_use]
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// The size that a reader's credit counts: its texts and its data.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.id,
            &self.source,
            &self.kind,
            &self.subject,
            &self.content_type,
            &self.schema,
            &self.ordering_key,
        ];
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, value)| name.len() + value.len());
        let texts = texts.into_iter().map(String::len);
        texts.chain(attributes).sum::<usize>() + self.data.len()
    }
}

impl From<Event> for proto::Event {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            source: event.source,
            r#type: event.kind,
            subject: event.subject,
            time: event.time.map(Into::into),
            content_type: event.content_type,
            schema: event.schema,
            ordering_key: event.ordering_key,
            attributes: event.attributes.into_iter().collect(),
            data: event.data,
        }
    }
}

/// An event in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// As it was published.
    pub event: Event,
    /// Its place, for people who look.
    pub offset: u64,
    /// When the log took it in, by the daemon's clock.
    pub published: SystemTime,
    /// Where to go on behind it.
    pub cursor: Cursor,
}

impl StoredEvent {
    /// The value that it carries as JSON.
    ///
    /// Fails with [`ErrorKind::InvalidAnswer`](crate::ErrorKind::InvalidAnswer) when its data is not the JSON of one.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.event.data).map_err(|error| {
            let kind = &self.event.kind;
            Error::invalid_answer(format!("the data of a {kind} event: {error}"))
        })
    }
}

impl TryFrom<proto::StoredEvent> for StoredEvent {
    type Error = Error;

    fn try_from(stored: proto::StoredEvent) -> Result<Self> {
        let event = convert::required(stored.event, "event")?;
        let time = event
            .time
            .map(|time| convert::time(Some(time), "event.time"));
        Ok(Self {
            event: Event {
                id: event.id,
                source: event.source,
                kind: event.r#type,
                subject: event.subject,
                time: time.transpose()?,
                content_type: event.content_type,
                schema: event.schema,
                ordering_key: event.ordering_key,
                attributes: event.attributes.into_iter().collect(),
                data: event.data,
            },
            offset: convert::count(stored.offset, "offset")?,
            published: convert::time(stored.published_time, "published_time")?,
            cursor: Cursor::from(stored.cursor),
        })
    }
}

/// A place in a topic: opaque bytes, to be kept and given back. It belongs to its topic, and to one history of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor(Bytes);

impl Cursor {
    /// What to keep.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl<T: Into<Bytes>> From<T> for Cursor {
    /// What was kept. The daemon refuses what it did not give.
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Cursor(")?;
        for byte in &self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str(")")
    }
}

/// Where a reader or a new group begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that is kept.
    Earliest,
    /// With the next event to come.
    #[default]
    Latest,
    /// Behind what was seen.
    After(Cursor),
    /// With the first event that the log took in at this time or later.
    Time(SystemTime),
}

impl Start {
    pub(super) fn to_proto(&self) -> proto::EventStart {
        use proto::event_start::Start as Wire;
        let start = match self {
            Self::Earliest => Wire::Edge(proto::EventEdge::Earliest.into()),
            Self::Latest => Wire::Edge(proto::EventEdge::Latest.into()),
            Self::After(cursor) => Wire::Cursor(cursor.to_bytes()),
            Self::Time(time) => Wire::Time((*time).into()),
        };
        proto::EventStart { start: Some(start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_as_json_and_comes_back() {
        let event = Event::json("/shop", "order.paid", &vec![1, 2]).unwrap();
        assert_eq!(event.content_type, JSON);
        assert_eq!(event.bytes(), 5 + 10 + JSON.len() + 5);
        let stored = StoredEvent {
            event,
            offset: 0,
            published: SystemTime::UNIX_EPOCH,
            cursor: Cursor::from(vec![1]),
        };
        assert_eq!(stored.json::<Vec<u8>>().unwrap(), [1, 2]);
        assert!(stored.json::<String>().is_err());
    }

    #[test]
    fn an_event_goes_through_the_contract_unchanged() {
        let event = Event::new("/shop", "order.paid")
            .random_id()
            .subject("orders/42")
            .time(SystemTime::UNIX_EPOCH)
            .schema("https://example.com/schema")
            .ordering_key("42")
            .attribute("region", "eu")
            .data("x");
        assert_eq!(event.id.len(), 32);
        let stored = proto::StoredEvent {
            event: Some(event.clone().into()),
            offset: 7,
            published_time: Some(SystemTime::UNIX_EPOCH.into()),
            cursor: Bytes::from_static(b"c"),
        };
        let stored = StoredEvent::try_from(stored).unwrap();
        assert_eq!((stored.event, stored.offset), (event, 7));
        assert_eq!(format!("{:?}", stored.cursor), "Cursor(63)");
    }
}
