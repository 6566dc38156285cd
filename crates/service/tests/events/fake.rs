//! Events in memory, as plain as can be, which fail and hold back when they are told to.

use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use trellis_core::events::group::{DeadReason, LeaseKey};
use trellis_core::events::{
    Cursor, DeadEvent, Delivered, Event, Events, EventsStatus, GapReason, GroupId, GroupSpec,
    GroupState, ListTopics, Published, Publishing, Replay, Room, Settlement, Start, StoredEvent,
    Subscribe, Subscription, Topic, TopicRetention, TopicState,
};
use trellis_core::log::{Durability, History, Offset};
use trellis_core::{Error, ErrorCode, Micros, Name, Result, Scope, Time};

mod reader;

use reader::Reader;

/// See the module.
#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<Topic, Log>,
    leases: u64,
    closed: bool,
    held: bool,
    refusals: VecDeque<Error>,
}

#[derive(Default)]
struct Log {
    events: Vec<Arc<StoredEvent>>,
    /// The first that is kept.
    start: usize,
    retention: TopicRetention,
    ids: HashMap<(String, String), usize>,
    groups: BTreeMap<Name, Group>,
}

struct Group {
    spec: GroupSpec,
    next: usize,
    again: BTreeMap<usize, (Instant, u32)>,
    leased: BTreeMap<usize, (u64, Instant, u32)>,
    dead: BTreeMap<usize, (u32, DeadReason)>,
}

const HISTORY: History = History(7);

fn cursor(next: usize) -> Cursor {
    Cursor {
        history: HISTORY,
        next: Offset(next as u64),
        epoch: 0,
    }
}

impl Fake {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }))
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.0.state.lock());
        self.0.changed.send_modify(|count| *count += 1);
        done
    }

    /// Ends every call that waits, and every reader.
    pub fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Leaves publishes unanswered, or answers them again.
    pub fn hold(&self, held: bool) {
        self.change(|state| state.held = held);
    }

    /// The next publishes fail so.
    pub fn refuse(&self, errors: impl IntoIterator<Item = Error>) {
        self.change(|state| state.refusals.extend(errors));
    }

    /// Drops the oldest events of every topic.
    pub fn trim(&self, start: usize) {
        self.change(|state| state.topics.values_mut().for_each(|log| log.start = start));
    }
}

impl Log {
    fn state(&self, topic: Topic) -> TopicState {
        let kept = &self.events[self.start.min(self.events.len())..];
        TopicState {
            topic,
            retention: self.retention,
            events: kept.len() as u64,
            bytes: kept.iter().map(|it| it.event.bytes() as u64).sum(),
            oldest: kept.first().map(|it| (cursor(self.start), it.time)),
            end: cursor(self.events.len()),
            newest: kept.last().map(|it| it.time),
            groups: self.groups.len(),
        }
    }

    fn begin(&self, start: Start) -> usize {
        match start {
            Start::Earliest => self.start,
            Start::Latest => self.events.len(),
            Start::Cursor(cursor) => usize::try_from(cursor.next.0).unwrap(),
            Start::Time(time) => self.events.partition_point(|it| it.time < time),
        }
    }
}

impl Group {
    fn new(spec: GroupSpec, next: usize) -> Self {
        Self {
            spec,
            next,
            again: BTreeMap::new(),
            leased: BTreeMap::new(),
            dead: BTreeMap::new(),
        }
    }

    fn state(&self, id: GroupId, end: usize) -> GroupState {
        let open = self.leased.keys().chain(self.again.keys());
        let floor = open.min().copied().unwrap_or(self.next);
        GroupState {
            id,
            spec: self.spec,
            floor: cursor(floor),
            behind: (end - floor) as u64,
            leased: self.leased.len(),
            retrying: self.again.len(),
            dead: self.dead.len(),
        }
    }

    /// An event that was delivered in vain.
    fn retry(&mut self, offset: usize, attempts: u32, due: Instant) {
        if attempts >= self.spec.max_attempts {
            self.dead.insert(offset, (attempts, DeadReason::Attempts));
        } else {
            self.again.insert(offset, (due, attempts));
        }
    }

    fn expire(&mut self, now: Instant) {
        let over = self
            .leased
            .iter()
            .filter(|(_, (_, until, _))| *until <= now);
        let over: Vec<_> = over.map(|(offset, lease)| (*offset, lease.2)).collect();
        for (offset, attempts) in over {
            self.leased.remove(&offset);
            self.retry(offset, attempts, now);
        }
    }

    fn take(
        &mut self,
        events: &[Arc<StoredEvent>],
        now: Instant,
        leases: &mut u64,
    ) -> Option<Delivered> {
        self.expire(now);
        let due = self.again.iter().find(|(_, (due, _))| *due <= now);
        let (offset, attempts) = match due.map(|(offset, (_, attempts))| (*offset, *attempts)) {
            Some((offset, attempts)) => {
                self.again.remove(&offset);
                (offset, attempts)
            }
            None if self.next < events.len() => {
                self.next += 1;
                (self.next - 1, 0)
            }
            None => return None,
        };
        *leases += 1;
        let until = now + self.spec.lease.into();
        self.leased.insert(offset, (*leases, until, attempts + 1));
        Some(Delivered {
            event: Arc::clone(&events[offset]),
            lease: LeaseKey {
                offset: offset as u64,
                number: *leases,
            },
            attempt: attempts + 1,
            remaining: self.spec.lease,
        })
    }

