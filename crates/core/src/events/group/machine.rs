//! Who has what, for how long, and what comes next.
//!
//! Every method decides on the state and the time that it is given, and what must outlive the daemon it proposes as a
//! record; only [`GroupMachine::apply`], with a record read back from the log, carries it out. Between the two the event
//! is **settling**: nobody gets it, and its lease is over.
//!
//! With ordering, events of one key are delivered one after the other: the next when the one before is settled, retries
//! included. Events without a key wait for nothing.

use super::fold::GroupFold;
use super::record::{DeadReason, GroupRecord};
use crate::{Micros, OrderingKey, Time};
use std::collections::{BTreeMap, BTreeSet};

/// How a group deals its events out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Deliveries after which an event is a dead letter. At least 1.
    pub max_attempts: u32,
    /// How long a member has an event, unless it extends.
    pub lease: Micros,
    /// Events that are known and not settled. At the bound no further ones are taken in, until the oldest are settled.
    pub max_open: usize,
    /// Whether events of one ordering key are delivered one after the other.
    pub ordered: bool,
}

/// Names one delivery. Another delivery of the same event has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseKey {
    /// The event.
    pub offset: u64,
    /// A number that this machine has not given before.
    pub number: u64,
}

/// An event for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// By which it is settled or extended.
    pub lease: LeaseKey,
    /// The how manieth delivery it is, from 1, as far as is known.
    pub attempt: u32,
    /// When it ends.
    pub until: Time,
}

/// Why an answer of a member does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The event was settled before.
    Settled,
    /// The lease is over, and the event is somebody else's or about to be.
    Lost,
}

/// What an event is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be delivered, not before this.
    Waiting(Time),
    /// A member's.
    Leased { number: u64, until: Time },
    /// A record about it is on its way to the log.
    Settling,
}

struct Open {
    /// Counts where order does.
    key: Option<OrderingKey>,
    /// Deliveries so far.
    attempts: u32,
    stage: Stage,
    /// The last lease, by which a late acknowledgement is known.
    last_lease: u64,
}

/// The open events of a key.
#[derive(Default)]
struct Line {
    /// The first is the next.
    offsets: BTreeSet<u64>,
    /// Those that are delivered or settling, before which no other comes: one, unless order did not count before.
    busy: BTreeSet<u64>,
}

/// See the module.
pub struct GroupMachine {
    config: GroupConfig,
    fold: GroupFold,
    /// One above the highest offset taken in.
    next: u64,
    open: BTreeMap<u64, Open>,
    /// By key, where order counts.
    lines: BTreeMap<OrderingKey, Line>,
    /// Events that wait and whose key has its turn: those that are due by offset, the others by time.
    ready: BTreeSet<u64>,
    later: BTreeSet<(Time, u64)>,
    /// Leases by their end.
    leased: BTreeSet<(Time, u64)>,
    last_lease: u64,
}

impl GroupMachine {
    /// Goes on from what the log says. Events from [`GroupMachine::next`] on are then to be taken in. The numbers of
    /// leases go on from `last_lease`, which no other machine of the group had near its own.
    #[must_use]
    pub fn new(fold: GroupFold, config: GroupConfig, last_lease: u64) -> Self {
        let first_replayed = fold.retries().keys().next().copied();
        let next = first_replayed.map_or(fold.floor(), |offset| offset.min(fold.floor()));
        Self {
            config,
            fold,
            next,
            open: BTreeMap::new(),
            lines: BTreeMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            leased: BTreeSet::new(),
            last_lease,
        }
    }

