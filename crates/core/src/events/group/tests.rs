//! Rules one by one, and random lives against a small model.

use super::*;
use crate::{Micros, OrderingKey, Time};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SECOND: Micros = Micros::from_secs(1);

const CONFIG: GroupConfig = GroupConfig {
    max_attempts: 3,
    lease: SECOND,
    max_open: 8,
    ordered: true,
};

fn key(name: &str) -> OrderingKey {
    OrderingKey::new(name, "key").unwrap()
}

fn machine(keys: &[Option<&str>]) -> GroupMachine {
    let mut machine = GroupMachine::new(GroupFold::new(0), CONFIG, 0);
    for (offset, name) in keys.iter().enumerate() {
        machine.take_in(offset as u64, name.map(key));
    }
    machine
}

fn offset(machine: &mut GroupMachine, now: Time) -> Option<u64> {
    machine.deliver(now).map(|delivery| delivery.lease.offset)
}

#[test]
fn each_event_goes_to_one_member_and_the_floor_moves_by_acknowledgements_alone() {
    let mut machine = machine(&[None, None, None]);
    let now = Time(10);
    let leases: Vec<_> = (0..3)
        .map(|_| machine.deliver(now).unwrap().lease)
        .collect();
    assert_eq!(machine.deliver(now), None);
    assert_eq!(machine.fold().floor(), 0);
    let done = machine.ack(leases[1]).unwrap();
    assert!(!machine.fold().is_settled(1), "a proposal settles nothing");
    machine.apply(&done);
    assert!(machine.fold().is_settled(1));
    assert_eq!(machine.fold().floor(), 0);
    let done = machine.ack(leases[0]).unwrap();
    machine.apply(&done);
    assert_eq!(machine.fold().floor(), 2);
    assert_eq!(machine.ack(leases[0]), Err(Refused::Settled));
}

#[test]
fn events_of_one_key_come_one_after_the_other_and_others_do_not_wait() {
    let mut machine = machine(&[Some("a"), Some("a"), Some("b"), None]);
    let now = Time(0);
    let first = machine.deliver(now).unwrap();
    assert_eq!(offset(&mut machine, now), Some(2));
    assert_eq!(offset(&mut machine, now), Some(3));
    assert_eq!(
        offset(&mut machine, now),
        None,
        "the second of a waits for the first"
    );
    let retry = machine.nack(first.lease, SECOND, now).unwrap();
    machine.apply(&retry);
    assert_eq!(
        offset(&mut machine, now),
        None,
        "also while the first waits to come again"
    );
    let again = machine.deliver(now + SECOND).unwrap();
    assert_eq!((again.lease.offset, again.attempt), (0, 2));
    let done = machine.ack(again.lease).unwrap();
    machine.apply(&done);
    assert_eq!(offset(&mut machine, now + SECOND), Some(1));
}

#[test]
fn an_event_comes_again_only_when_that_is_logged_and_is_dead_after_its_attempts() {
    let mut machine = machine(&[None]);
    let mut now = Time(0);
    for attempt in 1..=3 {
        assert_eq!(machine.deliver(now).unwrap().attempt, attempt);
        now = now + SECOND;
        let records = machine.expire(now);
        assert_eq!(records.len(), 1);
        assert_eq!(machine.expire(now), []);
        assert_eq!(machine.deliver(now), None, "not before it is logged");
        machine.apply(&records[0]);
    }
    assert_eq!(machine.deliver(now), None);
    let letter = machine.fold().dead()[&0];
    assert_eq!((letter.attempts, letter.reason), (3, DeadReason::Attempts));
    assert_eq!(machine.fold().floor(), 1);
    machine.apply(&GroupRecord::Replay {
        offset: 0,
        due: now,
    });
    machine.take_back(0, None);
    assert_eq!(machine.deliver(now).unwrap().attempt, 1);
    assert_eq!(machine.fold().dead().len(), 0);
}

#[test]
fn a_rejected_event_is_dead_at_once() {
    let mut machine = machine(&[None]);
    let lease = machine.deliver(Time(0)).unwrap().lease;
    let dead = machine.reject(lease).unwrap();
    machine.apply(&dead);
    assert_eq!(machine.fold().dead()[&0].reason, DeadReason::Rejected);
}

