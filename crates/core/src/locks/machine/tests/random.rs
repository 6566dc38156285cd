//! Random calls on the machine and on the model: at every moment the same parties hold and wait.

use super::super::Step;
use super::harness::{Build, SECOND, Sim, call, name};
use super::model::{Model, Party, Want};
use crate::locks::{AcquireLocks, LeaseId, LockMode, LockOutcome, Ticket, Token};
use proptest::prelude::*;
use std::collections::HashMap;

#[derive(Clone, Debug)]
enum Op {
    Acquire {
        wants: Vec<Want>,
        ttl: u64,
        wait: Option<u64>,
    },
    Release(usize),
    Keep(usize),
    Cancel(usize),
    Force(usize),
    Pass(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let mode = prop_oneof![2 => Just(LockMode::Exclusive), 1 => Just(LockMode::Shared)];
    let wants = proptest::collection::btree_map(0..4_u8, mode, 1..4);
    // Few distinct times, so that deadlines meet.
    let span = (1..8_u64).prop_map(|tenths| tenths * SECOND / 10);
    let wait = proptest::option::weighted(0.8, span.clone());
    let acquire = (wants, span.clone(), wait).prop_map(|(wants, ttl, wait)| Op::Acquire {
        wants: wants.into_iter().collect(),
        ttl,
        wait,
    });
    let op = prop_oneof![
        5 => acquire,
        2 => any::<usize>().prop_map(Op::Release),
        2 => any::<usize>().prop_map(Op::Keep),
        1 => any::<usize>().prop_map(Op::Cancel),
        1 => any::<usize>().prop_map(Op::Force),
        3 => span.prop_map(Op::Pass),
    ];
    proptest::collection::vec(op, 1..60)
}

/// Both, side by side.
struct Pair {
    sim: Sim,
    model: Model,
    arrivals: u64,
    leases: HashMap<u64, LeaseId>,
    tickets: HashMap<u64, Ticket>,
    last: Token,
}

impl Pair {
    fn now(&self) -> u64 {
        self.sim.now.mono.0
    }

    fn acquire(&mut self, wants: Vec<Want>, ttl: u64, wait: Option<u64>) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let ends = self.now() + wait.unwrap_or(ttl);
        let party = Party {
            arrival,
            wants,
            ends,
            ttl,
        };
        let mut acquire = request(&party.wants).ttl(ttl);
        if let Some(wait) = wait {
            acquire = acquire.wait(wait);
        }
        let admitted = self.model.admits(&party);
        match self.sim.step(&acquire).unwrap() {
            Step::Done(acquired) => match acquired.outcome {
                LockOutcome::Granted(grant) => {
                    assert!(admitted, "passed somebody: {party:?}");
                    self.leases.insert(arrival, grant.lease);
                    self.model.leases.push(Party {
                        ends: self.now() + ttl,
                        ..party
                    });
                    self.note(&grant.locks);
                }
                other => assert!(!admitted && wait.is_none(), "{other:?}"),
            },
            Step::Waiting(ticket, _) => {
                assert!(!admitted, "waits for nobody: {party:?}");
                self.tickets.insert(arrival, ticket);
                self.model.waiting.push(party);
            }
        }
    }

    /// A token is higher than all before, or that of a hold which is shared.
    fn note(&mut self, locks: &[crate::locks::GrantedLock]) {
        let newest = locks.iter().map(|lock| lock.token).max().unwrap();
        for lock in locks {
            let shared = lock.mode == LockMode::Shared;
            assert!(
                lock.token > self.last || shared,
                "{lock:?} after {:?}",
                self.last
            );
        }
        self.last = self.last.max(newest);
    }

    /// The arrival of one that holds, or waits.
    fn pick(parties: &[Party], choice: usize) -> Option<u64> {
        let place = choice.checked_rem(parties.len())?;
        Some(parties[place].arrival)
    }