    /// Deals out by other rules from the next delivery on.
    pub fn set_config(&mut self, config: GroupConfig) {
        let same_order = self.config.ordered == config.ordered;
        self.config = config;
        if same_order {
            return;
        }
        self.lines.clear();
        self.ready.clear();
        self.later.clear();
        if config.ordered {
            for (offset, open) in &self.open {
                if let Some(key) = &open.key {
                    let line = self.lines.entry(key.clone()).or_default();
                    line.offsets.insert(*offset);
                    if !matches!(open.stage, Stage::Waiting(_)) {
                        line.busy.insert(*offset);
                    }
                }
            }
        }
        let open: Vec<u64> = self.open.keys().copied().collect();
        for offset in open {
            self.line_up(self.line_of(offset).as_ref(), offset);
        }
    }

    /// The key in whose line an event stands.
    fn line_of(&self, offset: u64) -> Option<OrderingKey> {
        let open = self.open.get(&offset).filter(|_| self.config.ordered);
        open.and_then(|open| open.key.clone())
    }

    /// What the log says.
    #[must_use]
    pub fn fold(&self) -> &GroupFold {
        &self.fold
    }

    /// The offset from which on events are to be taken in.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many events can be taken in now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.config.max_open.saturating_sub(self.open.len())
    }

    /// Whether an event was taken in and is not settled.
    #[must_use]
    pub fn is_open(&self, offset: u64) -> bool {
        self.open.contains_key(&offset)
    }

    /// Deliveries so far of an event that is open.
    #[must_use]
    pub fn attempts(&self, offset: u64) -> u32 {
        self.open.get(&offset).map_or(0, |open| open.attempts)
    }

    /// Events that members have.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.leased.len()
    }

    /// Events that are to be delivered again and that no member has.
    #[must_use]
    pub fn retrying(&self) -> usize {
        let retries = self.fold.retries().keys();
        let waits = |offset: &&u64| {
            let open = self.open.get(offset);
            !open.is_some_and(|open| matches!(open.stage, Stage::Leased { .. }))
        };
        retries.filter(waits).count()
    }

    /// Takes in the event at an offset, in the order of the log. What is settled is passed over.
    pub fn take_in(&mut self, offset: u64, key: Option<OrderingKey>) {
        if offset < self.next {
            return;
        }
        self.next = offset.saturating_add(1);
        if !self.fold.is_settled(offset) {
            self.insert(offset, key);
        }
    }

    /// Takes in a replayed dead letter, whose record was applied, and whose event lies below [`GroupMachine::next`].
    pub fn take_back(&mut self, offset: u64, key: Option<OrderingKey>) {
        let open = self.open.contains_key(&offset) || self.fold.is_settled(offset);
        if offset < self.next && !open {
            self.insert(offset, key);
        }
    }

    fn insert(&mut self, offset: u64, key: Option<OrderingKey>) {
        let retry = self.fold.retries().get(&offset).copied();
        let line = key.clone().filter(|_| self.config.ordered);
        if let Some(key) = &line {
            let line = self.lines.entry(key.clone()).or_default();
            let first = line.offsets.first().copied();
            line.offsets.insert(offset);
            if let Some(first) = first.filter(|first| *first > offset) {
                // A replayed event comes before those that came later.
                self.unlist(first);
            }
        }
        let open = Open {
            key,
            attempts: retry.map_or(0, |retry| retry.attempts),
            stage: Stage::Waiting(retry.map_or(Time(0), |retry| retry.due)),
            last_lease: 0,
        };
        self.open.insert(offset, open);
        self.line_up(line.as_ref(), offset);
    }

    /// The next event of a key, or the event itself if it has none, is to come when it is due.
    fn line_up(&mut self, key: Option<&OrderingKey>, offset: u64) {
        let next = match key {
            None => Some(offset),
            Some(key) => match self.lines.get(key) {
                Some(line) if line.busy.is_empty() => line.offsets.first().copied(),
                _ => None,
            },
        };
        let stage = next.and_then(|next| Some((next, self.open.get(&next)?.stage)));
        if let Some((next, Stage::Waiting(due))) = stage {
            self.later.insert((due, next));
        }
    }

    /// Takes an event out of what is to come and what is to end.
    fn unlist(&mut self, offset: u64) {
        match self.open.get(&offset).map(|open| open.stage) {
            Some(Stage::Waiting(due)) => {
                self.ready.remove(&offset);
                self.later.remove(&(due, offset));
            }
            Some(Stage::Leased { until, .. }) => {
                self.leased.remove(&(until, offset));
            }
            Some(Stage::Settling) | None => {}
        }
    }

    /// Gives an event another stage.
    fn set(&mut self, offset: u64, stage: Stage) {
        self.unlist(offset);
        let Some(open) = self.open.get_mut(&offset) else {
            return;
        };
        open.stage = stage;
        let key = self.line_of(offset);
        if let Some(line) = key.as_ref().and_then(|key| self.lines.get_mut(key)) {
            if matches!(stage, Stage::Waiting(_)) {
                line.busy.remove(&offset);
            } else {
                line.busy.insert(offset);
            }
        }
        match stage {
            Stage::Waiting(_) => self.line_up(key.as_ref(), offset),
            Stage::Leased { until, .. } => {
                self.leased.insert((until, offset));
            }
            Stage::Settling => {}
        }
    }

    /// The next event for a member: the oldest that is due and whose key has its turn.
    pub fn peek(&mut self, now: Time) -> Option<u64> {
        while let Some((due, offset)) = self.later.first().copied().filter(|(due, _)| *due <= now) {
            self.later.remove(&(due, offset));
            self.ready.insert(offset);
        }
        self.ready.first().copied()
    }

    /// Gives a member the event that [`GroupMachine::peek`] tells.
    pub fn deliver(&mut self, now: Time) -> Option<Delivery> {
        let offset = self.peek(now)?;
        self.last_lease += 1;
        let (number, until) = (self.last_lease, now + self.config.lease);
        self.set(offset, Stage::Leased { number, until });
        let open = self.open.get_mut(&offset)?;
        open.attempts = open.attempts.saturating_add(1);
        open.last_lease = number;
        Some(Delivery {
            lease: LeaseKey { offset, number },
            attempt: open.attempts,
            until,
        })
    }

    /// A member is done with an event. Counts also when the lease has just ended, as long as nobody else has the event.
    pub fn ack(&mut self, lease: LeaseKey) -> Result<GroupRecord, Refused> {
        let open = self.opened(lease.offset)?;
        let current = open.last_lease == lease.number;
        if !current || open.stage == Stage::Settling {
            return Err(Refused::Lost);
        }
        self.set(lease.offset, Stage::Settling);
        Ok(GroupRecord::Done(vec![(lease.offset, lease.offset + 1)]))
    }

    /// A member could not handle an event: it comes again after `delay`, or is a dead letter.
    pub fn nack(
        &mut self,
        lease: LeaseKey,
        delay: Micros,
        now: Time,
    ) -> Result<GroupRecord, Refused> {
        self.held(lease)?;
        self.again(lease.offset, now + delay)
            .ok_or(Refused::Settled)
    }

    /// A member says that nobody can handle an event: it is a dead letter.
    pub fn reject(&mut self, lease: LeaseKey) -> Result<GroupRecord, Refused> {
        let attempts = self.held(lease)?.attempts;
        self.set(lease.offset, Stage::Settling);
        Ok(GroupRecord::Dead {
            offset: lease.offset,
            attempts,
            reason: DeadReason::Rejected,
        })
    }

    /// A member needs longer: the lease lasts `span` from now, and is never made shorter.
    pub fn extend(&mut self, lease: LeaseKey, span: Micros, now: Time) -> Result<Time, Refused> {
        let number = lease.number;
        let Stage::Leased { until, .. } = self.held(lease)?.stage else {
            return Err(Refused::Lost);
        };
        let until = until.max(now + span);
        self.set(lease.offset, Stage::Leased { number, until });
        Ok(until)
    }

    /// Ends the leases that are over: each event comes again, or is a dead letter.
    pub fn expire(&mut self, now: Time) -> Vec<GroupRecord> {
        let over = self.leased.iter().take_while(|(until, _)| *until <= now);
        let over: Vec<u64> = over.map(|(_, offset)| *offset).collect();
        let records = over
            .into_iter()
            .filter_map(|offset| self.again(offset, now));
        records.collect()
    }

    /// When [`GroupMachine::expire`] or, if it found nothing, [`GroupMachine::deliver`] is next worth calling, unless a
    /// call or a record changes that.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        let first = |times: &BTreeSet<(Time, u64)>| times.first().map(|(time, _)| *time);
        first(&self.later)
            .into_iter()
            .chain(first(&self.leased))
            .min()
    }

    /// Carries out a record that was read back from the log.
    pub fn apply(&mut self, record: &GroupRecord) {
        self.fold.apply(record);
        match record {
            GroupRecord::Done(stretches) => {
                for (first, end) in stretches {
                    self.close_all(*first, *end);
                }
            }
            GroupRecord::Gone { before } => self.close_all(0, *before),
            GroupRecord::Dead { offset, .. } => self.close(*offset),
            // Stands in checkpoints, which no machine reads.
            GroupRecord::Part(_) => {}
            GroupRecord::Retry { offset, .. } | GroupRecord::Replay { offset, .. } => {
                let retry = self.fold.retries().get(offset).copied();
                if let (Some(open), Some(retry)) = (self.open.get_mut(offset), retry)
                    && open.stage == Stage::Settling
                {
                    open.attempts = open.attempts.max(retry.attempts);
                    self.set(*offset, Stage::Waiting(retry.due));
                }
            }
        }
    }

    /// A record that was proposed did not reach the log: the event is to be settled or delivered again.
    pub fn take_back_proposal(&mut self, offset: u64, now: Time) {
        if let Some(open) = self.open.get(&offset)
            && open.stage == Stage::Settling
        {
            // A lease that is over: the next look proposes again.
            let number = open.last_lease;
            self.set(offset, Stage::Leased { number, until: now });
        }
    }

    /// An event that was delivered in vain.
    fn again(&mut self, offset: u64, due: Time) -> Option<GroupRecord> {
        let attempts = self.open.get(&offset)?.attempts;
        self.set(offset, Stage::Settling);
        Some(if attempts >= self.config.max_attempts {
            GroupRecord::Dead {
                offset,
                attempts,
                reason: DeadReason::Attempts,
            }
        } else {
            GroupRecord::Retry {
                offset,
                attempts,
                due,
            }
        })
    }

    fn opened(&self, offset: u64) -> Result<&Open, Refused> {
        let refused = if self.fold.is_settled(offset) {
            Refused::Settled
        } else {
            Refused::Lost
        };
        self.open.get(&offset).ok_or(refused)
    }

    /// The event of a lease that stands.
    fn held(&self, lease: LeaseKey) -> Result<&Open, Refused> {
        let open = self.opened(lease.offset)?;
        let held = matches!(open.stage, Stage::Leased { number, .. } if number == lease.number);
        if held { Ok(open) } else { Err(Refused::Lost) }
    }

    fn close_all(&mut self, first: u64, end: u64) {
        let open = self.open.range(first..end);
        let settled: Vec<u64> = open.map(|(offset, _)| *offset).collect();
        for offset in settled {
            self.close(offset);
        }
    }

    fn close(&mut self, offset: u64) {
        self.unlist(offset);
        let key = self.line_of(offset);
        self.open.remove(&offset);
        let Some(key) = key else {
            return;
        };
        if let Some(line) = self.lines.get_mut(&key) {
            line.offsets.remove(&offset);
            line.busy.remove(&offset);
            if line.offsets.is_empty() {
                self.lines.remove(&key);
            }
        }
        self.line_up(Some(&key), offset);
    }
}
