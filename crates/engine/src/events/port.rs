//! The port.

use super::lane::{Lane, draining};
use super::reader::Reader;
use super::topics::TopicEntry;
use super::{EventEngine, groups};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trellis_core::events::control::ControlRecord;
use trellis_core::events::group::LeaseKey;
use trellis_core::events::{
    DeadEvent, Delivered, Event, Events, EventsStatus, GroupId, GroupSpec, GroupState, ListTopics,
    Publishing, Replay, Room, Settlement, Start, Subscribe, Subscription, Topic, TopicRetention,
    TopicState, Unnamed,
};
use trellis_core::log::{Durability, Offset};
use trellis_core::{Micros, Name, Result, Scope};

impl EventEngine {
    fn lane(&self, topic: &Topic) -> &Arc<Lane> {
        self.control.lane(topic)
    }

    fn look(&self, entry: &TopicEntry) -> TopicState {
        let lane = self.lane(&entry.topic);
        let held = entry.held.lock();
        TopicState {
            topic: entry.topic.clone(),
            retention: lane.retention(held.retention),
            events: held.events,
            bytes: held.bytes,
            oldest: held
                .oldest()
                .map(|(first, time)| (lane.cursor(first), time)),
            end: lane.cursor(lane.end()),
            newest: held.newest,
            groups: held.groups,
        }
    }

    async fn make_group(&self, id: &GroupId, spec: GroupSpec, start: Start) -> Result<bool> {
        let lane = self.lane(&id.topic);
        let entry = lane.topics.find_or_make(&id.topic)?;
        let (floor, _) = lane.place(&entry, start, self.clock.wall()).await?;
        let made = ControlRecord::GroupMade {
            id: id.clone(),
            floor,
            spec,
        };
        Ok(self.control.write(vec![made]).await? > 0)
    }

    fn group_of(&self, id: &GroupId) -> Result<Arc<groups::Group>> {
        self.check_open()?;
        self.control.groups.find(id)
    }
}

#[async_trait]
impl Events for EventEngine {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn status(&self) -> EventsStatus {
        let mut status = EventsStatus::default();
        for lane in &self.control.lanes {
            lane.count(&mut status);
        }
        for group in self.control.groups.all() {
            let state = group.look();
            status.groups += 1;
            status.leased += state.leased;
            status.retrying += state.retrying;
            status.dead += state.dead;
        }
        let lanes = self.control.lanes.first();
        status.failure = lanes.and_then(|lane| lane.log.failure());
        status
    }

    fn publish(&self, topic: &Topic, event: Event) -> Publishing {
        if self.underway.is_closed() {
            return Publishing::Done(Err(draining()));
        }
        let lane = self.lane(topic);
        if let Some(error) = lane.ended() {
            return Publishing::Done(Err(error));
        }
        let entry = match lane.topics.find_or_make(topic) {
            Ok(entry) => entry,
            Err(error) => return Publishing::Done(Err(error)),
        };
        let unnamed = Unnamed {
            life: &self.life,
            number: self.unnamed.fetch_add(1, Ordering::Relaxed),
        };
        lane.publish(&entry, &event, (unnamed, &self.clock, &self.underway))
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>> {
        self.check_open()?;
        let Subscribe {
            topic,
            start,
            filter,
        } = subscribe;
        let lane = Arc::clone(self.lane(&topic));
        let entry = lane.topics.find_or_make(&topic)?;
        let begin = lane.place(&entry, start, self.clock.wall()).await?;
        Ok(Box::new(Reader::new(lane, entry, filter, begin)))
    }

    async fn set_topic(&self, topic: Topic, retention: TopicRetention) -> Result<TopicState> {
        let entry = self.lane(&topic).topics.find_or_make(&topic)?;
        let set = ControlRecord::TopicSet { topic, retention };
        self.control.write(vec![set]).await?;
        Ok(self.look(&entry))
    }

    async fn topic(&self, topic: Topic) -> Result<TopicState> {
        let lane = self.lane(&topic);
        let found = lane
            .topics
            .find(topic.namespace.as_str(), topic.name.as_str());
        Ok(match found {
            Some(entry) => self.look(&entry),
            None => TopicState {
                topic,
                retention: lane.retention(None),
                events: 0,
                bytes: 0,
                oldest: None,
                end: lane.cursor(lane.end()),
                newest: None,
                groups: 0,
            },
        })
    }

    async fn topics(&self, list: ListTopics) -> Result<(Vec<TopicState>, bool)> {
        let most = list.page_size.saturating_add(1);
        let lanes = self.control.lanes.iter();
        let pages = lanes.map(|lane| lane.topics.page(&list.namespace, list.after.as_ref(), most));
        let mut found: Vec<_> = pages.flatten().collect();
        found.sort_by(|one, other| one.topic.name.cmp(&other.topic.name));
        let more = found.len() > list.page_size;
        let page = found.iter().take(list.page_size);
        Ok((page.map(|entry| self.look(entry)).collect(), more))
    }

    async fn join_group(&self, id: GroupId, start: Start) -> Result<GroupState> {
        if let Ok(group) = self.group_of(&id) {
            return Ok(group.look());
        }
        self.make_group(&id, GroupSpec::default(), start).await?;
        Ok(self.group_of(&id)?.look())
    }

    async fn set_group(
        &self,
        id: GroupId,
        spec: GroupSpec,
        start: Start,
    ) -> Result<(GroupState, bool)> {
        if self.group_of(&id).is_err() && self.make_group(&id, spec, start).await? {
            return Ok((self.group_of(&id)?.look(), true));
        }
        let set = ControlRecord::GroupSet {
            id: id.clone(),
            spec,
        };
        self.control.write(vec![set]).await?;
        Ok((self.group_of(&id)?.look(), false))
    }

    async fn group(&self, id: GroupId) -> Result<GroupState> {
        Ok(self.control.groups.find(&id)?.look())
    }

    async fn groups(
        &self,
        topic: Topic,
        after: Option<Name>,
        page_size: usize,
    ) -> Result<(Vec<GroupState>, bool)> {
        let most = page_size.saturating_add(1);
        let found = self.control.groups.page(&topic, after.as_ref(), most);
        let page = found.iter().take(page_size);
        let page = page.map(|group| group.look()).collect();
        Ok((page, found.len() > page_size))
    }

    async fn delete_group(&self, id: GroupId) -> Result<()> {
        self.group_of(&id)?;
        let deleted = ControlRecord::GroupDeleted(id.clone());
        if self.control.write(vec![deleted]).await? == 0 {
            return Err(groups::not_found(&id));
        }
        Ok(())
    }

    async fn receive(&self, id: GroupId, room: Room, max_wait: Micros) -> Result<Vec<Delivered>> {
        let group = self.group_of(&id)?;
        group.receive(&self.control, room, max_wait).await
    }

    async fn settle(
        &self,
        id: GroupId,
        settlements: Vec<(LeaseKey, Settlement)>,
    ) -> Result<Vec<Result<Option<Micros>>>> {
        let group = self.group_of(&id)?;
        let _entry = self.underway.enter();
        group.settle(&self.control, &settlements).await
    }

    async fn dead_letters(
        &self,
        id: GroupId,
        from: Offset,
        room: Room,
    ) -> Result<(Vec<DeadEvent>, Option<Offset>)> {
        self.group_of(&id)?.dead_letters(from, room).await
    }

    async fn replay(&self, id: GroupId, which: Replay) -> Result<u64> {
        let group = self.group_of(&id)?;
        let _entry = self.underway.enter();
        group.replay(&self.control, which).await
    }
}
