//! Fair keys over thousands of calls: what each key gets, whatever the others do.

use super::harness::*;
use crate::Micros;
use crate::limits::machine::shares::Shares;
use crate::limits::{AcquireRequest, FairShare, MachineConfig, Outcome, Step, Ticket};
use std::collections::BTreeMap;

/// Calls of several keys against one bucket, and what each key was granted.
struct Demand {
    sim: Sim,
    granted: BTreeMap<String, i64>,
    /// The key and amount of each waiting call.
    asked: BTreeMap<Ticket, (String, i64)>,
}

impl Demand {
    /// `amount` units a second, none left.
    fn new(amount: i64, burst: i64) -> Self {
        let mut sim = Sim::new().declare(&[
            ("l", rate(amount, burst)),
            ("plenty", rate(1_000_000, 1_000_000)),
        ]);
        assert!(sim.granted(&call(&[("l", burst)])));
        Self {
            sim,
            granted: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    fn ask(&mut self, key: &str, weight: u32, request: AcquireRequest) {
        let amount = request.charges[0].amount();
        let request = request.fair(key, weight);
        match self.sim.machine.acquire(&request, self.sim.now).unwrap() {
            Step::Waiting(ticket) => _ = self.asked.insert(ticket, (key.to_owned(), amount)),
            Step::Done(acquired) => {
                let granted = matches!(acquired.outcome, Outcome::Granted(_));
                *self.granted.entry(key.to_owned()).or_default() += amount * i64::from(granted);
            }
        }
    }

    fn waiting(&self, key: &str) -> usize {
        self.asked
            .values()
            .filter(|(other, _)| other == key)
            .count()
    }

    /// As [`Sim::pass`], without the full check of every step.
    fn pass(&mut self, micros: u64) {
        let end = self.sim.now.mono.0 + micros;
        loop {
            let due = self.sim.machine.next_due().map_or(end, |due| due.0);
            let now = due.clamp(self.sim.now.mono.0, end);
            self.sim.now.wall.0 += now - self.sim.now.mono.0;
            self.sim.now.mono.0 = now;
            self.sim.machine.advance(self.sim.now);
            for answer in self.sim.machine.take_answers() {
                let (key, amount) = self.asked.remove(&answer.ticket).unwrap();
                let granted = matches!(answer.result.unwrap().outcome, Outcome::Granted(_));
                *self.granted.entry(key).or_default() += amount * i64::from(granted);
            }
            if now == end {
                return;
            }
        }
    }

    /// Jain's index of what these keys were granted, each by its weight: 1 is perfectly fair.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn jain(&self, keys: &[(&str, u32)]) -> f64 {
        let share = |(key, weight): &(&str, u32)| self.granted[*key] as f64 / f64::from(*weight);
        let shares: Vec<f64> = keys.iter().map(share).collect();
        let sum: f64 = shares.iter().sum();
        let squares: f64 = shares.iter().map(|share| share * share).sum();
        sum * sum / (shares.len() as f64 * squares)
    }
}

fn waits(amount: i64, seconds: u64) -> AcquireRequest {
    call(&[("l", amount)]).wait(seconds * SECOND)
}

#[test]
fn equal_and_unequal_demand_above_the_limit_gets_equal_shares() {
    // Calls in hand of each key, and how much each takes.
    for (calls, amounts) in [
        ([5, 5, 5, 5], [1, 1, 1, 1]),
        ([2, 10, 40, 200], [1, 1, 1, 1]),
        ([4, 4, 4, 4], [1, 3, 7, 10]),
    ] {
        let keys = ["a", "b", "c", "d"];
        let mut demand = Demand::new(100, 20);
        for _ in 0..1_000 {
            for (index, key) in keys.iter().enumerate() {
                while demand.waiting(key) < calls[index] {
                    demand.ask(key, 1, waits(amounts[index], 3_600));
                }
            }
            demand.pass(20 * MS);
        }
        let jain = demand.jain(&keys.map(|key| (key, 1)));
        assert!(jain >= 0.99, "{jain}: {:?}", demand.granted);
        let total: i64 = demand.granted.values().sum();
        assert!(
            (1_980..=2_000).contains(&total),
            "nothing is wasted: {total}"
        );
    }
}

#[test]
fn shares_follow_weights() {
    let keys = [("a", 1), ("b", 3), ("c", 10), ("d", 986)];
    let mut demand = Demand::new(1_000, 20);
    for _ in 0..1_500 {
        for (key, weight) in keys {
            while demand.waiting(key) < 30 {
                demand.ask(key, weight, waits(1, 3_600));
            }
        }
        demand.pass(20 * MS);
    }
    let jain = demand.jain(&keys);
    assert!(jain >= 0.99, "{jain}: {:?}", demand.granted);
}

#[test]
fn bursts_get_what_steady_demand_gets() {
    let keys = ["steady", "bursts", "floods"];
    let mut demand = Demand::new(100, 10);
    for second in 0..200 {
        let mut ask =
            |key: &str, count| (0..count).for_each(|_| demand.ask(key, 1, waits(1, 3_600)));
        ask("steady", 40);
        ask("bursts", if second % 5 == 0 { 200 } else { 0 });
        ask("floods", if second % 20 == 0 { 1_000 } else { 0 });
        demand.pass(SECOND);
    }
    let jain = demand.jain(&keys.map(|key| (key, 1)));
    assert!(jain >= 0.99, "{jain}: {:?}", demand.granted);
}

#[test]
fn calls_that_time_out_do_not_cost_their_key_its_share() {
    // Both ask ten times what they get; the calls of one wait a second, those of the other a minute.
    let keys = ["hasty", "patient"];
    let mut demand = Demand::new(100, 10);
    for _ in 0..5_000 {
        demand.ask("hasty", 1, waits(1, 1));
        if demand.waiting("patient") < 200 {
            demand.ask("patient", 1, waits(1, 60));
        }
        demand.pass(2 * MS);
    }
    let jain = demand.jain(&keys.map(|key| (key, 1)));
    assert!(jain >= 0.99, "{jain}: {:?}", demand.granted);
}

#[test]
fn keys_share_the_limit_that_is_scarce_whatever_else_their_calls_hold() {
    let keys = ["a", "b"];
    let mut demand = Demand::new(100, 10);
    for _ in 0..1_000 {
        for (key, calls) in [("a", 200), ("b", 5)] {
            while demand.waiting(key) < calls {
                let both = call(&[("l", 1), ("plenty", 10)]).wait(3_600 * SECOND);
                demand.ask(key, 1, both);
            }
        }
        demand.pass(20 * MS);
    }
    let jain = demand.jain(&keys.map(|key| (key, 1)));
    assert!(jain >= 0.99, "{jain}: {:?}", demand.granted);
}

#[test]
fn a_key_is_not_starved_by_a_stream_of_keys_never_seen_before() {
    let mut demand = Demand::new(100, 10);
    // Two hundred new keys a second, for a hundred units: the line grows all the time.
    for number in 0..4_000 {
        demand.ask(&format!("new-{number}"), 1, waits(1, 5));
        while demand.waiting("old") < 2 {
            demand.ask("old", 1, waits(1, 3_600));
        }
        demand.pass(5 * MS);
    }
    let old = demand.granted["old"];
    assert!(
        old >= 4,
        "a new key gets one unit, the old one {old} in 20 s"
    );
}

/// Nobody holds what it does not lack.
fn without_holds() -> Sim {
    let config = MachineConfig {
        hold_after: Micros::from_secs(100_000),
        ..MachineConfig::default()
    };
    let mut sim = Sim::with(config).declare(&[("l", rate(10, 10)), ("shut", slots(1))]);
    sim.reserve(&call(&[("shut", 1)]).ttl(3_600 * SECOND));
    assert!(sim.granted(&call(&[("l", 10)])));
    sim
}

#[test]
fn a_call_that_passes_others_takes_a_turn() {
    let mut sim = without_holds();
    let one = |key| waits(1, 60).fair(key, 1);
    let stuck = call(&[("shut", 1), ("l", 1)]).wait(3_600 * SECOND);
    sim.wait(&stuck.fair("stuck", 1));
    let small = sim.wait(&one("a"));
    let large = sim.wait(&waits(10, 60).fair("a", 1));
    sim.pass(150 * MS);
    assert_eq!(sim.granted_at(small), Some(100 * MS));
    // Half of what `a` got, for two wait: that far is the virtual time, and `b` starts there, before the
    // large call. Then it has had its turn.
    sim.pass(400 * MS);
    assert!(sim.granted(&one("b")));
    let second = sim.wait(&one("b"));
    sim.pass(10 * SECOND);
    assert_eq!(sim.granted_at(large), Some(1_200 * MS));
    assert_eq!(sim.granted_at(second), Some(1_300 * MS));
}

#[test]
fn a_turn_that_was_not_waited_for_lets_the_others_go_at_once() {
    let mut sim = without_holds();
    let stuck = call(&[("shut", 1), ("l", 1)]).wait(3_600 * SECOND);
    let stuck = sim.wait(&stuck.fair("a", 1));
    let large = sim.wait(&waits(10, 60).fair("a", 1));
    let small = sim.wait(&waits(1, 60).fair("b", 1));
    sim.pass(500 * MS);
    assert!(sim.answers.is_empty(), "the large call is first, and short");
    // `a` gets something, and `b`, which has had nothing, goes first then.
    sim.reset("shut", None);
    assert_eq!(sim.granted_at(stuck), Some(500 * MS));
    assert_eq!(sim.granted_at(small), Some(500 * MS));
    sim.pass(10 * SECOND);
    assert_eq!(sim.granted_at(large), Some(1_200 * MS));
}

#[test]
fn a_call_stuck_elsewhere_earns_its_key_no_credit() {
    let mut sim = without_holds();
    let one = |key| waits(1, 3_600).fair(key, 1);
    let stuck = call(&[("shut", 1), ("l", 1)]).wait(3_600 * SECOND);
    sim.wait(&stuck.fair("a", 1));
    for _ in 0..20 {
        sim.wait(&one("b"));
    }
    sim.pass(1_050 * MS);
    let a: Vec<_> = (0..3).map(|_| sim.wait(&one("a"))).collect();
    sim.pass(30 * SECOND);
    let granted: Vec<_> = a.into_iter().map(|a| sim.granted_at(a).unwrap()).collect();
    let turns = granted.windows(2).all(|pair| pair[1] - pair[0] == 200 * MS);
    assert!(turns && granted[0] <= 1_200 * MS, "{granted:?}");
}

#[test]
fn what_is_remembered_of_absent_keys_has_a_bound() {
    let share = |key: &str| FairShare::new(key, 1).unwrap();
    let mut shares = Shares::default();
    let stays = (0..1_000).map(|number| FairShare::new(format!("stays-{number}"), 1_000).unwrap());
    let stays: Vec<_> = stays.collect();
    for stays in &stays {
        shares.enter(stays);
    }
    for number in 0..70_000_u64 {
        // The virtual time hardly moves; each of these is ahead of it by another amount.
        shares.serve(
            &share(&number.to_string()),
            0,
            1_000_000_000 + number * 1_000,
        );
    }
    shares.check();
    assert_eq!(
        shares.tag(share("0").account()),
        0,
        "the lowest is forgotten"
    );
    let highest = share("69999");
    assert!(shares.tag(highest.account()) > 0, "the highest is kept");
    for stays in &stays {
        shares.leave(stays.account());
    }
    assert_eq!(
        format!("{shares:?}"),
        format!("{:?}", Shares::default()),
        "nobody waits"
    );
}

#[test]
fn tags_end_where_doubles_are_exact_and_calls_are_served_by_arrival_then() {
    let mut shares = Shares::default();
    let (a, b) = (
        FairShare::new("a", 1).unwrap(),
        FairShare::new("b", 1).unwrap(),
    );
    shares.enter(&a);
    shares.enter(&b);
    for _ in 0..3 {
        shares.serve(&a, 0, u64::MAX / 2);
        shares.serve(&b, 0, 1 << 53);
    }
    let most = (1 << 53) - 1;
    assert_eq!((shares.time(), shares.tag(a.account())), (most, most));
    assert_eq!(shares.tag(b.account()), most);
}