    fn apply(&mut self, op: Op) {
        let now = self.now();
        match op {
            Op::Acquire { wants, ttl, wait } => self.acquire(wants, ttl, wait),
            Op::Release(choice) => {
                if let Some(arrival) = Self::pick(&self.model.leases, choice) {
                    self.sim
                        .machine
                        .release(self.leases[&arrival], self.sim.now)
                        .unwrap();
                    self.model.remove(arrival, now);
                }
            }
            Op::Keep(choice) => {
                if let Some(arrival) = Self::pick(&self.model.leases, choice) {
                    self.sim
                        .machine
                        .keep_alive(self.leases[&arrival], self.sim.now)
                        .unwrap();
                    let mut leases = self.model.leases.iter_mut();
                    let lease = leases.find(|it| it.arrival == arrival).unwrap();
                    lease.ends = now + lease.ttl;
                }
            }
            Op::Cancel(choice) => {
                if let Some(arrival) = Self::pick(&self.model.waiting, choice) {
                    self.sim
                        .machine
                        .cancel(self.tickets[&arrival], self.sim.now);
                    self.model.remove(arrival, now);
                }
            }
            Op::Force(choice) => self.force(choice),
            Op::Pass(span) => {
                self.sim.pass(span);
                self.model.pass_to(now + span);
            }
        }
        self.sim.collect();
        self.compare();
    }

    fn force(&mut self, choice: usize) {
        let Some(arrival) = Self::pick(&self.model.leases, choice) else {
            return;
        };
        let lease = &self.sim.machine.leases[&self.leases[&arrival].number];
        let lock = lease.locks[0].clone();
        let force = super::rules::force(lock.name.as_str(), lock.token);
        let ended = self
            .sim
            .machine
            .force_release(&force, self.sim.now)
            .unwrap();
        let wanted = |party: &Party| {
            party
                .wants
                .iter()
                .any(|(it, _)| spell(*it) == lock.name.as_str())
        };
        let victims: Vec<u64> = self
            .model
            .leases
            .iter()
            .filter(|it| wanted(it))
            .map(|it| it.arrival)
            .collect();
        assert_eq!(victims.len(), ended);
        self.model
            .leases
            .retain(|party| !victims.contains(&party.arrival));
        self.model.serve(self.now());
    }

    fn compare(&mut self) {
        for effects in std::mem::take(&mut self.sim.effects) {
            for answer in effects.answers {
                let mut tickets = self.tickets.iter();
                let (arrival, _) = tickets.find(|(_, it)| **it == answer.ticket).unwrap();
                if let LockOutcome::Granted(grant) = answer.result.unwrap().outcome {
                    self.leases.insert(*arrival, grant.lease);
                    self.note(&grant.locks);
                }
            }
        }
        let holds = |id: &LeaseId| self.sim.machine.leases.contains_key(&id.number);
        let mut holding: Vec<u64> = self
            .leases
            .iter()
            .filter(|(_, id)| holds(id))
            .map(|(arrival, _)| *arrival)
            .collect();
        holding.sort_unstable();
        assert_eq!(holding, self.model.holding());
        let waits = |ticket: &Ticket| self.sim.machine.waiters.contains_key(ticket);
        let waiting = self.tickets.values().filter(|ticket| waits(ticket)).count();
        assert_eq!(waiting, self.model.waiting.len());
    }
}

fn spell(lock: u8) -> String {
    format!("lock-{lock}")
}

fn request(wants: &[Want]) -> AcquireLocks {
    let spelled = wants.iter().map(|(lock, mode)| match mode {
        LockMode::Exclusive => spell(*lock),
        LockMode::Shared => format!("{}*", spell(*lock)),
    });
    let spelled: Vec<String> = spelled.collect();
    let spelled: Vec<&str> = spelled.iter().map(String::as_str).collect();
    call(&spelled)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn at_every_moment_the_same_parties_hold_and_wait_as_in_the_model(ops in ops()) {
        let mut pair = Pair {
            sim: Sim::new(),
            model: Model::default(),
            arrivals: 0,
            leases: HashMap::new(),
            tickets: HashMap::new(),
            last: Token::NONE,
        };
        for op in ops {
            pair.apply(op);
        }
        // In the end all leases and waits are over, and what is remembered is forgotten.
        pair.sim.pass(1_000 * SECOND);
        prop_assert!(pair.sim.machine.is_empty());
        prop_assert_eq!(pair.sim.machine.status().locks, 0);
        let free = pair.sim.machine.inspect(&name("lock-0"), pair.sim.now);
        prop_assert_eq!(free.holder_count, 0);
    }
}
