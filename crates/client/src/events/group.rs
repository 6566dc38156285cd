//! [`Group`]: members that share a topic's events.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use trellis_proto::v1 as proto;

use super::consumer::Consume;
use super::event::{Cursor, Start, StoredEvent};
use super::topic::Topic;
use crate::convert;
use crate::error::{Error, Result};
use crate::list::{Page, pages, token};

/// A group of a topic. Clones share the client's connection.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) topic: Topic,
    pub(super) name: String,
}

/// How a group deals its events out; what is `None` is left to the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSpec {
    /// How long a member has an event, unless it extends: 1 s to 1 hour; default 30 s.
    pub lease: Option<Duration>,
    /// Deliveries after which an event is a dead letter: 1 to 1,000; default 10.
    pub max_attempts: Option<u32>,
    /// How long an event waits after its first vain delivery; doubled with each further one. Default 1 s.
    pub min_backoff: Option<Duration>,
    /// The longest such wait, up to 1 hour; default 1 minute.
    pub max_backoff: Option<Duration>,
    /// Events of one ordering key are delivered one after the other.
    pub ordered: bool,
}

impl GroupSpec {
    fn to_proto(self) -> Result<proto::EventGroupSpec> {
        let span = |span: Option<Duration>, field| {
            let span = span.map(|span| convert::to_proto(span, field));
            span.transpose()
        };
        Ok(proto::EventGroupSpec {
            lease: span(self.lease, "lease")?,
            max_attempts: i32::try_from(self.max_attempts.unwrap_or(0)).unwrap_or(i32::MAX),
            min_backoff: span(self.min_backoff, "min_backoff")?,
            max_backoff: span(self.max_backoff, "max_backoff")?,
            ordered: self.ordered,
        })
    }
}

impl TryFrom<proto::EventGroupSpec> for GroupSpec {
    type Error = Error;

    fn try_from(spec: proto::EventGroupSpec) -> Result<Self> {
        let attempts = u32::try_from(spec.max_attempts);
        Ok(Self {
            lease: convert::optional_duration(spec.lease, "lease")?,
            max_attempts: attempts.ok().filter(|attempts| *attempts > 0),
            min_backoff: convert::optional_duration(spec.min_backoff, "min_backoff")?,
            max_backoff: convert::optional_duration(spec.max_backoff, "max_backoff")?,
            ordered: spec.ordered,
        })
    }
}

/// What a group is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// How it deals its events out.
    pub spec: GroupSpec,
    /// Everything before it is acknowledged or a dead letter.
    pub floor: Cursor,
    /// Offsets from there to the end: at least as many as events to come.
    pub behind: u64,
    /// Events that members have now.
    pub leased: u64,
    /// Events that are to be delivered again.
    pub retrying: u64,
    /// Events that are not delivered any more.
    pub dead_letters: u64,
}

impl TryFrom<proto::EventGroup> for GroupState {
    type Error = Error;

    fn try_from(group: proto::EventGroup) -> Result<Self> {
        Ok(Self {
            name: group.name,
            spec: convert::required(group.spec, "spec")?.try_into()?,
            floor: group.floor_cursor.into(),
            behind: convert::count(group.behind, "behind")?,
            leased: convert::count(group.leased_count, "leased_count")?,
            retrying: convert::count(group.retrying_count, "retrying_count")?,
            dead_letters: convert::count(group.dead_letter_count, "dead_letter_count")?,
        })
    }
}

/// Why an event is not delivered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadReason {
    /// It was delivered as often as the group allows.
    Attempts,
    /// A member said that nobody can do it.
    Rejected,
}

/// An event that a group does not deliver any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What had happened.
    pub event: StoredEvent,
    /// How often it was delivered.
    pub attempts: u32,
    /// Why it is not delivered any more.
    pub reason: DeadReason,
}

impl TryFrom<proto::EventDeadLetter> for DeadLetter {
    type Error = Error;

