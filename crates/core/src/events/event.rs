//! An event: the attributes of `CloudEvents` 1.0 as plain fields, and its data.

use crate::name::{has_control, name};
use crate::{Error, Name, Namespace, OrderingKey, Result, Time};
use bytes::Bytes;
use std::borrow::Borrow;
use std::fmt;

/// The most extension attributes of an event.
pub const MAX_ATTRIBUTES: usize = 32;

/// The most bytes of an event's data. Larger ones go by reference, as a cache key or an address.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;

/// Longer attributes are refused, as longer names are.
const MAX_TEXT_BYTES: usize = 1_024;

/// Where events are published and read in one order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The unit of isolation.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Name,
}

name! {
    /// The name of an extension attribute: 1 to 20 lower-case letters and digits, as `CloudEvents` wants them.
    Attribute
}

impl Attribute {
    /// Checks a name; `field` is the request's field it came from, for the error. The names of the other attributes,
    /// and those that begin with `trellis`, are taken.
    pub fn new(value: impl Into<String>, field: &str) -> Result<Self> {
        const TAKEN: [&str; 9] = [
            "id",
            "source",
            "type",
            "specversion",
            "subject",
            "time",
            "datacontenttype",
            "dataschema",
            "partitionkey",
        ];
        let value = value.into();
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=20).contains(&value.len()) || !value.bytes().all(lower) {
            return Err(Error::invalid(
                field,
                "must be 1 to 20 lower-case letters and digits",
            ));
        }
        if TAKEN.contains(&value.as_str()) || value.starts_with("trellis") {
            return Err(Error::invalid(
                field,
                "must not be an attribute that has a field of its own",
            ));
        }
        Ok(Self(value.into()))
    }
}

/// An event as a caller gives it, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// Its name among those of its source; empty for none. A repeat with the same source and id is published once.
    pub id: String,
    /// Who it is about: a URI reference.
    pub source: String,
    /// What has happened, for example `com.example.order.paid`.
    pub kind: String,
    /// What in the source it is about; empty for none.
    pub subject: String,
    /// When it happened, by its source, as wall-clock time.
    pub time: Option<Time>,
    /// The media type of the data; empty for none.
    pub content_type: String,
    /// A URI of the data's schema; empty for none.
    pub schema: String,
    /// Events of one key reach the members of a group in order; empty for none.
    pub ordering_key: String,
    /// Further attributes.
    pub attributes: Vec<(String, String)>,
    /// What it carries.
    pub data: Bytes,
}

/// An event that can be published. Texts are UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    texts: Texts,
    time: Option<Time>,
    attributes: Vec<(Attribute, String)>,
    data: Bytes,
}

/// The texts of an event, one behind the other in one allocation; one that is empty is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Texts {
    text: Box<str>,
    ends: [u16; TEXTS],
}

/// How many, and which is where.
const TEXTS: usize = 7;
const ID: usize = 0;
const SOURCE: usize = 1;
const KIND: usize = 2;
const SUBJECT: usize = 3;
const CONTENT_TYPE: usize = 4;
const SCHEMA: usize = 5;
const ORDERING_KEY: usize = 6;

impl Texts {
    /// Each of at most 1,024 bytes.
    fn new(texts: [&str; TEXTS]) -> Self {
        Self {
            text: texts.concat().into(),
            ends: Self::ends(texts.map(str::len)),
        }
    }

    /// As they were written; one that is longer is not there. `None` if one is not UTF-8.
    fn read(texts: [&[u8]; TEXTS]) -> Option<Self> {
        let texts = texts.map(|it| Some(it).filter(|it| it.len() <= MAX_TEXT_BYTES));
        let texts = texts.map(Option::unwrap_or_default);
        let ends = Self::ends(texts.map(<[u8]>::len));
        // All of them at once; none may end within a character.
        let text = String::from_utf8(texts.concat()).ok()?;
        let whole = |end: &u16| text.is_char_boundary(usize::from(*end));
        ends.iter().all(whole).then(|| Self {
            text: text.into(),
            ends,
        })
    }

    fn ends(lengths: [usize; TEXTS]) -> [u16; TEXTS] {
        let mut end = 0;
        lengths.map(|length| {
            end += length;
            // Seven of them fit.
            u16::try_from(end).unwrap_or(u16::MAX)
        })
    }

    fn get(&self, index: usize) -> &str {
        let before = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = usize::from(before)..usize::from(self.ends[index]);
        self.text.get(range).unwrap_or_default()
    }

    fn optional(&self, index: usize) -> Option<&str> {
        Some(self.get(index)).filter(|text| !text.is_empty())
    }
}

/// An event as a record of ours has it: it was checked when it was published.
#[derive(Default)]
pub(super) struct ReadEvent<'a> {
    pub id: &'a [u8],
    pub source: &'a [u8],
    pub kind: &'a [u8],
    pub subject: &'a [u8],
    pub time: Option<Time>,
    pub content_type: &'a [u8],
    pub schema: &'a [u8],
    pub ordering_key: &'a [u8],
    pub attributes: Vec<(Attribute, String)>,
    pub data: Bytes,
}

