//! Declared and inline specs, overrides, and what a change does to the level.

use super::harness::*;
use crate::limits::{KeyOverride, LevelPolicy, Outcome, SetLimit, SpecSource};
use crate::{ErrorCode, Micros};

#[test]
fn an_unknown_limit_without_a_spec_says_what_to_do() {
    let mut request = call(&[("a", 1), ("nothing", 1)]);
    request.charges[0].spec = Some(rate(1, 1));
    let mut sim = Sim::new();
    let error = sim.error(&request);
    assert_eq!(error.code, ErrorCode::LimitNotFound);
    assert!(error.message.contains("SetLimit"), "{}", error.message);
    assert!(sim.machine.is_empty(), "nor is the first limit made");
}

#[test]
fn a_declared_spec_wins_over_an_inline_one_and_the_answer_tells_which() {
    let mut sim = Sim::new().declare(&[("l", rate(1, 10))]);
    let mut request = call(&[("l", 5)]).spec(&rate(1, 100));
    let charge = sim.acquire(&request).charges.remove(0);
    assert_eq!((charge.remaining, charge.spec), (5, rate(1, 10)));
    assert_eq!(
        (charge.source, charge.spec_replaced),
        (SpecSource::SetLimit, false)
    );
    request.charges[0].require_spec = true;
    let error = sim.error(&request);
    assert_eq!(error.code, ErrorCode::SpecMismatch);
    let mut same = call(&[("l", 5)]).spec(&rate(1, 10));
    same.charges[0].require_spec = true;
    assert!(sim.granted(&same));
}

#[test]
fn the_newest_inline_spec_applies_the_level_is_kept_and_the_answer_says_so() {
    let mut sim = Sim::new();
    let charge = sim
        .acquire(&call(&[("l", 4)]).spec(&rate(1, 10)))
        .charges
        .remove(0);
    assert_eq!(
        (charge.source, charge.spec_replaced),
        (SpecSource::Inline, false)
    );
    let charge = sim
        .acquire(&call(&[("l", 1)]).spec(&rate(1, 20)))
        .charges
        .remove(0);
    assert_eq!((charge.remaining, charge.spec_replaced), (5, true));
    let charge = sim.acquire(&call(&[("l", 1)])).charges.remove(0);
    assert_eq!((charge.remaining, charge.spec), (4, rate(1, 20)));
    sim.set(&set_limit("l", rate(1, 3)));
    let charge = sim
        .acquire(&call(&[("l", 1)]).spec(&rate(1, 20)))
        .charges
        .remove(0);
    assert_eq!((charge.remaining, charge.spec_replaced), (2, false));
}

#[test]
fn every_key_follows_the_newest_inline_spec_when_it_is_next_used() {
    let mut sim = Sim::new();
    for key in ["l/a", "l/b"] {
        assert!(sim.granted(&call(&[(key, 4)]).spec(&window(10))));
    }
    assert!(sim.granted(&call(&[("l/a", 1)]).spec(&window(20))));
    assert_eq!(sim.remaining("l/b"), 16, "a look tells the spec in force");
    let charge = sim.acquire(&call(&[("l/b", 10)])).charges.remove(0);
    assert_eq!((charge.remaining, charge.spec), (6, window(20)));
    assert!(!charge.spec_replaced, "this call carries no spec");
}

#[test]
fn an_inline_spec_that_replaces_another_serves_or_ends_those_who_wait() {
    let mut sim = Sim::new();
    assert!(sim.granted(&call(&[("l", 10)]).spec(&window(10))));
    let small = sim.wait(&call(&[("l", 5)]).wait(60 * SECOND));
    let large = sim.wait(&call(&[("l", 8)]).wait(60 * SECOND));
    assert!(!sim.granted(&call(&[("l", 1)]).spec(&window(15))));
    assert_eq!(sim.granted_at(small), Some(0));
    assert!(!sim.granted(&call(&[("l", 1)]).spec(&window(6))));
    assert_eq!(sim.outcome(large), Outcome::Never);
}

#[test]
fn one_call_cannot_bring_two_specs_for_one_limit() {
    let mut sim = Sim::new();
    let mut request = call(&[("l/a", 1), ("l/b", 50)]).spec(&rate(1, 10));
    request.charges[1].spec = Some(rate(1, 100));
    let error = sim.error(&request);
    assert_eq!(error.violation.unwrap().field, "charges[1].spec");
    assert!(sim.machine.is_empty());
}

