//! One group: its machine, the events that it holds for its members, and those who wait.

use super::super::lane::Lane;
use super::super::topics::TopicEntry;
use super::dealing::{Line, Ready};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;
use trellis_core::events::group::{GroupConfig, GroupFold, GroupMachine, GroupRecord};
use trellis_core::events::{GroupId, GroupSpec, GroupState, Room, StoredEvent};
use trellis_core::{Error, OrderingKey, Time};

/// Stretches of offsets that are nothing for the group, beyond which they are settled by themselves.
const MOST_GAPS: usize = 1_000;

/// See the module.
pub(in crate::events) struct Group {
    pub id: GroupId,
    pub lane: Arc<Lane>,
    pub entry: Arc<TopicEntry>,
    pub(super) state: Mutex<State>,
    /// There is something for the driver.
    pub changed: Notify,
}

/// An event that was taken in and is not settled.
struct Taken {
    /// Offsets before it that are nothing for the group, settled with it.
    gaps: Vec<(u64, u64)>,
    bytes: usize,
    /// What members get; `None` for what is read again.
    event: Option<Arc<StoredEvent>>,
}

pub(super) struct State {
    pub spec: GroupSpec,
    pub machine: GroupMachine,
    pub line: Line,
    taken: BTreeMap<u64, Taken>,
    /// Of the events that are held.
    bytes: usize,
    /// Behind the last event that is known.
    known: u64,
    gaps: Vec<(u64, u64)>,
    /// Dead letters to be delivered again, whose events are to be read.
    pub replayed: Vec<u64>,
    /// Up to where it was settled what retention has dropped.
    pub gone: u64,
    /// Why nobody gets anything any more.
    pub ended: Option<Error>,
    max_open: usize,
    max_bytes: usize,
}

