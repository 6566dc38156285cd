//! Random calls, most of them waiting, at random times: nobody is passed, forgotten or left behind.

use super::harness::*;
use crate::limits::machine::Ticket;
use crate::limits::{
    AcquireRequest, Answer, DeleteLimit, FairShare, LevelPolicy, LimitSpec, MachineConfig, Outcome,
    ReservationId, SetLimit, Step,
};
use crate::{Micros, RequestId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const BUCKETS: [&str; 6] = ["r", "r/k", "w", "c", "s", "d"];

fn spec_of(bucket: &str) -> LimitSpec {
    match bucket {
        "r" | "r/k" => rate(10, 20),
        "w" => window(20),
        "c" => minute(200),
        _ => slots(4),
    }
}

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    /// The driver comes late.
    Stall(u64),
    Acquire(Call),
    Cancel(usize),
    /// The next answer does not reach its caller.
    TakeBack,
    Settle(usize, i64),
    Extend(usize, u64),
    Reset(usize),
    Throttle(usize, u64),
    Respec(usize, bool),
    Delete,
}

#[derive(Clone, Debug)]
struct Call {
    charges: Vec<(usize, i64)>,
    wait: Option<u64>,
    batch: bool,
    ttl: Option<u64>,
    id: Option<u8>,
    /// On whose account it waits.
    fair: u8,
}

const WEIGHTS: [u32; 4] = [0, 1, 3, 1_000];

impl Call {
    fn share(&self) -> FairShare {
        let key = ["", "a", "b", "c"][usize::from(self.fair)];
        FairShare::new(key, WEIGHTS[usize::from(self.fair)]).unwrap()
    }
}

fn acquire(accounts: u8) -> impl Strategy<Value = Call> {
    let charges = prop::collection::btree_map(0..BUCKETS.len(), 1..5_i64, 1..4);
    let wait = prop::option::weighted(0.8, 0..4 * SECOND);
    let ttl = prop::option::of(1..2 * SECOND);
    let id = prop::option::weighted(0.2, 0..6_u8);
    let batch = prop::bool::weighted(0.3);
    (charges, wait, batch, ttl, id, 0..accounts).prop_map(
        |(charges, wait, batch, ttl, id, fair)| Call {
            charges: charges.into_iter().collect(),
            wait,
            batch,
            ttl,
            id,
            fair,
        },
    )
}

/// Of calls of so many accounts.
fn op(accounts: u8) -> impl Strategy<Value = Op> {
    let pass = prop_oneof![
        0..3_u64,
        0..30 * MS,
        0..300 * MS,
        Just(100 * MS),
        0..3 * SECOND
    ];
    prop_oneof![
        10 => pass.prop_map(Op::Pass),
        6 => (0..5 * SECOND).prop_map(Op::Stall),
        20 => acquire(accounts).prop_map(Op::Acquire),
        4 => any::<usize>().prop_map(Op::Cancel),
        2 => Just(Op::TakeBack),
        4 => (any::<usize>(), 0..10_i64).prop_map(|(which, used)| Op::Settle(which, used)),
        2 => (any::<usize>(), 1..2 * SECOND).prop_map(|(which, ttl)| Op::Extend(which, ttl)),
        1 => (0..BUCKETS.len()).prop_map(Op::Reset),
        1 => (0..BUCKETS.len(), 1..SECOND).prop_map(|(bucket, pause)| Op::Throttle(bucket, pause)),
        1 => (0..BUCKETS.len(), any::<bool>()).prop_map(|(bucket, low)| Op::Respec(bucket, low)),
        1 => Just(Op::Delete),
    ]
}

/// The machine and what the test knows about the calls it made.
struct Run {
    sim: Sim,
    /// Waiting calls: what they want, and on whose account.
    waiting: BTreeMap<Ticket, (Vec<usize>, u8)>,
    /// Granted ones, with what they took.
    granted: Vec<Answer>,
    reservations: Vec<ReservationId>,
    answered: usize,
}