// Pitfall 6: an amount that can never be admitted is not a matter of time.
#[test]
fn a_charge_above_the_capacity_answers_never_and_changes_nothing() {
    for spec in [rate(1, 10), window(10), minute(10), slots(10)] {
        let mut sim = Sim::new().declare(&[("l", spec), ("b", rate(1, 5))]);
        for request in [
            call(&[("b", 5), ("l", 11)]),
            call(&[("l", 11)]).wait(SECOND),
        ] {
            assert_eq!(sim.acquire(&request).outcome, Outcome::Never);
        }
        assert_eq!((sim.remaining("b"), sim.remaining("l")), (5, 10));
        assert_eq!(sim.machine.status().never, 2);
    }
}

// Pitfall 6.
#[test]
fn a_charge_that_goes_by_a_spec_which_its_own_call_brings_can_be_never_too() {
    let mut sim = Sim::new();
    assert!(sim.granted(&call(&[("l/b", 1)]).spec(&rate(1, 100))));
    let mut request = call(&[("l/a", 1), ("l/b", 50)]);
    request.charges[0].spec = Some(rate(1, 10));
    assert_eq!(sim.acquire(&request).outcome, Outcome::Never);
    assert_eq!(sim.remaining("l/a"), 10);
}

#[test]
fn a_key_with_a_spec_of_its_own_goes_by_it_until_the_list_is_replaced() {
    let mut sim = Sim::new();
    let own = KeyOverride {
        key: key("vip"),
        spec: rate(1, 50),
    };
    let mut set = SetLimit {
        overrides: vec![own],
        ..set_limit("l", rate(1, 10))
    };
    sim.set(&set);
    assert!(sim.granted(&call(&[("l/vip", 40)])));
    assert_eq!(
        sim.acquire(&call(&[("l/other", 40)])).outcome,
        Outcome::Never
    );
    assert_eq!((sim.remaining("l/vip"), sim.remaining("l/other")), (10, 10));
    set.overrides.clear();
    sim.set(&set);
    assert_eq!(sim.acquire(&call(&[("l/vip", 40)])).outcome, Outcome::Never);
    assert_eq!(sim.remaining("l/vip"), 10);
}

// Pitfall 15: what a change in the middle of a window does is chosen, not an accident.
#[test]
fn a_change_of_spec_treats_every_bucket_as_the_policy_says_and_keeps_held_slots() {
    use LevelPolicy::{KeepAmount, KeepProportion, Refill};
    for (policy, left) in [(KeepAmount, 140), (KeepProportion, 80), (Refill, 200)] {
        let mut sim = Sim::new().declare(&[("w", window(100)), ("s", slots(4))]);
        sim.reserve(&call(&[("w/a", 60), ("w/b", 60), ("s", 3)]).ttl(60 * SECOND));
        for (limit, spec) in [("w", window(200)), ("s", slots(2))] {
            let set = set_limit(limit, spec);
            sim.set(&SetLimit {
                level_policy: policy,
                ..set
            });
        }
        assert_eq!((sim.remaining("w/a"), sim.remaining("w/b")), (left, left));
        assert_eq!(sim.remaining("s"), -1);
        sim.pass(SECOND);
        assert_eq!((sim.remaining("w/a"), sim.remaining("w/c")), (200, 200));
    }
}

#[test]
fn a_change_of_spec_applies_to_what_is_refilled_from_then_on() {
    let mut sim = Sim::new().declare(&[("l", rate(1, 10))]);
    assert!(sim.granted(&call(&[("l", 10)])));
    sim.pass(2_500 * MS);
    sim.set(&set_limit("l", rate(10, 10)));
    sim.pass(50 * MS);
    assert_eq!(sim.remaining("l"), 3, "2.5 at one a second, 0.5 at ten");
}

