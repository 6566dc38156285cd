//! The events port: what is kept in order for everybody, and what a caller may rely on.

use super::cursor::{Cursor, GapReason};
use super::event::{Event, Topic};
use super::filter::Filter;
use super::group::{DeadReason, LeaseKey};
use crate::log::{Durability, Offset};
use crate::{Micros, Name, Namespace, Result, Scope, Time};
use async_trait::async_trait;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A publish: it goes on when this is dropped.
#[must_use = "whether the event was published is told here"]
pub enum Publishing {
    /// Decided.
    Done(Result<Published>),
    /// Under way, whether it is polled or not.
    Waiting(Pin<Box<dyn Future<Output = Result<Published>> + Send>>),
}

impl Publishing {
    /// One under way.
    pub fn waiting(outcome: impl Future<Output = Result<Published>> + Send + 'static) -> Self {
        Self::Waiting(Box::pin(outcome))
    }
}

/// Waits for the end. Safe to cancel, in that the publish goes on.
impl Future for Publishing {
    type Output = Result<Published>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Done(result) => Poll::Ready(result.clone()),
            Self::Waiting(waiting) => waiting.as_mut().poll(task),
        }
    }
}

impl fmt::Debug for Publishing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => formatter.debug_tuple("Done").field(result).finish(),
            Self::Waiting(_) => formatter.write_str("Waiting"),
        }
    }
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its place.
    pub offset: Offset,
    /// Where to go on behind it.
    pub cursor: Cursor,
    /// It had been published before, and this is where.
    pub duplicate: bool,
    /// What it survives.
    pub durability: Durability,
}

/// An event in its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// As it was published.
    pub event: Event,
    /// Its place.
    pub offset: Offset,
    /// When the log took it in, as wall-clock time.
    pub time: Time,
    /// Where to go on behind it.
    pub cursor: Cursor,
}

/// Where a reader or a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that is kept.
    Earliest,
    /// With the next event to come.
    #[default]
    Latest,
    /// Behind what was seen.
    Cursor(Cursor),
    /// With the first event that the log took in at this wall-clock time or later.
    Time(Time),
}

/// Asks for the events of a topic, from a place on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Whose.
    pub topic: Topic,
    /// Where to begin.
    pub start: Start,
    /// Which.
    pub filter: Filter,
}

/// How much a reader takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Events, at least 1.
    pub events: usize,
    /// Bytes, as [`Event::bytes`] counts. One event is told even if it is larger.
    pub bytes: usize,
}

/// What a subscription tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next ones, at least one.
    Events(Vec<Arc<StoredEvent>>),
    /// All that stood behind was told or filtered out. Told once, and again after the reader had fallen behind what is held for
    /// those who follow.
    CaughtUp,
    /// Something may have been missed here.
    Gap(GapReason),
}

/// How far a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything before it was told or filtered out.
    pub cursor: Cursor,
    /// Offsets up to the end of the topic's partition, as far as is known: at least as many as events that are still to come.
    pub behind: u64,
}

/// How long a topic keeps its events: until one of these is exceeded; `None` for no such bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicRetention {
    /// Since the log took them in.
    pub max_age: Option<Micros>,
    /// Of the newest events, as the log counts.
    pub max_bytes: Option<u64>,
    /// The newest so many.
    pub max_events: Option<u64>,
}

/// What a topic is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// Which.
    pub topic: Topic,
    /// What it keeps; the daemon's default if none was set.
    pub retention: TopicRetention,
    /// Events that are kept.
    pub events: u64,
    /// Their bytes, as the log counts.
    pub bytes: u64,
    /// The oldest place that is kept, and when the log took it in; `None` when it is empty.
    pub oldest: Option<(Cursor, Time)>,
    /// Where the next event comes.
    pub end: Cursor,
    /// When the log took in the newest one.
    pub newest: Option<Time>,
    /// Its groups.
    pub groups: usize,
}

/// Asks for topics by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTopics {
    /// Where they live.
    pub namespace: Namespace,
    /// At most so many, at least 1.
    pub page_size: usize,
    /// Those after this name.
    pub after: Option<Name>,
}