impl Run {
    fn new() -> Self {
        let config = MachineConfig {
            max_waiters: 30,
            max_reservations: 200,
            ..MachineConfig::default()
        };
        let mut sim = Sim::with(config);
        sim.set(&set_limit("d", spec_of("d")));
        Self {
            sim,
            waiting: BTreeMap::new(),
            granted: Vec::new(),
            reservations: Vec::new(),
            answered: 0,
        }
    }

    fn request(call_: &Call) -> AcquireRequest {
        let charges: Vec<_> = call_
            .charges
            .iter()
            .map(|(bucket, n)| (BUCKETS[*bucket], *n))
            .collect();
        let mut request = call(&charges);
        for (charge, (bucket, _)) in request.charges.iter_mut().zip(&call_.charges) {
            charge.spec = Some(spec_of(BUCKETS[*bucket]));
        }
        request.fair = call_.share();
        request.reservation_ttl = call_.ttl.map(Micros);
        request.request_id = call_
            .id
            .map(|id| RequestId::new(format!("{id}"), "id").unwrap());
        let request = if call_.batch {
            request.batch()
        } else {
            request
        };
        match call_.wait {
            Some(wait) => request.wait(wait),
            None => request,
        }
    }

    fn acquire(&mut self, call_: &Call) {
        let before = self.sim.machine.picture(self.sim.now);
        let request = Self::request(call_);
        match self.sim.step(&request) {
            Ok(Step::Waiting(ticket)) => {
                let buckets = call_.charges.iter().map(|(bucket, _)| *bucket).collect();
                self.waiting.insert(ticket, (buckets, call_.fair));
            }
            Ok(Step::Done(acquired)) => match acquired.outcome {
                Outcome::Granted(Some(granted)) => self.reservations.push(granted.id),
                Outcome::Denied(wait) => {
                    assert!(wait > Micros::ZERO);
                    // A remembered id is new state; a denied call has no other.
                    if request.request_id.is_none() && self.answered == self.sim.answers.len() {
                        assert_eq!(self.sim.machine.picture(self.sim.now), before);
                    }
                }
                _ => {}
            },
            Err(error) => assert!(error.retry_after.is_some() || call_.id.is_some(), "{error}"),
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Pass(micros) => self.sim.pass(*micros),
            Op::Stall(micros) => self.sim.stall(*micros),
            Op::Acquire(call) => self.acquire(call),
            Op::Cancel(which) => {
                let ticket = which.checked_rem(self.waiting.len());
                let ticket = ticket.and_then(|nth| self.waiting.keys().nth(nth).copied());
                if let Some(ticket) = ticket {
                    self.waiting.remove(&ticket);
                    self.sim.cancel(ticket);
                }
            }
            Op::TakeBack => {
                if let Some(receipt) = self.granted.pop().and_then(|answer| answer.receipt) {
                    self.sim.machine.take_back(receipt, self.sim.now);
                    self.sim.collect();
                }
            }
            Op::Settle(which, amount) => {
                if let Some(id) = self.reservation(*which) {
                    let usage = match amount {
                        0 => crate::limits::Usage::RefundAll,
                        amount => used(&[("r", *amount)]),
                    };
                    let _ = self.sim.settle(&settle(&id, usage));
                }
            }
            Op::Extend(which, ttl) => {
                if let Some(id) = self.reservation(*which) {
                    let mut request = extend(&id, *ttl, &[("w", 1), ("s", 1)]);
                    for (charge, bucket) in request.charges.iter_mut().zip(["w", "s"]) {
                        charge.spec = Some(spec_of(bucket));
                    }
                    let _ = self.sim.extend(&request);
                }
            }
            other => self.administer(other),
        }
        self.review(matches!(op, Op::Stall(_)));
    }