#[test]
fn a_dry_run_tells_what_would_happen_and_changes_nothing() {
    let mut sim = Sim::new().declare(&[("l", rate(1, 10)), ("s", slots(1))]);
    assert!(sim.granted(&call(&[("l", 8)])));
    assert!(sim.granted(&call(&[("i", 1)]).spec(&window(5))));
    let before = sim.machine.picture(sim.now);
    let outcomes = [
        (call(&[("l", 2), ("s", 1)]), Outcome::Granted(None)),
        (
            call(&[("l", 4)]).wait(60 * SECOND),
            Outcome::Denied(Micros(2 * SECOND)),
        ),
        (call(&[("l", 11)]), Outcome::Never),
        (
            call(&[("new", 1)]).spec(&rate(1, 1)),
            Outcome::Granted(None),
        ),
        (
            call(&[("i", 3)]).spec(&window(3)),
            Outcome::Denied(Micros(SECOND)),
        ),
    ];
    for (request, outcome) in outcomes {
        assert_eq!(sim.acquire(&request.dry()).outcome, outcome);
    }
    assert_eq!(sim.machine.picture(sim.now), before);
    assert_eq!(sim.machine.status().limits, 3);
}

// Pitfall 4: a token bucket allows twice its rate at first; its burst is a setting of its own, and a
// window is strict.
#[test]
fn the_edge_of_a_window_sees_no_more_than_any_other_moment() {
    let mut sim = Sim::new().declare(&[("w", window(100)), ("r", rate(100, 1))]);
    let mut admitted = [0, 0];
    sim.pass(900 * MS);
    for _ in 0..400 {
        for (index, limit) in ["w", "r"].into_iter().enumerate() {
            admitted[index] += usize::from(sim.granted(&call(&[(limit, 1)])));
        }
        sim.pass(999_999 / 400);
    }
    assert_eq!(admitted[0], 100);
    assert!(admitted[1] <= 101);
}

// Pitfall 10: a rate of more than one unit a microsecond, and one of a unit a day.
#[test]
fn rates_from_one_a_day_to_a_hundred_million_a_minute_are_exact() {
    use crate::limits::{LimitSpec, RateSpec};
    let day = Micros::from_secs(86_400);
    let slow = LimitSpec::Rate(RateSpec::new(1, day, 1).unwrap());
    let fast = RateSpec::new(100_000_000, Micros::from_secs(60), 100_000_000);
    let mut sim = Sim::new().declare(&[("slow", slow), ("fast", LimitSpec::Rate(fast.unwrap()))]);
    assert!(sim.granted(&call(&[("slow", 1), ("fast", 100_000_000)])));
    sim.pass(3);
    assert_eq!(sim.remaining("fast"), 5, "1.67 a microsecond");
    let refused = sim.acquire(&call(&[("slow", 1)]));
    assert_eq!(refused.outcome, Outcome::Denied(Micros(day.0 - 3)));
    sim.pass(day.0 - 4);
    assert!(!sim.granted(&call(&[("slow", 1)])));
    sim.pass(1);
    assert!(sim.granted(&call(&[("slow", 1)])));
}

// Pitfall 8: a wall clock that steps changes no rate, and opens no calendar period twice.
#[test]
fn a_stepping_wall_clock_moves_no_rate_and_opens_no_period_twice() {
    let mut sim = Sim::new().declare(&[("r", rate(1, 10)), ("w", window(10)), ("c", minute(10))]);
    sim.pass(60 * SECOND);
    assert!(sim.granted(&call(&[("r", 10), ("w", 10), ("c", 10)])));
    for step_back in [1, 3_600] {
        sim.now.wall.0 -= step_back * SECOND;
        for limit in ["r", "w", "c"] {
            assert!(!sim.granted(&call(&[(limit, 1)])), "{limit}");
        }
        sim.set(&set_limit("c", minute(9)));
        assert_eq!(sim.remaining("c"), -1, "nor does a new spec");
        sim.set(&set_limit("c", minute(10)));
        sim.now.wall.0 += step_back * SECOND;
        assert!(!sim.granted(&call(&[("c", 1)])), "nor the clock's return");
    }
    sim.pass(SECOND);
    assert!(sim.granted(&call(&[("r", 1), ("w", 10)])));
}

// Pitfall 5.
#[test]
fn a_denied_call_is_not_charged() {
    let mut sim = Sim::new().declare(&[("a", rate(1, 10)), ("b", slots(1)), ("c", window(5))]);
    sim.reserve(&call(&[("b", 1)]));
    let before = sim.machine.picture(sim.now);
    for _ in 0..50 {
        assert!(!sim.granted(&call(&[("a", 1), ("c", 1), ("b", 1)])));
    }
    assert_eq!(sim.machine.picture(sim.now), before);
}
