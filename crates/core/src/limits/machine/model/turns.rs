//! Turns by the book: one list of waiting calls, looked through for whoever is next.
//!
//! Each call wants one bucket, so that buckets do not depend on each other and the rules leave nothing
//! open: the model and the machine must grant the same calls at the same microsecond.

use super::bucket::{Event, Model};
use crate::limits::machine::Ticket;
use crate::limits::machine::tests::harness::*;
use crate::limits::{LimitSpec, Outcome, Step};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// All times are multiples of this, and all refills of whole units happen at such times.
const TICK: u64 = 10 * MS;
const BUCKETS: [&str; 3] = ["small", "large", "slots"];
const KEYS: [(&str, u32); 4] = [("", 0), ("a", 1), ("b", 3), ("c", 7)];

fn spec(bucket: usize) -> LimitSpec {
    match bucket {
        0 => rate(10, 4),
        1 => rate(10_000, 20_000),
        _ => slots(4),
    }
}

/// Units that a call of size 1 takes.
fn unit(bucket: usize) -> i64 {
    if bucket == 1 { 5_000 } else { 1 }
}

#[derive(Clone, Debug)]
struct Call {
    bucket: usize,
    batch: bool,
    key: usize,
    amount: i64,
}

#[derive(Clone, Debug)]
struct Waiting {
    call: Call,
    arrival: usize,
    since: u64,
    deadline: u64,
}

/// Of one bucket and class.
type Place = (usize, bool);

/// How a call ended: when it was granted, or its position when it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Granted(u64),
    TimedOut(u64, u32),
}

#[derive(Clone, Default)]
struct Turns {
    levels: Vec<Model>,
    waiting: Vec<Waiting>,
    time: BTreeMap<Place, u64>,
    tags: BTreeMap<(Place, usize), u64>,
    ends: BTreeMap<usize, End>,
}

impl Turns {
    fn new() -> Self {
        let levels = (0..BUCKETS.len()).map(|bucket| Model::new(spec(bucket)));
        Self {
            levels: levels.collect(),
            ..Self::default()
        }
    }

    /// Class, start, arrival.
    fn rank(&self, it: &Waiting) -> (bool, u64, usize) {
        let place = (it.call.bucket, it.call.batch);
        let tag = self.tags.get(&(place, it.call.key)).copied();
        (it.call.batch, it.since.max(tag.unwrap_or(0)), it.arrival)
    }

    fn head(&self, bucket: usize) -> Option<Waiting> {
        let line = self.waiting.iter().filter(|it| it.call.bucket == bucket);
        line.min_by_key(|it| self.rank(it)).cloned()
    }

    fn fits(&self, call: &Call, now: u64) -> bool {
        self.levels[call.bucket].fits(call.amount, now).0
    }

    /// Serves whoever is next, as long as the bucket suffices.
    fn serve(&mut self, now: u64) {
        for bucket in 0..BUCKETS.len() {
            while let Some(head) = self.head(bucket)
                && self.fits(&head.call, now)
            {
                self.take(&head.call, now);
                self.turn(&head);
                self.leave(head.arrival);
                self.ends.insert(head.arrival, End::Granted(now));
            }
        }
    }

    fn take(&mut self, call: &Call, now: u64) {
        let level = &mut self.levels[call.bucket];
        level.events.push((now, Event::Take(call.amount)));
        if call.bucket == 2 {
            level.held.push((0, call.amount, now + SECOND));
        }
    }

    /// Moves the tag of a call's key, and the virtual time.
    fn turn(&mut self, it: &Waiting) {
        let place = (it.call.bucket, it.call.batch);
        let capacity = self.levels[it.call.bucket].spec().capacity().max(4_096);
        let cost =
            ((i128::from(it.call.amount) << 32) + i128::from(capacity) - 1) / i128::from(capacity);
        let cost = u64::try_from(cost).unwrap();
        let weight = |key: usize| u64::from(KEYS[key].1.max(1));
        let mut keys: Vec<usize> = self
            .waiting
            .iter()
            .filter(|other| (other.call.bucket, other.call.batch) == place)
            .map(|other| other.call.key)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let all: u64 = keys.into_iter().map(weight).sum();
        let start = self.rank(it).1;
        let step = (cost / weight(it.call.key)).max(1);
        self.tags.insert((place, it.call.key), start + step);
        let time = self.time.entry(place).or_default();
        *time = start.max(*time + cost.div_ceil(all).max(1));
    }

    fn leave(&mut self, arrival: usize) {
        self.waiting.retain(|it| it.arrival != arrival);
        // A place where nobody waits has no past.
        let waits = |place: Place| {
            let mut places = self
                .waiting
                .iter()
                .map(|it| (it.call.bucket, it.call.batch));
            places.any(|other| other == place)
        };
        self.time.retain(|place, _| waits(*place));
        self.tags.retain(|(place, _), _| waits(*place));
    }