/// A group of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// Whose events it shares.
    pub topic: Topic,
    /// Its name there.
    pub name: Name,
}

/// How a group deals its events out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// How long a member has an event, unless it extends: 1 s to 1 hour.
    pub lease: Micros,
    /// Deliveries after which an event is a dead letter: 1 to 1,000.
    pub max_attempts: u32,
    /// How long an event waits after its first vain delivery that names no delay; doubled with each further one.
    pub min_backoff: Micros,
    /// The longest such wait: at most 1 hour.
    pub max_backoff: Micros,
    /// Whether events of one ordering key are delivered one after the other.
    pub ordered: bool,
}

impl Default for GroupSpec {
    fn default() -> Self {
        Self {
            lease: Micros::from_secs(30),
            max_attempts: 10,
            min_backoff: Micros::from_secs(1),
            max_backoff: Micros::from_secs(60),
            ordered: false,
        }
    }
}

impl GroupSpec {
    /// How long an event waits after so many vain deliveries, at least one.
    #[must_use]
    pub fn backoff(&self, attempts: u32) -> Micros {
        let doublings = attempts.saturating_sub(1).min(63);
        let wait = self.min_backoff.0.saturating_mul(1 << doublings);
        Micros(wait.min(self.max_backoff.0))
    }
}

/// What a group is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Which.
    pub id: GroupId,
    /// How it deals its events out.
    pub spec: GroupSpec,
    /// Everything before it is acknowledged or a dead letter.
    pub floor: Cursor,
    /// Offsets from the floor to the end of the partition: at least as many as events to come.
    pub behind: u64,
    /// Events that members have now.
    pub leased: usize,
    /// Events that are to be delivered again.
    pub retrying: usize,
    /// Dead letters.
    pub dead: usize,
}

/// An event for a member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// What has happened.
    pub event: Arc<StoredEvent>,
    /// By which it is settled or extended.
    pub lease: LeaseKey,
    /// The how manieth delivery it is, from 1, as far as is known.
    pub attempt: u32,
    /// How long the member has it from now.
    pub remaining: Micros,
}

/// What a member says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done.
    Ack,
    /// It comes again after this, or after the group's back-off.
    Nack(Option<Micros>),
    /// Nobody can do it: it becomes a dead letter.
    Reject,
    /// It needs so long from now, or the group's lease.
    Extend(Option<Micros>),
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEvent {
    /// What had happened.
    pub event: Arc<StoredEvent>,
    /// Deliveries.
    pub attempts: u32,
    /// Why it is not delivered any more.
    pub reason: DeadReason,
}

/// Which dead letters are delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// All of the group.
    All,
    /// Those at these places; others are passed over.
    These(Vec<Offset>),
}

/// How much events keep, and what was published since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsStatus {
    /// Topics that are known.
    pub topics: usize,
    /// Events that can be read.
    pub events: u64,
    /// Their bytes, as retention counts them.
    pub bytes: u64,
    /// Groups.
    pub groups: usize,
    /// Events that members hold.
    pub leased: usize,
    /// Events that wait to be delivered again.
    pub retrying: usize,
    /// Events that groups have given up.
    pub dead: usize,
    /// Events published.
    pub published: u64,
    /// Events that were published before, and were not published again.
    pub duplicates: u64,
    /// Why nothing can be published before a restart, if so.
    pub failure: Option<String>,
}

/// A reader of a topic.
#[async_trait]
pub trait Subscription: Send {
    /// The next news; waits for it. What is told again after an error is what was not told before. Dropping the future loses nothing.
    ///
    /// Errors: `StoreUnavailable`, `Internal` for damage, `Draining`.
    async fn next(&mut self, room: Room) -> Result<Heard>;

    /// How far it is. Never waits.
    fn position(&self) -> Position;

    /// The guarantee that holds now.
    fn scope(&self) -> Scope;
}

