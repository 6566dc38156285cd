//! Groups: who shares a topic's events, and what was settled.
//!
//! Files: `group` one group, `dealing` what its members get, `settling` what they say, `driver` what time and the topic
//! bring, `letters` its dead letters.

mod dealing;
mod driver;
mod group;
mod letters;
mod settling;

pub(super) use driver::run;
pub(super) use group::Group;

use super::config::EventsConfig;
use super::control::Control;
use crate::steady::SteadyClock;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::Notify;
use trellis_core::events::control::{ControlFold, ControlRecord};
use trellis_core::events::group::GroupFold;
use trellis_core::events::{GroupId, GroupSpec, Topic, TopicRetention};
use trellis_core::{Error, ErrorCode, Name, Result};

#[derive(Default)]
struct Known {
    by_topic: BTreeMap<Topic, BTreeMap<Name, Arc<Group>>>,
    count: usize,
}

/// All groups.
pub(super) struct Groups {
    pub config: EventsConfig,
    pub clock: Arc<SteadyClock>,
    known: RwLock<Known>,
    /// Those that nothing drives yet.
    fresh: Mutex<Vec<Arc<Group>>>,
    made: Notify,
}

impl Groups {
    pub fn new(config: EventsConfig, clock: Arc<SteadyClock>) -> Self {
        Self {
            config,
            clock,
            known: RwLock::default(),
            fresh: Mutex::default(),
            made: Notify::new(),
        }
    }

    /// A group. Errors: `GroupNotFound`.
    pub fn find(&self, id: &GroupId) -> Result<Arc<Group>> {
        let known = self.known.read();
        let found = known
            .by_topic
            .get(&id.topic)
            .and_then(|it| it.get(&id.name));
        found.cloned().ok_or_else(|| not_found(id))
    }

    /// Groups of a topic after a name, by name, at most so many.
    pub fn page(&self, topic: &Topic, after: Option<&Name>, most: usize) -> Vec<Arc<Group>> {
        let known = self.known.read();
        let Some(names) = known.by_topic.get(topic) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = names.range::<Name, _>((from, Bound::Unbounded));
        behind
            .take(most)
            .map(|(_, group)| Arc::clone(group))
            .collect()
    }

    /// Has every group look at what has changed beside it.
    pub fn wake(&self) {
        let known = self.known.read();
        for group in known.by_topic.values().flat_map(BTreeMap::values) {
            group.changed.notify_one();
        }
    }

    /// Whether there is room for the groups that records make; counts them. Errors: `TooManyGroups`.
    pub fn admit(&self, records: &[ControlRecord], made: &mut usize) -> Result<()> {
        let new = |record: &&ControlRecord| matches!(record, ControlRecord::GroupMade { id, .. } if self.find(id).is_err());
        let (new, known) = (records.iter().filter(new).count(), self.known.read().count);
        if new > 0 && known + *made + new > self.config.max_groups {
            let most = self.config.max_groups;
            let message = format!("{most} groups are in use; raise events.max_groups");
            return Err(Error::new(ErrorCode::TooManyGroups, message));
        }
        *made += new;
        Ok(())
    }

    fn insert(&self, group: Arc<Group>) {
        let mut known = self.known.write();
        let names = known.by_topic.entry(group.id.topic.clone()).or_default();
        names.insert(group.id.name.clone(), Arc::clone(&group));
        known.count += 1;
        drop(known);
        self.fresh.lock().push(group);
        self.made.notify_one();
    }

    fn remove(&self, id: &GroupId) -> Option<Arc<Group>> {
        let mut known = self.known.write();
        let names = known.by_topic.get_mut(&id.topic)?;
        let gone = names.remove(&id.name)?;
        if names.is_empty() {
            known.by_topic.remove(&id.topic);
        }
        known.count -= 1;
        Some(gone)
    }

    /// All groups.
    pub fn all(&self) -> Vec<Arc<Group>> {
        let known = self.known.read();
        let groups = known.by_topic.values().flat_map(BTreeMap::values);
        groups.cloned().collect()
    }

    /// Those that nothing drives yet; waits for them.
    async fn fresh(&self) -> Vec<Arc<Group>> {
        loop {
            let fresh = std::mem::take(&mut *self.fresh.lock());
            if !fresh.is_empty() {
                return fresh;
            }
            self.made.notified().await;
        }
    }

    /// Records were proposed in vain.
    pub fn failed(&self, records: &[ControlRecord]) {
        for record in records {
            if let ControlRecord::Group { id, record } = record
                && let Ok(group) = self.find(id)
            {
                group.take_back(record, self.clock.now());
            }
        }
    }
}

pub(super) fn not_found(id: &GroupId) -> Error {
    let message = format!("no such group: {}", id.name);
    Error::new(ErrorCode::GroupNotFound, message)
}

impl Control {
    /// Brings in what topics keep.
    pub fn adopt_topics(&self, fold: &ControlFold) {
        for (topic, retention) in fold.topics() {
            let entry = self.lane(topic).topics.must(topic.clone());
            entry.held.lock().retention = Some(*retention);
        }
    }

    /// Brings in the groups of the log.
    pub fn adopt_groups(&self, fold: &ControlFold) {
        for (id, data) in fold.groups() {
            self.add_group(id.clone(), data.spec, data.fold.clone());
        }
    }

    fn add_group(&self, id: GroupId, spec: GroupSpec, fold: GroupFold) {
        let lane = Arc::clone(self.lane(&id.topic));
        let entry = lane.topics.must(id.topic.clone());
        entry.held.lock().groups += 1;
        let group = Group::new(id, (lane, entry), (spec, fold));
        self.groups.insert(Arc::new(group));
    }

    /// Carries out a record that was read back and counts.
    pub fn apply(&self, record: &ControlRecord, changed: bool) {
        match record {
            ControlRecord::TopicSet { topic, retention } => {
                let entry = self.lane(topic).topics.must(topic.clone());
                let set = Some(*retention).filter(|it| *it != TopicRetention::default());
                entry.held.lock().retention = set;
            }
            ControlRecord::GroupMade { id, floor, spec } if changed => {
                self.add_group(id.clone(), *spec, GroupFold::new(*floor));
            }
            ControlRecord::GroupSet { id, spec } => {
                if let Ok(group) = self.groups.find(id) {
                    group.set(*spec);
                }
            }
            ControlRecord::GroupDeleted(id) => {
                if let Some(group) = self.groups.remove(id) {
                    group.entry.held.lock().groups -= 1;
                    group.end(&not_found(id));
                }
            }
            ControlRecord::Group { id, record } => {
                if let Ok(group) = self.groups.find(id) {
                    group.apply(record);
                }
            }
            ControlRecord::Partitions(_)
            | ControlRecord::Started
            | ControlRecord::GroupMade { .. }
            | ControlRecord::CheckpointBegin { .. }
            | ControlRecord::Part(_)
            | ControlRecord::CheckpointEnd { .. } => {}
        }
    }
}