    /// Ends the calls whose time is over, each after all that could be granted.
    fn end(&mut self, now: u64) {
        self.serve(now);
        let mut due: Vec<_> = self
            .waiting
            .iter()
            .filter(|it| it.deadline <= now)
            .cloned()
            .collect();
        due.sort_by_key(|it| (it.deadline, it.call.batch, it.arrival));
        for it in due {
            if self.ends.contains_key(&it.arrival) {
                continue;
            }
            let position = self.position(&it);
            self.leave(it.arrival);
            self.ends.insert(it.arrival, End::TimedOut(now, position));
            self.serve(now);
        }
    }

    /// How many grants there are up to this call, if units came without end.
    fn position(&self, it: &Waiting) -> u32 {
        let mut all = self.clone();
        for position in 1.. {
            let head = all.head(it.call.bucket).unwrap();
            if head.arrival == it.arrival {
                return position;
            }
            all.turn(&head);
            all.leave(head.arrival);
        }
        unreachable!("it waits");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    /// Asks, and waits so many ticks if need be.
    Ask(Call, Option<u64>),
    Cancel(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let call = (
        0..BUCKETS.len(),
        prop::bool::weighted(0.2),
        0..KEYS.len(),
        1..5_i64,
    );
    let call = call.prop_map(|(bucket, batch, key, size)| Call {
        bucket,
        batch,
        key,
        amount: size * unit(bucket),
    });
    prop_oneof![
        3 => (0..40_u64).prop_map(Op::Pass),
        12 => (call, prop::option::weighted(0.9, 0..300_u64)).prop_map(|(call, wait)| Op::Ask(call, wait)),
        1 => any::<usize>().prop_map(Op::Cancel),
    ]
}

/// The machine and the model.
struct Pair {
    sim: Sim,
    model: Turns,
    tickets: Vec<Option<Ticket>>,
}

impl Pair {
    fn new() -> Self {
        let specs = [0, 1, 2].map(|bucket| (BUCKETS[bucket], spec(bucket)));
        Self {
            sim: Sim::new().declare(&specs),
            model: Turns::new(),
            tickets: Vec::new(),
        }
    }

    fn now(&self) -> u64 {
        self.sim.now.mono.0 - 1
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Pass(ticks) => {
                for _ in 0..*ticks {
                    self.sim.pass(TICK);
                    self.model.end(self.now());
                }
            }
            Op::Ask(call, wait) => self.ask(call, wait.map(|ticks| ticks * TICK)),
            Op::Cancel(which) => {
                if let Some(nth) = which.checked_rem(self.model.waiting.len()) {
                    let arrival = self.model.waiting[nth].arrival;
                    self.model.leave(arrival);
                    self.model.serve(self.now());
                    self.sim.cancel(self.tickets[arrival].unwrap());
                }
            }
        }
        self.compare();
    }

    fn ask(&mut self, it: &Call, wait: Option<u64>) {
        let (key, weight) = KEYS[it.key];
        let mut request = call(&[(BUCKETS[it.bucket], it.amount)])
            .fair(key, weight)
            .ttl(SECOND);
        request = if it.batch { request.batch() } else { request };
        let (now, arrival) = (self.now(), self.tickets.len());
        let Some(wait) = wait else {
            let better =
                |other: &Waiting| other.call.bucket == it.bucket && other.call.batch <= it.batch;
            let fits = !self.model.waiting.iter().any(better) && self.model.fits(it, now);
            assert_eq!(self.sim.granted(&request), fits, "{it:?}");
            if fits {
                self.model.take(it, now);
            }
            return;
        };
        let place = (it.bucket, it.batch);
        self.model.waiting.push(Waiting {
            call: it.clone(),
            arrival,
            since: self.model.time.get(&place).copied().unwrap_or(0),
            deadline: now + wait,
        });
        self.model.serve(now);
        let ticket = match self.sim.step(&request.wait(wait)).unwrap() {
            Step::Waiting(ticket) => Some(ticket),
            Step::Done(acquired) => {
                assert!(
                    matches!(acquired.outcome, Outcome::Granted(_)),
                    "{acquired:?}"
                );
                assert_eq!(self.model.ends.remove(&arrival), Some(End::Granted(now)));
                None
            }
        };
        self.tickets.push(ticket);
        if wait == 0 {
            self.sim.pass(0);
            self.model.end(now);
        }
    }

    /// The same calls have ended, in the same way at the same time.
    fn compare(&mut self) {
        let ended: BTreeMap<usize, End> = self
            .sim
            .answers
            .drain(..)
            .map(|(at, answer)| {
                let at = at.0 - 1;
                let end = match answer.result.unwrap().outcome {
                    Outcome::Granted(_) => End::Granted(at),
                    Outcome::TimedOut { position, .. } => End::TimedOut(at, position),
                    other => panic!("{other:?}"),
                };
                let mut tickets = self.tickets.iter();
                let arrival = tickets.position(|it| *it == Some(answer.ticket));
                (arrival.unwrap(), end)
            })
            .collect();
        assert_eq!(ended, std::mem::take(&mut self.model.ends));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_machine_takes_turns_as_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.apply(op);
        }
        pair.apply(&Op::Pass(310));
        prop_assert!(pair.model.waiting.is_empty());
        prop_assert_eq!(pair.sim.machine.status().waiters, 0);
    }
}
