//! Engines under the suite's settings, on logs of every kind.

use crate::shared::{self, Tasks};
use std::sync::Arc;
use trellis_core::events::{
    Delivered, Events, Filter, GroupId, Heard, Room, Start, StoredEvent, Subscribe, Subscription,
    Topic,
};
use trellis_core::log::{Log, Partition};
use trellis_core::{Clock, Micros, Name, Namespace};
use trellis_engine::{EventEngine, EventsConfig};
use trellis_local::log::DiskLogOptions;

pub use crate::configured::{LIMITS, config, memory_log};
pub use crate::shared::clock;
pub use trellis_conformance::events::event;

/// What concerns topics and groups.
pub const CONTROL: Partition = Partition(0);

/// As much as there is.
pub const ROOM: Room = Room {
    events: 1_000,
    bytes: 1_000_000,
};

pub fn options() -> DiskLogOptions {
    shared::disk_options(LIMITS)
}

pub fn topic(name: &str) -> Topic {
    Topic {
        namespace: Namespace::new("default", "namespace").unwrap(),
        name: Name::new(name, "topic").unwrap(),
    }
}

/// A group of the topic `orders`.
pub fn group(name: &str) -> GroupId {
    GroupId {
        topic: topic("orders"),
        name: Name::new(name, "group").unwrap(),
    }
}

pub fn names(delivered: &[Delivered]) -> Vec<String> {
    let names = delivered.iter().map(|it| name(&it.event));
    names.collect()
}

/// The id of an event.
pub fn name(event: &StoredEvent) -> String {
    event.event.id().unwrap_or("none").to_owned()
}

/// An engine and its tasks.
pub struct Life {
    pub engine: Arc<EventEngine>,
    tasks: Tasks,
}

impl Life {
    pub async fn begin(log: Arc<dyn Log>, clock: &Arc<dyn Clock>, config: EventsConfig) -> Self {
        let (engine, tasks) = EventEngine::start(log, clock.clone(), config)
            .await
            .unwrap();
        let tasks = Tasks::run(tasks);
        Self { engine, tasks }
    }

    /// Ends it as it should.
    pub async fn end(self) {
        self.engine.close().await;
        self.tasks.end().await;
    }

    /// Ends it in the middle of whatever it does.
    pub fn crash(self) {
        self.tasks.abort();
    }

    /// Publishes an event of this id to `orders`.
    pub async fn publish(&self, id: &str) {
        let publishing = self.engine.publish(&topic("orders"), event(id));
        publishing.await.unwrap();
    }

    /// What is there for a member now.
    pub async fn receive(&self, group: &GroupId) -> Vec<Delivered> {
        let receiving = self.engine.receive(group.clone(), ROOM, Micros::ZERO);
        receiving.await.unwrap()
    }

    pub async fn reader(&self, name: &str) -> Box<dyn Subscription> {
        self.reader_from(name, Start::Earliest).await
    }

    pub async fn reader_from(&self, name: &str, start: Start) -> Box<dyn Subscription> {
        let subscribe = Subscribe {
            topic: topic(name),
            start,
            filter: Filter::default(),
        };
        self.engine.subscribe(subscribe).await.unwrap()
    }

    /// The ids of what a topic holds.
    pub async fn held(&self, topic: &str) -> Vec<String> {
        let mut reader = self.reader(topic).await;
        let mut held = Vec::new();
        while let Heard::Events(events) = reader.next(ROOM).await.unwrap() {
            held.extend(events.iter().map(|it| name(it)));
        }
        held
    }
}