    fn try_from(dead: proto::EventDeadLetter) -> Result<Self> {
        use proto::EventDeadReason as Wire;
        let reason = match Wire::try_from(dead.reason) {
            Ok(Wire::Attempts) => DeadReason::Attempts,
            Ok(Wire::Rejected) => DeadReason::Rejected,
            Ok(Wire::Unspecified) | Err(_) => return Err(convert::unknown(dead.reason, "reason")),
        };
        Ok(Self {
            event: convert::required(dead.event, "event")?.try_into()?,
            attempts: u32::try_from(dead.attempts).unwrap_or_default(),
            reason,
        })
    }
}

impl Group {
    pub(super) fn new(topic: Topic, name: String) -> Self {
        Self { topic, name }
    }

    /// Starts to be a member.
    pub fn consumer(&self) -> Consume {
        Consume::new(self.clone())
    }

    /// Makes it, beginning at `start`, or changes how it deals events out; `start` then says nothing.
    pub async fn set(&self, spec: GroupSpec, start: Start) -> Result<GroupState> {
        let events = &self.topic.events;
        let request = events.request(proto::EventServiceSetGroupRequest {
            namespace: events.namespace_name(),
            topic: self.topic.name.clone(),
            group: self.name.clone(),
            spec: Some(spec.to_proto()?),
            start: Some(start.to_proto()),
        });
        let answer = events.shared.events().set_group(request).await?;
        convert::required(answer.into_inner().group, "group")?.try_into()
    }

    /// How far it is.
    pub async fn get(&self) -> Result<GroupState> {
        let events = &self.topic.events;
        let request = events.request(proto::EventServiceGetGroupRequest {
            namespace: events.namespace_name(),
            topic: self.topic.name.clone(),
            group: self.name.clone(),
        });
        let answer = events.shared.events().get_group(request).await?;
        convert::required(answer.into_inner().group, "group")?.try_into()
    }

    /// Forgets it: its deliveries are lost, and its dead letters are none any more.
    pub async fn delete(&self) -> Result<()> {
        let events = &self.topic.events;
        let request = events.request(proto::EventServiceDeleteGroupRequest {
            namespace: events.namespace_name(),
            topic: self.topic.name.clone(),
            group: self.name.clone(),
        });
        events.shared.events().delete_group(request).await?;
        Ok(())
    }

    /// Events that it does not deliver any more, in order; asked for page by page. Ends after the first error.
    #[must_use]
    pub fn dead_letters(&self) -> BoxStream<'static, Result<DeadLetter>> {
        let group = self.clone();
        let letters = pages(move |next| {
            let group = group.clone();
            async move { group.dead_letter_page(next).await }
        });
        letters.boxed()
    }

    async fn dead_letter_page(&self, next: Option<String>) -> Result<Page<DeadLetter>> {
        let events = &self.topic.events;
        let request = events.request(proto::EventServiceListDeadLettersRequest {
            namespace: events.namespace_name(),
            topic: self.topic.name.clone(),
            group: self.name.clone(),
            page_size: 0,
            page_token: next.unwrap_or_default(),
        });
        let answer = events.shared.events().list_dead_letters(request).await?;
        let answer = answer.into_inner();
        Ok(Page {
            items: convert::all(answer.dead_letters)?,
            next: token(answer.next_page_token),
            scope: answer.scope.try_into()?,
        })
    }

    /// Has every dead letter delivered again, its attempts counted anew; tells how many.
    pub async fn replay_all(&self) -> Result<u64> {
        self.replay_these(Vec::new()).await
    }

    /// Has the dead letters at these offsets, at most 1,000, delivered again; tells how many were any.
    pub async fn replay(&self, offsets: impl IntoIterator<Item = u64>) -> Result<u64> {
        let signed = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
        let offsets: Vec<_> = offsets.into_iter().map(signed).collect();
        if offsets.is_empty() {
            // On the wire none means all.
            return Ok(0);
        }
        self.replay_these(offsets).await
    }

    async fn replay_these(&self, offsets: Vec<i64>) -> Result<u64> {
        let events = &self.topic.events;
        let request = events.request(proto::EventServiceReplayDeadLettersRequest {
            namespace: events.namespace_name(),
            topic: self.topic.name.clone(),
            group: self.name.clone(),
            offsets,
        });
        let answer = events.shared.events().replay_dead_letters(request).await?;
        convert::count(answer.into_inner().replayed, "replayed")
    }
}