impl Group {
    pub fn new(
        id: GroupId,
        (lane, entry): (Arc<Lane>, Arc<TopicEntry>),
        (spec, fold): (GroupSpec, GroupFold),
    ) -> Self {
        let config = lane.config;
        // Whatever clocks do, no lease of another life or of another group of this name is mistaken for one of this.
        let last_lease = rand::random::<u64>() >> 1;
        let machine = machine_config(spec, config.max_open);
        let machine = GroupMachine::new(fold, machine, last_lease);
        let state = State {
            spec,
            known: machine.next(),
            machine,
            line: Line::new(config.max_waiters),
            taken: BTreeMap::new(),
            bytes: 0,
            gaps: Vec::new(),
            replayed: Vec::new(),
            gone: 0,
            ended: None,
            max_open: config.max_open,
            max_bytes: config.group_bytes,
        };
        Self {
            id,
            lane,
            entry,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    /// What it is at.
    pub fn look(&self) -> GroupState {
        let events_end = self.entry.held.lock().end;
        let state = self.state.lock();
        let floor = state.machine.fold().floor();
        // What stands behind the topic's last event is of others.
        let end = match self.lane.end() {
            end if events_end <= floor && self.lane.is_folded() => floor.min(end),
            end => end,
        };
        GroupState {
            id: self.id.clone(),
            spec: state.spec,
            floor: self.lane.cursor(floor),
            behind: end.saturating_sub(floor),
            leased: state.machine.leased(),
            retrying: state.machine.retrying(),
            dead: state.machine.fold().dead().len(),
        }
    }

    /// Deals its events out otherwise.
    pub fn set(&self, spec: GroupSpec) {
        let mut state = self.state.lock();
        state.spec = spec;
        let config = machine_config(spec, state.max_open);
        state.machine.set_config(config);
        drop(state);
        self.changed.notify_one();
    }

    /// Carries out a record that was read back.
    pub fn apply(&self, record: &GroupRecord) {
        let mut state = self.state.lock();
        state.machine.apply(record);
        match record {
            GroupRecord::Done(stretches) => {
                for (first, end) in stretches {
                    state.forget(*first, *end);
                }
            }
            GroupRecord::Gone { before } => state.forget(0, *before),
            GroupRecord::Dead { offset, .. } => state.forget(*offset, offset + 1),
            GroupRecord::Replay { offset, .. } => {
                let below = *offset < state.machine.next() && !state.machine.is_open(*offset);
                if below && state.machine.fold().retries().contains_key(offset) {
                    state.replayed.push(*offset);
                }
            }
            GroupRecord::Retry { .. } | GroupRecord::Part(_) => {}
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A record was proposed in vain.
    pub fn take_back(&self, record: &GroupRecord, now: Time) {
        let mut state = self.state.lock();
        match record {
            GroupRecord::Done(stretches) => {
                for (_, end) in stretches {
                    state.machine.take_back_proposal(end - 1, now);
                }
            }
            GroupRecord::Retry { offset, .. } | GroupRecord::Dead { offset, .. } => {
                state.machine.take_back_proposal(*offset, now);
            }
            GroupRecord::Gone { .. } => state.gone = 0,
            GroupRecord::Replay { .. } | GroupRecord::Part(_) => {}
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Nobody gets anything any more; who waits is told why.
    pub fn end(&self, error: &Error) {
        let mut state = self.state.lock();
        state.ended.get_or_insert_with(|| error.clone());
        state.line.fail(error);
        drop(state);
        self.changed.notify_one();
    }
}

fn machine_config(spec: GroupSpec, max_open: usize) -> GroupConfig {
    GroupConfig {
        max_attempts: spec.max_attempts,
        lease: spec.lease,
        max_open,
        ordered: spec.ordered,
    }
}

impl State {
    /// Takes in an event of the topic, in the order of the log. A record to be written, if there is one.
    pub fn take_in(&mut self, event: Arc<StoredEvent>) -> Option<GroupRecord> {
        let offset = event.offset.0;
        let gap = (self.known.max(self.machine.fold().floor()), offset);
        if gap.0 < gap.1 && !self.machine.fold().is_settled(gap.0) {
            self.gaps.push(gap);
        }
        self.known = self.known.max(offset + 1);
        self.machine.take_in(offset, key(&event));
        if self.machine.is_open(offset) {
            let gaps = std::mem::take(&mut self.gaps);
            self.hold(event, gaps);
            return None;
        }
        let many = self.gaps.len() >= MOST_GAPS;
        many.then(|| GroupRecord::Done(std::mem::take(&mut self.gaps)))
    }

    /// Takes in a replayed dead letter.
    pub fn take_back(&mut self, event: Arc<StoredEvent>) {
        let offset = event.offset.0;
        self.machine.take_back(offset, key(&event));
        if self.machine.is_open(offset) {
            self.hold(event, Vec::new());
        }
    }

    fn hold(&mut self, event: Arc<StoredEvent>, gaps: Vec<(u64, u64)>) {
        let (offset, bytes) = (event.offset.0, event.event.bytes());
        let fits = self.bytes + bytes <= self.max_bytes;
        if fits {
            self.bytes += bytes;
        }
        let event = Some(event).filter(|_| fits);
        self.taken.insert(offset, Taken { gaps, bytes, event });
    }

    /// The next events for a member, as many as there is room for.
    pub fn deliver(&mut self, room: Room, now: Time) -> Vec<Ready> {
        let (mut ready, mut sum) = (Vec::new(), 0);
        while let Some(offset) = self.machine.peek(now) {
            let taken = self.taken.get_mut(&offset);
            let bytes = taken.as_ref().map_or(0, |taken| taken.bytes);
            let full = ready.len() >= room.events || sum + bytes > room.bytes;
            if full && !ready.is_empty() {
                break;
            }
            sum += bytes;
            let event = taken.and_then(|taken| taken.event.take());
            self.bytes -= event.as_ref().map_or(0, |_| bytes);
            let Some(delivery) = self.machine.deliver(now) else {
                break;
            };
            ready.push(Ready { delivery, event });
        }
        ready
    }

    /// The stretches that an event settles: itself, and what is nothing for the group before it.
    pub fn stretches(&self, offset: u64) -> Vec<(u64, u64)> {
        let mut stretches = match self.taken.get(&offset) {
            Some(taken) => taken.gaps.clone(),
            None => Vec::new(),
        };
        match stretches.last_mut().filter(|(_, end)| *end == offset) {
            Some((_, end)) => *end = offset + 1,
            None => stretches.push((offset, offset + 1)),
        }
        stretches
    }

    /// What is nothing for the group before an event.
    pub fn gaps(&self, offset: u64) -> Option<GroupRecord> {
        let gaps = &self.taken.get(&offset)?.gaps;
        (!gaps.is_empty()).then(|| GroupRecord::Done(gaps.clone()))
    }

    /// Forgets the events of a stretch that are not open any more.
    fn forget(&mut self, first: u64, end: u64) {
        let within = self.taken.range(first..end).map(|(offset, _)| *offset);
        let within: Vec<u64> = within.collect();
        for offset in within {
            if let Some(Taken { event, bytes, .. }) = self.taken.remove(&offset) {
                self.bytes -= event.map_or(0, |_| bytes);
            }
        }
    }
}

fn key(event: &StoredEvent) -> Option<OrderingKey> {
    let key = event.event.ordering_key()?;
    OrderingKey::new(key, "ordering_key").ok()
}