impl ReadEvent<'_> {
    /// The event; `None` if one of its texts is not UTF-8.
    pub fn read(self) -> Option<Event> {
        let texts = Texts::read([
            self.id,
            self.source,
            self.kind,
            self.subject,
            self.content_type,
            self.schema,
            self.ordering_key,
        ])?;
        Some(Event {
            texts,
            time: self.time,
            attributes: self.attributes,
            data: self.data,
        })
    }
}

impl Event {
    /// Checks every field. Errors: `InvalidField` with the field's path within the event.
    pub fn new(event: NewEvent) -> Result<Self> {
        if event.data.len() > MAX_DATA_BYTES {
            return Err(Error::invalid(
                "data",
                format!("must be at most {MAX_DATA_BYTES} bytes"),
            ));
        }
        if event.attributes.len() > MAX_ATTRIBUTES {
            return Err(Error::invalid(
                "attributes",
                format!("must be at most {MAX_ATTRIBUTES}"),
            ));
        }
        let mut attributes = Vec::with_capacity(event.attributes.len());
        for (name, value) in event.attributes {
            let name = Attribute::new(name, "attributes")?;
            if attributes.iter().any(|(other, _)| *other == name) {
                return Err(Error::invalid("attributes", "must not name one twice"));
            }
            check(&value, "attributes")?;
            attributes.push((name, value));
        }
        for (text, field) in [
            (&event.id, "id"),
            (&event.source, "source"),
            (&event.kind, "type"),
            (&event.subject, "subject"),
            (&event.content_type, "content_type"),
            (&event.schema, "schema"),
        ] {
            check(text, field)?;
        }
        for (text, field) in [(&event.source, "source"), (&event.kind, "type")] {
            if text.is_empty() {
                return Err(Error::invalid(field, "is required"));
            }
        }
        OrderingKey::check(&event.ordering_key, "ordering_key")?;
        let texts = Texts::new([
            &event.id,
            &event.source,
            &event.kind,
            &event.subject,
            &event.content_type,
            &event.schema,
            &event.ordering_key,
        ]);
        Ok(Self {
            texts,
            time: event.time,
            attributes,
            data: event.data,
        })
    }

    /// Its name among those of its source, if the caller gave one.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.texts.optional(ID)
    }

    /// Who it is about.
    #[must_use]
    pub fn source(&self) -> &str {
        self.texts.get(SOURCE)
    }

    /// What has happened: the `type` of `CloudEvents`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.texts.get(KIND)
    }

    /// What in the source it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.texts.optional(SUBJECT)
    }

    /// When it happened, by its source.
    #[must_use]
    pub fn time(&self) -> Option<Time> {
        self.time
    }

    /// The media type of the data.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.texts.optional(CONTENT_TYPE)
    }

    /// A URI of the data's schema.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.texts.optional(SCHEMA)
    }

    /// What puts it in order within a group.
    #[must_use]
    pub fn ordering_key(&self) -> Option<&str> {
        self.texts.optional(ORDERING_KEY)
    }

    /// Further attributes, in the order given.
    #[must_use]
    pub fn attributes(&self) -> &[(Attribute, String)] {
        &self.attributes
    }

    /// The value of a further attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(it, _)| it.as_str() == name);
        found.map(|(_, value)| value.as_str())
    }

    /// What it carries.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The size that budgets of readers count: its texts and its data.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|(name, value)| name.as_str().len() + value.len());
        self.texts.text.len() + attributes.sum::<usize>() + self.data.len()
    }
}

fn check(value: &str, field: &str) -> Result<()> {
    if value.len() > MAX_TEXT_BYTES || has_control(value) {
        return Err(Error::invalid(
            field,
            "must be at most 1024 bytes of UTF-8 without control characters",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> NewEvent {
        NewEvent {
            source: "/shop".to_owned(),
            kind: "order.paid".to_owned(),
            ..NewEvent::default()
        }
    }

    /// The field that is at fault after a change to a good event.
    fn field(change: impl FnOnce(&mut NewEvent)) -> String {
        let mut event = good();
        change(&mut event);
        Event::new(event).unwrap_err().violation.unwrap().field
    }

    #[test]
    fn an_event_out_of_bounds_is_refused_with_the_field() {
        assert!(Event::new(good()).is_ok());
        assert_eq!(field(|event| event.source.clear()), "source");
        assert_eq!(field(|event| event.kind.clear()), "type");
        assert_eq!(
            field(|event| event.subject = "a\u{0}".to_owned()),
            "subject"
        );
        assert_eq!(field(|event| event.id = "x".repeat(1_025)), "id");
        assert_eq!(
            field(|event| event.ordering_key = "x".repeat(257)),
            "ordering_key"
        );
        assert_eq!(
            field(|event| event.data = vec![0; MAX_DATA_BYTES + 1].into()),
            "data"
        );
        for name in [
            "",
            "Upper",
            "id",
            "trellisns",
            &"x".repeat(21),
            "under_score",
        ] {
            let attribute = (name.to_owned(), String::new());
            assert_eq!(
                field(|event| event.attributes = vec![attribute]),
                "attributes",
                "{name}"
            );
        }
        let one = |name: &str| (name.to_owned(), "value".to_owned());
        assert_eq!(
            field(|event| event.attributes = vec![one("a"), one("a")]),
            "attributes"
        );
        let many = (0..=MAX_ATTRIBUTES).map(|index| one(&format!("a{index}")));
        assert_eq!(
            field(|event| event.attributes = many.collect()),
            "attributes"
        );
    }
}