#[test]
fn a_lease_that_is_extended_stands_and_a_late_answer_counts_until_somebody_else_has_the_event() {
    let mut machine = machine(&[None]);
    let lease = machine.deliver(Time(0)).unwrap().lease;
    let half = Micros(SECOND.0 / 2);
    let until = machine.extend(lease, SECOND, Time(0) + half).unwrap();
    assert_eq!(until, Time(0) + half + SECOND);
    assert_eq!(machine.expire(Time(0) + SECOND), []);
    let retry = machine.expire(until).remove(0);
    assert_eq!(machine.extend(lease, SECOND, until), Err(Refused::Lost));
    machine.apply(&retry);
    let second = machine.deliver(until).unwrap().lease;
    assert_eq!(machine.ack(lease), Err(Refused::Lost));
    let retry = machine.nack(second, Micros::ZERO, until).unwrap();
    machine.apply(&retry);
    assert!(machine.ack(second).is_ok(), "nobody has it");
}

#[test]
fn what_is_due_is_told_and_an_event_that_waits_for_its_key_is_not_due() {
    let mut machine = machine(&[Some("a"), Some("a")]);
    assert_eq!(machine.next_due(), Some(Time(0)));
    let lease = machine.deliver(Time(5)).unwrap().lease;
    assert_eq!(
        machine.next_due(),
        Some(Time(5) + SECOND),
        "the lease's end"
    );
    let retry = machine.nack(lease, Micros(7), Time(6)).unwrap();
    assert_eq!(machine.next_due(), None, "nothing before the log has it");
    machine.apply(&retry);
    assert_eq!(machine.next_due(), Some(Time(13)));
}

#[test]
fn a_replayed_event_waits_for_one_of_its_key_that_a_member_has() {
    let mut machine = machine(&[Some("a"), Some("a"), Some("a")]);
    let now = Time(0);
    let lease = machine.deliver(now).unwrap().lease;
    let dead = machine.reject(lease).unwrap();
    machine.apply(&dead);
    let second = machine.deliver(now).unwrap().lease;
    assert_eq!(second.offset, 1);
    machine.apply(&GroupRecord::Replay {
        offset: 0,
        due: now,
    });
    machine.take_back(0, Some(key("a")));
    assert_eq!(machine.deliver(now), None);
    let done = machine.ack(second).unwrap();
    machine.apply(&done);
    assert_eq!(offset(&mut machine, now), Some(0), "before the third");
}

#[test]
fn a_proposal_that_did_not_reach_the_log_is_made_again() {
    let mut machine = machine(&[None]);
    let lease = machine.deliver(Time(0)).unwrap().lease;
    assert!(machine.ack(lease).is_ok());
    assert_eq!(machine.ack(lease), Err(Refused::Lost), "it is on its way");
    machine.take_back_proposal(0, Time(1));
    assert!(machine.ack(lease).is_ok());
    machine.take_back_proposal(0, Time(1));
    assert_eq!(machine.expire(Time(1)).len(), 1);
}

#[test]
fn a_group_that_lags_takes_in_no_more_than_its_bound() {
    let mut machine = machine(&[None; 8]);
    assert!(machine.room() == 0);
    let lease = machine.deliver(Time(0)).unwrap().lease;
    assert!(machine.room() == 0, "delivered is not settled");
    let done = machine.ack(lease).unwrap();
    machine.apply(&done);
    assert!(machine.room() > 0);
}

#[test]
fn what_retention_takes_is_settled() {
    let mut fold = GroupFold::new(0);
    let due = Time(0);
    fold.apply(&GroupRecord::Retry {
        offset: 2,
        attempts: 1,
        due,
    });
    fold.apply(&GroupRecord::Done(vec![(6, 8)]));
    fold.apply(&GroupRecord::Gone { before: 5 });
    assert_eq!((fold.floor(), fold.retries().len()), (5, 0));
    fold.apply(&GroupRecord::Gone { before: 6 });
    assert_eq!((fold.floor(), fold.size()), (8, 0));
}

