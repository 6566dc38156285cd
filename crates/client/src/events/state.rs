//! What became of a publish, and what a topic is at.

use std::time::{Duration, SystemTime};

use trellis_proto::v1 as proto;

use super::event::Cursor;
use crate::convert;
use crate::error::{Error, Result};

/// What an answer survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Lost with the daemon.
    Volatile,
    /// On the daemon's disk, synced.
    Disk,
    /// Acknowledged by the shared store, whose own persistence decides.
    Store,
    /// Acknowledged by every in-sync replica.
    Replicated,
}

impl Durability {
    pub(crate) fn read(value: i32) -> Result<Self> {
        use proto::Durability as Wire;
        match Wire::try_from(value) {
            Ok(Wire::Volatile) => Ok(Self::Volatile),
            Ok(Wire::Disk) => Ok(Self::Disk),
            Ok(Wire::Store) => Ok(Self::Store),
            Ok(Wire::Replicated) => Ok(Self::Replicated),
            Ok(Wire::Unspecified) | Err(_) => Err(convert::unknown(value, "durability")),
        }
    }
}

/// Where an event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place, for people who look.
    pub offset: u64,
    /// Where to go on behind it.
    pub cursor: Cursor,
    /// It had been published before, and this is where.
    pub duplicate: bool,
    /// What it survives.
    pub durability: Durability,
}

impl TryFrom<proto::PublishedEvent> for Published {
    type Error = Error;

    fn try_from(published: proto::PublishedEvent) -> Result<Self> {
        Ok(Self {
            offset: convert::count(published.offset, "offset")?,
            cursor: published.cursor.into(),
            duplicate: published.duplicate,
            durability: Durability::read(published.durability)?,
        })
    }
}

/// How long a topic keeps its events: until one of these is exceeded; all `None` for the daemon's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Since the log took them in: at least 1 s.
    pub max_age: Option<Duration>,
    /// Of the newest events, with their attributes: at least 1 MiB.
    pub max_bytes: Option<u64>,
    /// The newest so many.
    pub max_events: Option<u64>,
}

impl Retention {
    pub(super) fn to_proto(self) -> Result<proto::EventRetention> {
        let age = self.max_age.map(|age| convert::to_proto(age, "max_age"));
        let count = |count: Option<u64>| i64::try_from(count.unwrap_or(0)).unwrap_or(i64::MAX);
        Ok(proto::EventRetention {
            max_age: age.transpose()?,
            max_bytes: count(self.max_bytes),
            max_events: count(self.max_events),
        })
    }
}

/// What a topic is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// What it keeps.
    pub retention: Retention,
    /// Events that it holds.
    pub events: u64,
    /// Their bytes, with their attributes.
    pub bytes: u64,
    /// The oldest one's place, and when the log took it in; `None` when it is empty.
    pub oldest: Option<(Cursor, SystemTime)>,
    /// Where the next one comes.
    pub end: Cursor,
    /// When the log took in the newest one, as far as is known.
    pub newest: Option<SystemTime>,
    /// Groups that share it.
    pub groups: u64,
}

impl TryFrom<proto::EventTopic> for TopicState {
    type Error = Error;

    fn try_from(topic: proto::EventTopic) -> Result<Self> {
        let retention = topic.retention.unwrap_or_default();
        let bound = |bound: i64, field| {
            let bound = convert::count(bound, field)?;
            Ok::<_, Error>(Some(bound).filter(|bound| *bound > 0))
        };
        let time = |time: prost_types::Timestamp, field| convert::time(Some(time), field);
        let oldest = topic.oldest_time.map(|it| time(it, "oldest_time"));
        Ok(Self {
            name: topic.name,
            retention: Retention {
                max_age: convert::optional_duration(retention.max_age, "max_age")?,
                max_bytes: bound(retention.max_bytes, "max_bytes")?,
                max_events: bound(retention.max_events, "max_events")?,
            },
            events: convert::count(topic.event_count, "event_count")?,
            bytes: convert::count(topic.byte_count, "byte_count")?,
            oldest: oldest
                .transpose()?
                .map(|at| (topic.oldest_cursor.into(), at)),
            end: topic.end_cursor.into(),
            newest: topic
                .newest_time
                .map(|it| time(it, "newest_time"))
                .transpose()?,
            groups: convert::count(topic.group_count.into(), "group_count")?,
        })
    }
}
