//! A simulated day of mixed traffic with exact accounting.

use super::harness::*;
use crate::Micros;
use crate::limits::{LimitSpec, MachineConfig, Outcome, RateSpec, ReservationId, WindowSpec};
use crate::random::Random;
use std::collections::VecDeque;

const DAY: u64 = 86_400 * SECOND;
const MINUTE: u64 = 60 * SECOND;

/// What was admitted, counted apart from the machine.
#[derive(Default)]
struct Ledger {
    day: i64,
    first_day: u64,
    tokens: i64,
    last_tokens: u64,
    /// The token bucket's level in 60 millionths of a token.
    level: i128,
    window: VecDeque<u64>,
    window_total: i64,
    denied_window: i64,
    held: Vec<(u64, ReservationId)>,
    slots_total: i64,
}

fn limits() -> [(&'static str, LimitSpec); 4] {
    let rate = |amount, period, burst| {
        LimitSpec::Rate(RateSpec::new(amount, Micros(period), burst).unwrap())
    };
    [
        ("day", rate(1, DAY, 1)),
        ("tokens", rate(100_000_000, MINUTE, 5_000_000)),
        (
            "window",
            LimitSpec::Window(WindowSpec::new(100, Micros(MINUTE)).unwrap()),
        ),
        ("slots", slots(8)),
    ]
}

#[test]
fn a_day_of_mixed_traffic_is_accounted_for_to_the_unit() {
    for seed in [1, 20_261_125] {
        let config = MachineConfig {
            sweep_every: Micros::from_secs(600),
            ..MachineConfig::default()
        };
        let mut sim = Sim::with(config).declare(&limits());
        let mut random = Random(seed);
        let mut ledger = Ledger {
            level: 5_000_000 * 60,
            ..Ledger::default()
        };
        let mut calls = 0;
        while sim.now.mono.0 < DAY {
            // From a burst at one instant to pauses of seconds; about four calls a second.
            let pause = [0, 1, 997, 400 * MS, 2 * SECOND][random.below(5)];
            let left = DAY - sim.now.mono.0;
            pass(&mut sim, &mut ledger, random.up_to(pause).min(left));
            one_call(&mut sim, &mut ledger, &mut random, seed);
            calls += 1;
        }
        assert!(calls > 300_000, "seed {seed}: {calls}");
        assert_eq!(ledger.day, 1, "seed {seed}: one a day");
        let next = ledger.first_day + DAY - sim.now.mono.0;
        pass(&mut sim, &mut ledger, next - 1);
        assert!(!decide(&mut sim, "day", 1), "seed {seed}");
        pass(&mut sim, &mut ledger, 1);
        assert!(
            decide(&mut sim, "day", 1),
            "seed {seed}: and the next a day later"
        );
        assert!(
            ledger.window_total > 90 * 24 * 60,
            "seed {seed}: {}",
            ledger.window_total
        );
        assert!(
            ledger.denied_window > 0 && ledger.slots_total > 1_000,
            "seed {seed}"
        );
        let most = 5_000_000 + 100_000_000 * 24 * 60;
        assert!(
            ledger.tokens <= most && ledger.tokens > most / 5,
            "seed {seed}: {}",
            ledger.tokens
        );
        // Nothing is left when the day's work is over.
        sim.pass(DAY + 2_000 * SECOND);
        let status = sim.machine.status();
        let kept = (
            status.buckets,
            status.waiters,
            status.reservations,
            status.request_ids,
        );
        assert_eq!(kept, (0, 0, 0, 0), "seed {seed}");
    }
}

/// As [`Sim::pass`], without the full check of every step: a day has many.
fn pass(sim: &mut Sim, ledger: &mut Ledger, micros: u64) {
    sim.now.mono.0 += micros;
    sim.now.wall.0 += micros;
    sim.machine.advance(sim.now);
    ledger.held.retain(|(until, _)| *until > sim.now.mono.0);
}

fn one_call(sim: &mut Sim, ledger: &mut Ledger, random: &mut Random, seed: u64) {
    let now = sim.now.mono.0;
    match random.below(10) {
        0 => {
            let granted = decide(sim, "day", 1);
            assert_eq!(granted, ledger.day == 0, "seed {seed} at {now}");
            if granted {
                (ledger.day, ledger.first_day) = (ledger.day + 1, now);
            }
        }
        1..=2 => {
            let gained = i128::from(now - ledger.last_tokens) * 100;
            ledger.level = (5_000_000 * 60).min(ledger.level + gained);
            ledger.last_tokens = now;
            let amount = 1 + random.below(5_000_000).cast_signed() as i64;
            let fits = ledger.level >= i128::from(amount) * 60;
            assert_eq!(decide(sim, "tokens", amount), fits, "seed {seed} at {now}");
            if fits {
                ledger.level -= i128::from(amount) * 60;
                ledger.tokens += amount;
            }
        }
        3..=7 => for_window(sim, ledger, seed),
        8 => {
            let ttl = 1 + random.up_to(20 * SECOND);
            let free = ledger.held.len() < 8;
            let request = call(&[("slots", 1)]).ttl(ttl);
            let step = sim.machine.acquire(&request, sim.now).unwrap();
            let crate::limits::Step::Done(acquired) = step else {
                panic!("seed {seed}: a TRY does not wait");
            };
            let granted = matches!(acquired.outcome, Outcome::Granted(_));
            assert_eq!(granted, free, "seed {seed} at {now}");
            if let Outcome::Granted(Some(granted)) = acquired.outcome {
                ledger.held.push((now + ttl, granted.id));
                ledger.slots_total += 1;
            }
        }
        _ => {
            if let Some(nth) = random.below(100).checked_rem(ledger.held.len()) {
                let (_, id) = ledger.held.swap_remove(nth);
                sim.machine
                    .settle(&settle(&id, used(&[])), sim.now)
                    .unwrap();
            }
        }
    }
}

/// Never above the exact window; denied only when one a sub-window longer is full.
fn for_window(sim: &mut Sim, ledger: &mut Ledger, seed: u64) {
    let now = sim.now.mono.0;
    while ledger
        .window
        .front()
        .is_some_and(|at| at + MINUTE + MINUTE / 60 <= now)
    {
        ledger.window.pop_front();
    }
    let exact = ledger.window.iter().filter(|at| *at + MINUTE > now).count();
    if decide(sim, "window", 1) {
        assert!(
            exact < 100,
            "seed {seed} at {now}: more than 100 in a minute"
        );
        ledger.window.push_back(now);
        ledger.window_total += 1;
    } else {
        assert!(
            ledger.window.len() >= 100,
            "seed {seed} at {now}: denied too soon"
        );
        ledger.denied_window += 1;
    }
}

fn decide(sim: &mut Sim, limit: &str, amount: i64) -> bool {
    let step = sim.machine.acquire(&call(&[(limit, amount)]), sim.now);
    let crate::limits::Step::Done(acquired) = step.unwrap() else {
        panic!("a TRY does not wait");
    };
    matches!(acquired.outcome, Outcome::Granted(_))
}