fn group_record() -> impl Strategy<Value = GroupRecord> {
    let offset = || 0..30_u64;
    prop_oneof![
        proptest::collection::vec((offset(), 1..4_u64), 0..4).prop_map(|stretches| {
            GroupRecord::Done(
                stretches
                    .into_iter()
                    .map(|(at, size)| (at, at + size))
                    .collect(),
            )
        }),
        (offset(), 0..5_u32, 0..9_u64).prop_map(|(offset, attempts, due)| GroupRecord::Retry {
            offset,
            attempts,
            due: Time(due)
        }),
        (offset(), 0..5_u32, any::<bool>()).prop_map(|(offset, attempts, rejected)| {
            let reason = if rejected {
                DeadReason::Rejected
            } else {
                DeadReason::Attempts
            };
            GroupRecord::Dead {
                offset,
                attempts,
                reason,
            }
        }),
        (offset(), 0..9_u64).prop_map(|(offset, due)| GroupRecord::Replay {
            offset,
            due: Time(due)
        }),
        offset().prop_map(|before| GroupRecord::Gone { before }),
    ]
}

/// What records amount to, event by event.
#[derive(Default)]
struct Model {
    settled: BTreeSet<u64>,
    open_again: BTreeMap<u64, u32>,
    dead: BTreeSet<u64>,
}

impl Model {
    fn is_settled(&self, offset: u64) -> bool {
        self.settled.contains(&offset) && !self.open_again.contains_key(&offset)
    }

    fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Done(stretches) => {
                for offset in stretches.iter().flat_map(|(first, end)| *first..*end) {
                    self.settled.insert(offset);
                    self.open_again.remove(&offset);
                }
            }
            GroupRecord::Retry {
                offset, attempts, ..
            } => {
                if !self.is_settled(*offset) {
                    let known = self.open_again.entry(*offset).or_default();
                    *known = (*known).max(*attempts);
                }
            }
            GroupRecord::Dead { offset, .. } => {
                if !self.is_settled(*offset) {
                    self.settled.insert(*offset);
                    self.open_again.remove(offset);
                    self.dead.insert(*offset);
                }
            }
            GroupRecord::Replay { offset, .. } => {
                if self.dead.remove(offset) {
                    self.open_again.insert(*offset, 0);
                }
            }
            GroupRecord::Gone { before } => {
                self.settled.extend(0..*before);
                self.open_again = self.open_again.split_off(before);
                self.dead = self.dead.split_off(before);
            }
            GroupRecord::Part(_) => {}
        }
    }
}

/// What a random life does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u8),
    Deliver,
    Ack(usize),
    Nack(usize),
    Reject(usize),
    Wait,
    Log,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Publish),
        6 => Just(Step::Deliver),
        4 => (0..8_usize).prop_map(Step::Ack),
        2 => (0..8_usize).prop_map(Step::Nack),
        1 => (0..8_usize).prop_map(Step::Reject),
        2 => Just(Step::Wait),
        4 => Just(Step::Log),
        1 => Just(Step::Crash),
    ]
}

/// A topic, its log of group records, and members.
struct Life {
    machine: GroupMachine,
    keys: Vec<Option<OrderingKey>>,
    /// Proposed and not yet logged.
    proposed: Vec<GroupRecord>,
    logged: Vec<GroupRecord>,
    leases: Vec<LeaseKey>,
    now: Time,
}

impl Life {
    fn published(&self) -> u64 {
        self.keys.len() as u64
    }

    fn key_of(&self, offset: u64) -> Option<&OrderingKey> {
        self.keys.get(usize::try_from(offset).unwrap())?.as_ref()
    }

    fn fill(&mut self) {
        while self.machine.room() > 0 && self.machine.next() < self.published() {
            let offset = self.machine.next();
            self.machine.take_in(offset, self.key_of(offset).cloned());
        }
    }