/// Events, shared by all who call the same backend.
///
/// **Order.** The events of a topic stand in one order, the same for every reader. What one task publishes to a topic stands in the order
/// of its calls.
///
/// **Once.** What was acknowledged is told to every reader that comes by, once. An event with an id that is published again with its
/// source within the window of ids is answered with its first place. After `OutcomeUnknown` it may stand, and a repeat with an
/// id is right in every case.
///
/// **Groups.** An event reaches the members of a group until one has acknowledged it or it is a dead letter. It may reach them
/// more than once, never two at a time in one life of the backend. What was answered to a settlement is as durable as
/// [`Events::durability`] says.
///
/// **Errors.** Besides those named: `StoreUnavailable` and `OutcomeUnknown` as the log brings them, `Draining` when it is closed,
/// and any bound that is reached is its own `TooMany…` error.
#[async_trait]
pub trait Events: Send + Sync {
    /// What an answer survives. Never waits.
    fn durability(&self) -> Durability;

    /// The guarantee that holds now.
    fn scope(&self) -> Scope;

    /// How much is kept. Changes nothing, never fails, never waits.
    fn status(&self) -> EventsStatus;

    /// Appends an event. Begins with the call, not with the first poll. Errors: `TooManyBytes`.
    fn publish(&self, topic: &Topic, event: Event) -> Publishing;

    /// Begins to read. Errors: `InvalidField` for a time that lies in the future.
    async fn subscribe(&self, subscribe: Subscribe) -> Result<Box<dyn Subscription>>;

    /// Sets what a topic keeps.
    async fn set_topic(&self, topic: Topic, retention: TopicRetention) -> Result<TopicState>;

    /// A topic. One that nothing was published to is empty, not unknown.
    async fn topic(&self, topic: Topic) -> Result<TopicState>;

    /// Topics that hold events, were set, or have groups, by name, and whether there are more.
    async fn topics(&self, list: ListTopics) -> Result<(Vec<TopicState>, bool)>;

    /// A group; made with the default spec, beginning at `start`, when there is none.
    async fn join_group(&self, id: GroupId, start: Start) -> Result<GroupState>;

    /// Makes a group that begins at `start`, or changes how one deals its events out, which holds from the next delivery on; `start` then
    /// says nothing. Tells whether it is new.
    async fn set_group(
        &self,
        id: GroupId,
        spec: GroupSpec,
        start: Start,
    ) -> Result<(GroupState, bool)>;

    /// A group. Errors: `GroupNotFound`.
    async fn group(&self, id: GroupId) -> Result<GroupState>;

    /// Groups of a topic by name, those after `after`, at most `page_size`, and whether there are more.
    async fn groups(
        &self,
        topic: Topic,
        after: Option<Name>,
        page_size: usize,
    ) -> Result<(Vec<GroupState>, bool)>;

    /// Forgets a group. Its leases are lost. Errors: `GroupNotFound`.
    async fn delete_group(&self, id: GroupId) -> Result<()>;

    /// The next events for a member; waits for the first one at most `max_wait`, then none. Dropping the future leaves the
    /// deliveries that nobody received to the end of their leases. Errors: `GroupNotFound`, `TooManyWaiters`.
    async fn receive(&self, id: GroupId, room: Room, max_wait: Micros) -> Result<Vec<Delivered>>;

    /// Settles or extends deliveries, each by itself, in order; each is answered once it is durable, `Extend` with what the lease lasts.
    /// An acknowledgement of what is settled succeeds. Goes on when it is dropped. Errors: `GroupNotFound`; of each: `LeaseLost`.
    async fn settle(
        &self,
        id: GroupId,
        settlements: Vec<(LeaseKey, Settlement)>,
    ) -> Result<Vec<Result<Option<Micros>>>>;

    /// Dead letters of a group in order, those from an offset on, at most what there is room for, and where to go on. Errors:
    /// `GroupNotFound`.
    async fn dead_letters(
        &self,
        id: GroupId,
        from: Offset,
        room: Room,
    ) -> Result<(Vec<DeadEvent>, Option<Offset>)>;

    /// Has dead letters delivered again, their attempts counted anew; tells how many. Errors: `GroupNotFound`.
    async fn replay(&self, id: GroupId, which: Replay) -> Result<u64>;
}
