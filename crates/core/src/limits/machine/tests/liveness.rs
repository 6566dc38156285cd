//! Lines whose orders contradict each other: nobody blocks somebody for good, and looks stay few.

use super::harness::*;
use crate::limits::{AcquireRequest, LimitSpec, Mode, Outcome, ReservationId, Step};
use crate::{Micros, Time};
use proptest::prelude::*;

const BUCKETS: [&str; 4] = ["a", "b", "c", "d"];

/// Every bucket is filled by half of the largest amount in a second, or has slots for two of them.
fn specs() -> [(&'static str, LimitSpec); 4] {
    [
        ("a", rate(2, 4)),
        ("b", rate(20, 4)),
        ("c", slots(4)),
        ("d", slots(6)),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Wait(Call),
    Cancel(usize),
    Release(usize),
    Pause(usize, u64),
    Fill(usize),
}

#[derive(Clone, Debug)]
struct Call {
    charges: Vec<(usize, i64)>,
    account: usize,
    batch: bool,
}

impl Call {
    fn request(&self) -> AcquireRequest {
        let (key, weight) = [("", 0), ("x", 1), ("y", 3), ("z", 100)][self.account];
        let named = |(bucket, amount): &(usize, i64)| (BUCKETS[*bucket], *amount);
        let charges: Vec<_> = self.charges.iter().map(named).collect();
        let request = call(&charges).ttl(2 * SECOND).wait(100_000 * SECOND);
        let request = request.fair(key, weight);
        if self.batch { request.batch() } else { request }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let charges = prop::collection::btree_map(0..BUCKETS.len(), 1..5_i64, 1..4);
    let call = (charges, 0..4_usize, prop::bool::weighted(0.2));
    let call = call.prop_map(|(charges, account, batch)| Call {
        charges: charges.into_iter().collect(),
        account,
        batch,
    });
    prop_oneof![
        6 => (0..400 * MS).prop_map(Op::Pass),
        16 => call.prop_map(Op::Wait),
        2 => any::<usize>().prop_map(Op::Cancel),
        2 => any::<usize>().prop_map(Op::Release),
        1 => (0..BUCKETS.len(), 1..SECOND).prop_map(|(bucket, pause)| Op::Pause(bucket, pause)),
        1 => (0..BUCKETS.len()).prop_map(Op::Fill),
    ]
}

fn apply(sim: &mut Sim, held: &mut Vec<ReservationId>, op: &Op) {
    match op {
        Op::Pass(micros) => sim.pass(*micros),
        Op::Wait(call) => {
            if let Step::Done(acquired) = sim.step(&call.request()).unwrap()
                && let Outcome::Granted(Some(granted)) = acquired.outcome
            {
                held.push(granted.id);
            }
        }
        Op::Cancel(which) => {
            let nth = which.checked_rem(sim.machine.waiters.len());
            let ticket = nth.and_then(|nth| sim.machine.waiters.keys().nth(nth).copied());
            if let Some(ticket) = ticket {
                sim.cancel(ticket);
            }
        }
        Op::Release(which) => {
            if let Some(nth) = which.checked_rem(held.len()) {
                let _ = sim.settle(&settle(&held.swap_remove(nth), used(&[])));
            }
        }
        Op::Pause(bucket, pause) => _ = sim.throttle(BUCKETS[*bucket], *pause, None),
        Op::Fill(bucket) => _ = sim.reset(BUCKETS[*bucket], None),
    }
    for (_, answer) in &sim.answers {
        if let Ok(acquired) = &answer.result
            && let Outcome::Granted(Some(granted)) = &acquired.outcome
        {
            held.push(granted.id.clone());
        }
    }
    sim.answers.clear();
    sim.machine.check_nobody_is_forgotten(sim.now);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn everyone_is_served_once_there_is_enough_for_all(
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut sim = Sim::new().declare(&specs());
        let mut held = Vec::new();
        for op in &ops {
            let (waiting, before) = (sim.machine.waiters.len(), sim.machine.looks);
            apply(&mut sim, &mut held, op);
            let looks = sim.machine.looks - before;
            // In a step of 400 ms few are served; each may make a few others look.
            prop_assert!(looks <= 20 * (waiting + 1), "{looks} looks at {waiting} calls");
        }
        // Every amount fits its bucket, and slots come back after two seconds.
        let most = Time(sim.now.mono.0 + 10 * SECOND * ops.len() as u64);
        while !sim.machine.waiters.is_empty() {
            sim.pass(SECOND);
            sim.machine.check_nobody_is_forgotten(sim.now);
            assert!(sim.now.mono < most, "DBG3 {:#?} {:#?}", sim.machine.waiters, sim.machine.store.buckets);
        }
        let ended = sim.answers.iter().all(|(_, answer)| {
            matches!(&answer.result, Ok(acquired) if matches!(acquired.outcome, Outcome::Granted(_)))
        });
        prop_assert!(ended);
    }
}

// The work of a grant does not grow with the lines, however they stand to each other.
#[test]
fn a_grant_costs_few_looks_however_long_the_lines_are() {
    for accounts in [1, 7] {
        let mut sim = Sim::new().declare(&[("a", rate(100, 10)), ("b", rate(250, 10))]);
        assert!(sim.granted(&call(&[("a", 10), ("b", 10)])));
        let calls = 2_000;
        for index in 0..calls {
            let key = format!("{}", index % accounts);
            let request = if index % 3 == 0 {
                call(&[("b", 1)])
            } else {
                call(&[("a", 1), ("b", 2)])
            };
            let request = AcquireRequest {
                mode: Mode::Wait(Micros::from_secs(3_600)),
                ..request.fair(&key, 1)
            };
            assert!(matches!(
                sim.machine.acquire(&request, sim.now).unwrap(),
                Step::Waiting(_)
            ));
        }
        let before = sim.machine.looks;
        sim.now.mono = sim.now.mono + Micros::from_millis(101);
        sim.machine.advance(sim.now);
        let holding = sim.machine.looks - before;
        assert!(
            holding <= 3 * calls,
            "{holding} looks when all begin to hold"
        );
        let (before, mut granted) = (sim.machine.looks, 0);
        while !sim.machine.waiters.is_empty() {
            sim.now.mono = sim.machine.next_due().unwrap();
            sim.machine.advance(sim.now);
            granted += sim.machine.take_answers().len();
        }
        let looks = sim.machine.looks - before;
        assert!(looks <= 10 * granted, "{looks} looks for {granted} grants");
    }
}