    fn log(&mut self) {
        for record in self.proposed.drain(..) {
            self.machine.apply(&record);
            self.logged.push(record);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(name) => {
                let name = ["a", "b"].get(name as usize);
                self.keys.push(name.map(|name| key(name)));
            }
            Step::Deliver => {
                let delivery = self.machine.deliver(self.now);
                if let Some(delivery) = delivery {
                    self.check(&delivery);
                    self.leases.push(delivery.lease);
                }
            }
            Step::Ack(index) => {
                let lease = self.leases.get(index).copied();
                self.proposed
                    .extend(lease.and_then(|lease| self.machine.ack(lease).ok()));
            }
            Step::Nack(index) => {
                let lease = self.leases.get(index).copied();
                let record = lease.and_then(|it| self.machine.nack(it, SECOND, self.now).ok());
                self.proposed.extend(record);
            }
            Step::Reject(index) => {
                let lease = self.leases.get(index).copied();
                self.proposed
                    .extend(lease.and_then(|lease| self.machine.reject(lease).ok()));
            }
            Step::Wait => {
                self.now = self.now + Micros(SECOND.0 / 2);
                self.proposed.extend(self.machine.expire(self.now));
            }
            Step::Log => self.log(),
            Step::Crash => {
                // What was proposed and not logged is lost, and so are all leases.
                self.proposed.clear();
                self.leases.clear();
                let mut fold = GroupFold::new(0);
                for record in &self.logged {
                    fold.apply(record);
                }
                assert_eq!(
                    &fold,
                    self.machine.fold(),
                    "the log says what the machine did"
                );
                self.machine = GroupMachine::new(fold, CONFIG, 0);
            }
        }
        self.fill();
    }

    /// Nothing settled is delivered, and of its key nothing that came earlier is open.
    fn check(&self, delivery: &Delivery) {
        let offset = delivery.lease.offset;
        let fold = self.machine.fold();
        assert!(!fold.is_settled(offset), "{offset} was settled");
        assert!(delivery.attempt <= CONFIG.max_attempts);
        if let Some(key) = self.key_of(offset) {
            let same = |it: &u64| self.key_of(*it) == Some(key);
            let earlier = (0..offset).filter(same).find(|it| !fold.is_settled(*it));
            assert_eq!(earlier, None, "{offset} before it");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_record_is_read_as_it_was_written(record in group_record()) {
        prop_assert_eq!(GroupRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn whatever_bytes_come_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = GroupRecord::decode(&bytes);
    }

    #[test]
    fn the_fold_is_what_the_model_says(records in proptest::collection::vec(group_record(), 0..40)) {
        let (mut fold, mut model) = (GroupFold::new(0), Model::default());
        for record in &records {
            fold.apply(record);
            model.apply(record);
            for offset in 0..35 {
                prop_assert_eq!(fold.is_settled(offset), model.is_settled(offset), "{} after {:?}", offset, record);
            }
            let floor = (0..100).find(|offset| !model.settled.contains(offset)).unwrap();
            prop_assert_eq!(fold.floor(), floor);
            let dead: Vec<u64> = model.dead.iter().copied().collect();
            prop_assert_eq!(fold.dead().keys().copied().collect::<Vec<_>>(), dead);
        }
        // Folded again, with every record twice.
        let mut twice = GroupFold::new(0);
        for record in records.iter().filter(|it| !matches!(it, GroupRecord::Replay { .. } | GroupRecord::Dead { .. })) {
            twice.apply(record);
            let once = twice.clone();
            twice.apply(record);
            prop_assert_eq!(&once, &twice);
        }
    }

    #[test]
    fn nothing_is_left_out_whatever_happens(steps in proptest::collection::vec(step(), 0..120)) {
        let mut life = Life {
            machine: GroupMachine::new(GroupFold::new(0), CONFIG, 0),
            keys: Vec::new(),
            proposed: Vec::new(),
            logged: Vec::new(),
            leases: Vec::new(),
            now: Time(0),
        };
        for step in steps {
            life.step(step);
        }
        // From here on all goes well: every event is settled in the end.
        for _ in 0..2_000 {
            if life.machine.fold().floor() >= life.published() {
                break;
            }
            life.step(Step::Deliver);
            if let Some(lease) = life.leases.pop() {
                life.proposed.extend(life.machine.ack(lease).ok());
            }
            life.step(Step::Wait);
            life.step(Step::Log);
        }
        prop_assert!(life.machine.fold().floor() >= life.published(), "events are stuck");
        prop_assert_eq!(life.machine.fold().retries().len(), 0);
    }
}