    fn administer(&mut self, op: &Op) {
        match op {
            Op::Reset(bucket) | Op::Throttle(bucket, _)
                if self
                    .sim
                    .machine
                    .peek(&bucket_of(*bucket), &key(""), self.sim.now)
                    .is_err() => {}
            Op::Reset(bucket) => {
                self.sim.reset(bucket_of(*bucket).as_str(), None);
            }
            Op::Throttle(bucket, pause) => {
                self.sim
                    .throttle(bucket_of(*bucket).as_str(), *pause, Some(2));
            }
            Op::Respec(bucket, low) if BUCKETS[*bucket] == "d" => {
                let spec = if *low { slots(2) } else { slots(4) };
                self.sim.set(&SetLimit {
                    level_policy: LevelPolicy::KeepAmount,
                    ..set_limit("d", spec)
                });
            }
            Op::Delete => {
                let delete = DeleteLimit {
                    namespace: namespace(),
                    name: name("r"),
                    request_id: None,
                };
                self.sim
                    .machine
                    .delete_limit(&delete, self.sim.now)
                    .unwrap();
                self.sim.collect();
            }
            _ => {}
        }
    }

    fn reservation(&self, which: usize) -> Option<ReservationId> {
        let nth = which.checked_rem(self.reservations.len())?;
        self.reservations.get(nth).cloned()
    }

    /// Looks at the answers that came: each waiting call gets one, and nobody was passed. A driver that
    /// comes late serves before some begin to hold.
    fn review(&mut self, late: bool) {
        for (at, answer) in std::mem::take(&mut self.sim.answers) {
            let (buckets, account) = self
                .waiting
                .remove(&answer.ticket)
                .expect("one answer for each call");
            let Ok(acquired) = &answer.result else {
                continue;
            };
            if let Outcome::TimedOut {
                retry_after,
                position,
            } = acquired.outcome
            {
                assert!(retry_after > Micros::ZERO && position > 0);
            }
            if let Outcome::Granted(granted) = &acquired.outcome {
                self.reservations
                    .extend(granted.clone().map(|granted| granted.id));
                let before = self.waiting.range(..answer.ticket);
                let passed = before.clone().find(|(ticket, (wants, other))| {
                    // Other accounts have turns of their own.
                    let ranks = *other == account || ticket.priority < answer.ticket.priority;
                    // A call of one charge claims its bucket all the time, others once they hold.
                    let holds = self.sim.machine.waiters.get(ticket).is_some_and(|waiter| {
                        waiter.wants.len() == 1 || (!late && waiter.holding && waiter.hold_at < at)
                    });
                    ranks && holds && wants.iter().any(|bucket| buckets.contains(bucket))
                });
                assert!(passed.is_none(), "{:?} passed {passed:?}", answer.ticket);
                self.granted.push(answer);
            }
        }
        let known: BTreeSet<_> = self.waiting.keys().copied().collect();
        let waiters: BTreeSet<_> = self.sim.machine.waiters.keys().copied().collect();
        assert_eq!(known, waiters);
        self.sim.machine.check_nobody_is_forgotten(self.sim.now);
        self.answered = self.sim.answers.len();
    }
}

fn bucket_of(index: usize) -> crate::Name {
    bucket(BUCKETS[index]).0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nobody_is_passed_forgotten_or_left_behind(
        ops in prop_oneof![
            prop::collection::vec(op(1), 1..120),
            prop::collection::vec(op(4), 1..120),
        ],
    ) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
        }
        let delete = DeleteLimit {
            namespace: namespace(),
            name: name("d"),
            request_id: None,
        };
        run.sim.machine.delete_limit(&delete, run.sim.now).unwrap();
        run.sim.collect();
        run.review(false);
        run.sim.pass(800 * SECOND);
        run.review(false);
        prop_assert!(run.waiting.is_empty());
        prop_assert!(run.sim.machine.is_empty(), "{:?}", run.sim.machine);
    }
}
