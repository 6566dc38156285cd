//! What a case works with: the calls of the port, repeated where the port says that a repeat is right.

use super::member::Member;
use super::reader::TestReader;
use trellis_core::events::{
    Event, Events, Filter, GroupId, ListTopics, NewEvent, Published, Room, Start, StoredEvent,
    Subscribe, Topic, TopicRetention, TopicState,
};
use trellis_core::{Error, ErrorCode, Micros, Name, Result};

/// Longer than any case.
pub(super) const HOUR: Micros = Micros::from_secs(3600);
/// One second.
pub(super) const SECOND: Micros = Micros::from_secs(1);
/// As much as there is.
pub(super) const ALL: Room = Room {
    events: 1_000,
    bytes: 1_000_000,
};

pub(super) fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

/// Room for so many events.
pub(super) fn room(events: usize) -> Room {
    Room { events, ..ALL }
}

/// The code of the error that a call must end with.
#[track_caller]
pub(super) fn code<T>(result: Result<T>) -> ErrorCode {
    match result {
        Ok(_) => panic!("not refused"),
        Err(error) => error.code,
    }
}

/// The ids of events.
pub(super) fn names<'a>(events: impl IntoIterator<Item = &'a StoredEvent>) -> Vec<String> {
    let names = events.into_iter().map(|it| it.event.id().unwrap_or("none"));
    names.map(str::to_owned).collect()
}

/// An event of this id.
#[must_use]
pub fn event(id: &str) -> Event {
    Event::new(NewEvent {
        id: id.to_owned(),
        source: "/suite".to_owned(),
        kind: "suite.made".to_owned(),
        data: id.to_owned().into(),
        ..NewEvent::default()
    })
    .unwrap()
}

/// Whether the call may be made again: it was not carried out, or it is known by its id or by its state.
pub(super) fn may_repeat(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::OutcomeUnknown | ErrorCode::StoreUnavailable
    )
}

/// A namespace of the backend under test, and its time.
pub type Bench = crate::Bench<dyn Events>;

impl Bench {
    /// Lets pass what `elapse_almost` left, and what time brings comes late.
    pub(super) async fn elapse_until_late(&self) {
        self.elapse_the_rest().await;
        self.elapse(self.tolerance()).await;
    }

    pub(super) fn topic(&self, name: &str) -> Topic {
        Topic {
            namespace: self.namespace.clone(),
            name: Name::new(name, "topic").unwrap(),
        }
    }

    /// Publishes an event that has an id, until it is acknowledged.
    pub(super) async fn publish_event(&self, topic: &str, event: &Event) -> Result<Published> {
        loop {
            match self.port().publish(&self.topic(topic), event.clone()).await {
                Err(error) if may_repeat(&error) => {}
                answer => return answer,
            }
        }
    }

    /// Publishes an event of this id.
    pub(super) async fn publish(&self, topic: &str, id: &str) -> Published {
        self.publish_event(topic, &event(id)).await.unwrap()
    }

    /// Publishes so many events, `a0` and so on for the letter `a`.
    pub(super) async fn publish_all(&self, topic: &str, letter: &str, count: usize) -> Vec<String> {
        let ids = (0..count).map(|number| format!("{letter}{number}"));
        let ids: Vec<String> = ids.collect();
        for id in &ids {
            self.publish(topic, id).await;
        }
        ids
    }

    pub(super) async fn subscribe(
        &self,
        topic: &str,
        start: Start,
        filter: Filter,
    ) -> Result<TestReader> {
        let subscribe = Subscribe {
            topic: self.topic(topic),
            start,
            filter,
        };
        let subscription = self.port().subscribe(subscribe).await;
        subscription.map(TestReader::new)
    }

    /// A reader of everything from a place on.
    pub(super) async fn reader(&self, topic: &str, start: Start) -> TestReader {
        let reader = self.subscribe(topic, start, Filter::default()).await;
        reader.unwrap()
    }

    /// The ids of everything that a topic holds, in order.
    pub(super) async fn held(&self, topic: &str) -> Vec<String> {
        let mut reader = self.reader(topic, Start::Earliest).await;
        reader.until_caught_up().await
    }

    pub(super) async fn look(&self, topic: &str) -> TopicState {
        self.port().topic(self.topic(topic)).await.unwrap()
    }

    pub(super) async fn keep(&self, topic: &str, retention: TopicRetention) -> TopicState {
        loop {
            match self.port().set_topic(self.topic(topic), retention).await {
                Err(error) if may_repeat(&error) => {}
                answer => return answer.unwrap(),
            }
        }
    }

    /// Names of a page of topics, and whether there are more.
    pub(super) async fn page(&self, page_size: usize, after: Option<&str>) -> (Vec<String>, bool) {
        let list = ListTopics {
            namespace: self.namespace.clone(),
            page_size,
            after: after.map(|name| Name::new(name, "after").unwrap()),
        };
        let (topics, more) = self.port().topics(list).await.unwrap();
        let names = topics.into_iter().map(|it| it.topic.name.to_string());
        (names.collect(), more)
    }

    /// A member of a group, which need not be there.
    pub(super) fn member(&self, topic: &str, group: &str) -> Member {
        let id = GroupId {
            topic: self.topic(topic),
            name: Name::new(group, "group").unwrap(),
        };
        Member::new(self.clone(), id)
    }
}
