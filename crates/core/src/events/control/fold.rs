//! What the records of the control partition amount to.

use super::super::event::Topic;
use super::super::group::{GroupFold, GroupRecord};
use super::super::port::{GroupId, GroupSpec, TopicRetention};
use super::record::ControlRecord;
use std::collections::BTreeMap;

/// Things in one part of a checkpoint.
const PART: usize = 4_096;

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupData {
    /// How it deals its events out.
    pub spec: GroupSpec,
    /// What was settled.
    pub fold: GroupFold,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    partitions: Option<u32>,
    topics: BTreeMap<Topic, TopicRetention>,
    groups: BTreeMap<GroupId, GroupData>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlFold {
    state: State,
    /// The checkpoint that has begun and not ended.
    building: Option<(u64, State)>,
}

impl ControlFold {
    /// Over how many partitions topics are spread; `None` before the first record.
    #[must_use]
    pub fn partitions(&self) -> Option<u32> {
        self.state.partitions
    }

    /// What topics keep.
    #[must_use]
    pub fn topics(&self) -> &BTreeMap<Topic, TopicRetention> {
        &self.state.topics
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &BTreeMap<GroupId, GroupData> {
        &self.state.groups
    }

    /// Takes a record over, and tells whether it changed something, or completed a checkpoint.
    pub fn apply(&mut self, record: &ControlRecord) -> bool {
        match record {
            ControlRecord::CheckpointBegin { number, partitions } => {
                let state = State {
                    partitions: Some(*partitions),
                    ..State::default()
                };
                self.building = Some((*number, state));
                false
            }
            ControlRecord::Part(part) => {
                if let Some((_, state)) = &mut self.building {
                    state.apply(part);
                }
                false
            }
            ControlRecord::CheckpointEnd { number } => match self.building.take() {
                Some((begun, state)) if begun == *number => {
                    self.state = state;
                    true
                }
                _ => false,
            },
            other => {
                self.building = None;
                self.state.apply(other)
            }
        }
    }

    /// The whole state, from begin to end.
    #[must_use]
    pub fn checkpoint(&self, number: u64) -> Vec<ControlRecord> {
        let mut records = vec![ControlRecord::CheckpointBegin {
            number,
            partitions: self.state.partitions.unwrap_or_default(),
        }];
        let mut put = |record| records.push(ControlRecord::Part(Box::new(record)));
        for (topic, retention) in &self.state.topics {
            put(ControlRecord::TopicSet {
                topic: topic.clone(),
                retention: *retention,
            });
        }
        for (id, GroupData { spec, fold }) in &self.state.groups {
            put(ControlRecord::GroupMade {
                id: id.clone(),
                floor: fold.floor(),
                spec: *spec,
            });
            for part in fold.parts(PART) {
                put(ControlRecord::Group {
                    id: id.clone(),
                    record: GroupRecord::Part(part),
                });
            }
        }
        records.push(ControlRecord::CheckpointEnd { number });
        records
    }
}

impl State {
    fn apply(&mut self, record: &ControlRecord) -> bool {
        match record {
            ControlRecord::Partitions(count) => {
                let first = self.partitions.is_none();
                self.partitions.get_or_insert(*count);
                first
            }
            ControlRecord::TopicSet { topic, retention } => {
                // None of the bounds is as if it had never been set.
                if *retention == TopicRetention::default() {
                    self.topics.remove(topic).is_some()
                } else {
                    self.topics.insert(topic.clone(), *retention) != Some(*retention)
                }
            }
            ControlRecord::GroupMade { id, floor, spec } => {
                let new = !self.groups.contains_key(id);
                self.groups.entry(id.clone()).or_insert_with(|| GroupData {
                    spec: *spec,
                    fold: GroupFold::new(*floor),
                });
                new
            }
            ControlRecord::GroupSet { id, spec } => {
                let group = self.groups.get_mut(id);
                let known = group.is_some();
                if let Some(group) = group {
                    group.spec = *spec;
                }
                known
            }
            ControlRecord::GroupDeleted(id) => self.groups.remove(id).is_some(),
            ControlRecord::Group { id, record } => {
                let Some(group) = self.groups.get_mut(id) else {
                    return false;
                };
                let dead = group.fold.dead();
                let does = match record {
                    GroupRecord::Replay { offset, .. } => dead.contains_key(offset),
                    _ => true,
                };
                group.fold.apply(record);
                does
            }
            ControlRecord::Started
            | ControlRecord::CheckpointBegin { .. }
            | ControlRecord::Part(_)
            | ControlRecord::CheckpointEnd { .. } => false,
        }
    }
}