    fn settle(&mut self, lease: LeaseKey, settlement: Settlement) -> Result<Option<Micros>> {
        let now = Instant::now();
        self.expire(now);
        let offset = usize::try_from(lease.offset).unwrap_or(usize::MAX);
        let held = self.leased.get(&offset).filter(|it| it.0 == lease.number);
        let Some((number, _, attempts)) = held.copied() else {
            let settled = offset < self.next && !self.again.contains_key(&offset);
            if settled && !self.leased.contains_key(&offset) && settlement == Settlement::Ack {
                return Ok(None);
            }
            return Err(Error::new(ErrorCode::LeaseLost, "the lease is over"));
        };
        self.leased.remove(&offset);
        match settlement {
            Settlement::Ack => {}
            Settlement::Nack(delay) => {
                let delay = delay.unwrap_or_else(|| self.spec.backoff(attempts));
                self.retry(offset, attempts, now + delay.into());
            }
            Settlement::Reject => {
                self.dead.insert(offset, (attempts, DeadReason::Rejected));
            }
            Settlement::Extend(lease) => {
                let lease = lease.unwrap_or(self.spec.lease);
                let until = now + lease.into();
                self.leased.insert(offset, (number, until, attempts));
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }
}

fn no_group() -> Error {
    Error::new(ErrorCode::GroupNotFound, "no such group")
}

impl State {
    fn group(&mut self, id: &GroupId) -> Result<(&mut Group, &[Arc<StoredEvent>], &mut u64)> {
        let log = self.topics.get_mut(&id.topic).ok_or_else(no_group)?;
        let group = log.groups.get_mut(&id.name).ok_or_else(no_group)?;
        Ok((group, &log.events, &mut self.leases))
    }
}

#[async_trait]
impl Events for Fake {
    fn durability(&self) -> Durability {
        Durability::Volatile
    }

    fn status(&self) -> EventsStatus {
        EventsStatus::default()
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn publish(&self, topic: &Topic, event: Event) -> Publishing {
        let published = self.change(|state| {
            if state.closed {
                return Err(Error::new(ErrorCode::Draining, "closed"));
            }
            if let Some(error) = state.refusals.pop_front() {
                return Err(error);
            }
            let log = state.topics.entry(topic.clone()).or_default();
            let end = log.events.len();
            let name = event
                .id()
                .map(|id| (event.source().to_owned(), id.to_owned()));
            let known = name.map(|name| *log.ids.entry(name).or_insert(end));
            let offset = known.unwrap_or(end);
            if offset == end {
                log.events.push(Arc::new(StoredEvent {
                    event,
                    offset: Offset(offset as u64),
                    time: Time(1_000_000 * (offset as u64 + 1)),
                    cursor: cursor(offset + 1),
                }));
            }
            Ok(Published {
                offset: Offset(offset as u64),
                cursor: cursor(offset + 1),
                duplicate: offset < end,
                durability: Durability::Volatile,
            })
        });
        let (fake, mut changed) = (self.clone(), self.0.changed.subscribe());
        Publishing::waiting(async move {
            while fake.0.state.lock().held {
                changed.changed().await.unwrap();
            }
            published
        })
    }

    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>> {
        let Subscribe {
            topic,
            start,
            filter,
        } = subscribe;
        let next = self.change(|state| state.topics.entry(topic.clone()).or_default().begin(start));
        let foreign = matches!(start, Start::Cursor(cursor) if cursor.history != HISTORY);
        Ok(Box::new(Reader {
            fake: self.clone(),
            changed: self.0.changed.subscribe(),
            topic,
            filter,
            next: if foreign { 0 } else { next },
            caught_up: false,
            gap: foreign.then_some(GapReason::History),
        }))
    }

    async fn set_topic(&self, topic: Topic, retention: TopicRetention) -> Result<TopicState> {
        self.change(|state| {
            let log = state.topics.entry(topic.clone()).or_default();
            log.retention = retention;
            Ok(log.state(topic))
        })
    }

    async fn topic(&self, topic: Topic) -> Result<TopicState> {
        let state = self.0.state.lock();
        let empty = Log::default();
        Ok(state.topics.get(&topic).unwrap_or(&empty).state(topic))
    }

    async fn topics(&self, list: ListTopics) -> Result<(Vec<TopicState>, bool)> {
        let state = self.0.state.lock();
        let own = state
            .topics
            .iter()
            .filter(|(topic, _)| topic.namespace == list.namespace);
        let after = own.filter(|(topic, _)| list.after.as_ref().is_none_or(|it| topic.name > *it));
        let mut topics: Vec<_> = after.map(|(topic, log)| log.state(topic.clone())).collect();
        let more = topics.len() > list.page_size;
        topics.truncate(list.page_size);
        Ok((topics, more))
    }

    async fn join_group(&self, id: GroupId, start: Start) -> Result<GroupState> {
        self.change(|state| {
            let log = state.topics.entry(id.topic.clone()).or_default();
            let (next, end) = (log.begin(start), log.events.len());
            let new = || Group::new(GroupSpec::default(), next);
            let group = log.groups.entry(id.name.clone()).or_insert_with(new);
            Ok(group.state(id, end))
        })
    }

    async fn set_group(
        &self,
        id: GroupId,
        spec: GroupSpec,
        start: Start,
    ) -> Result<(GroupState, bool)> {
        let created = self.group(id.clone()).await.is_err();
        self.join_group(id.clone(), start).await?;
        self.change(|state| state.group(&id).map(|(group, ..)| group.spec = spec))?;
        Ok((self.group(id).await?, created))
    }

    async fn group(&self, id: GroupId) -> Result<GroupState> {
        let mut state = self.0.state.lock();
        let (group, events, _) = state.group(&id)?;
        Ok(group.state(id, events.len()))
    }

    async fn groups(
        &self,
        topic: Topic,
        after: Option<Name>,
        page_size: usize,
    ) -> Result<(Vec<GroupState>, bool)> {
        let state = self.0.state.lock();
        let Some(log) = state.topics.get(&topic) else {
            return Ok((Vec::new(), false));
        };
        let later = log
            .groups
            .iter()
            .filter(|(name, _)| after.as_ref().is_none_or(|it| *name > it));
        let id = |name: &Name| GroupId {
            topic: topic.clone(),
            name: name.clone(),
        };
        let states = later.map(|(name, group)| group.state(id(name), log.events.len()));
        let mut groups: Vec<_> = states.collect();
        let more = groups.len() > page_size;
        groups.truncate(page_size);
        Ok((groups, more))
    }

    async fn delete_group(&self, id: GroupId) -> Result<()> {
        self.change(|state| {
            let log = state.topics.get_mut(&id.topic).ok_or_else(no_group)?;
            log.groups.remove(&id.name).map(drop).ok_or_else(no_group)
        })
    }

    async fn receive(&self, id: GroupId, room: Room, max_wait: Micros) -> Result<Vec<Delivered>> {
        let deadline = Instant::now() + max_wait.into();
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (taken, due) = {
                let mut state = self.0.state.lock();
                if state.closed {
                    return Err(Error::new(ErrorCode::Draining, "closed"));
                }
                let (group, events, leases) = state.group(&id)?;
                let (mut taken, mut bytes) = (Vec::new(), 0);
                while taken.len() < room.events && bytes < room.bytes {
                    let Some(next) = group.take(events, Instant::now(), leases) else {
                        break;
                    };
                    bytes += next.event.event.bytes();
                    taken.push(next);
                }
                let ends = group.leased.values().map(|(_, until, _)| *until);
                let due = ends.chain(group.again.values().map(|(due, _)| *due)).min();
                (taken, due.unwrap_or(deadline).min(deadline))
            };
            if !taken.is_empty() || Instant::now() >= deadline {
                return Ok(taken);
            }
            let _ = timeout_at(due, changed.changed()).await;
        }
    }

    async fn settle(
        &self,
        id: GroupId,
        settlements: Vec<(LeaseKey, Settlement)>,
    ) -> Result<Vec<Result<Option<Micros>>>> {
        self.change(|state| {
            let (group, ..) = state.group(&id)?;
            let settlements = settlements.into_iter();
            Ok(settlements
                .map(|(lease, what)| group.settle(lease, what))
                .collect())
        })
    }

    async fn dead_letters(
        &self,
        id: GroupId,
        from: Offset,
        room: Room,
    ) -> Result<(Vec<DeadEvent>, Option<Offset>)> {
        let mut state = self.0.state.lock();
        let (group, events, _) = state.group(&id)?;
        let from = usize::try_from(from.0).unwrap();
        let mut dead = group.dead.range(from..);
        let page = dead
            .by_ref()
            .take(room.events)
            .map(|(offset, (attempts, reason))| DeadEvent {
                event: Arc::clone(&events[*offset]),
                attempts: *attempts,
                reason: *reason,
            });
        let page = page.collect();
        Ok((page, dead.next().map(|(offset, _)| Offset(*offset as u64))))
    }

    async fn replay(&self, id: GroupId, which: Replay) -> Result<u64> {
        self.change(|state| {
            let (group, ..) = state.group(&id)?;
            let wanted = |offset: &usize| match &which {
                Replay::All => true,
                Replay::These(these) => these.contains(&Offset(*offset as u64)),
            };
            let replayed: Vec<_> = group.dead.keys().copied().filter(wanted).collect();
            for offset in &replayed {
                group.dead.remove(offset);
                group.again.insert(*offset, (Instant::now(), 0));
            }
            Ok(replayed.len() as u64)
        })
    }
}
