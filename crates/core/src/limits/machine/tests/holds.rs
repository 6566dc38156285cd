//! Waiting for several limits: others pass on what one is not short of, for a while.

use super::harness::*;
use crate::Micros;
use crate::limits::Outcome;

/// `a` is empty and slow, `b` is full.
fn short_of_a() -> Sim {
    let mut sim = Sim::new().declare(&[("a", rate(1, 10)), ("b", rate(10, 10))]);
    assert!(sim.granted(&call(&[("a", 10)])));
    sim
}

#[test]
fn a_waiter_short_of_one_limit_lets_others_pass_on_the_rest_then_holds_it() {
    let mut sim = short_of_a();
    let waiter = sim.wait(&call(&[("a", 1), ("b", 10)]).wait(60 * SECOND));
    assert!(sim.granted(&call(&[("b", 5)])));
    sim.pass(100 * MS - 1);
    assert!(sim.granted(&call(&[("b", 5)])));
    sim.pass(1);
    assert!(!sim.granted(&call(&[("b", 1)])), "held from here on");
    sim.pass(60 * SECOND);
    // `b` was emptied one tick before the hold began, half a second's worth of refill being there.
    let at = sim.granted_at(waiter);
    assert_eq!(at, Some(1_000 * MS));
}

#[test]
fn two_waiters_with_crossed_limits_are_both_served_by_rank() {
    let mut sim = Sim::new().declare(&[("a", slots(1)), ("b", slots(1))]);
    let a = sim.reserve(&call(&[("a", 1)]).ttl(60 * SECOND));
    let b = sim.reserve(&call(&[("b", 1)]).ttl(60 * SECOND));
    let ab = sim.wait(&call(&[("a", 1), ("b", 1)]).ttl(SECOND).wait(60 * SECOND));
    let ba = sim.wait(&call(&[("b", 1), ("a", 1)]).ttl(SECOND).wait(60 * SECOND));
    sim.pass(SECOND);
    sim.settle(&settle(&b, used(&[]))).unwrap();
    assert!(!sim.granted(&call(&[("b", 1)])), "held for the first");
    sim.pass(SECOND);
    sim.settle(&settle(&a, used(&[]))).unwrap();
    assert_eq!(sim.granted_at(ab), Some(2 * SECOND));
    sim.pass(5 * SECOND);
    assert_eq!(sim.granted_at(ba), Some(3 * SECOND));
}

#[test]
fn holds_rank_by_arrival_not_by_when_they_began() {
    let mut sim =
        Sim::new().declare(&[("a", rate(1, 10)), ("b", rate(10, 10)), ("c", rate(1, 10))]);
    assert!(sim.granted(&call(&[("a", 10), ("b", 10), ("c", 10)])));
    // The first is short of `a` only once it holds; the second holds `b` as early.
    let first = sim.wait(&call(&[("a", 3), ("b", 10)]).wait(60 * SECOND));
    sim.pass(50 * MS);
    let second = sim.wait(&call(&[("b", 10), ("c", 1)]).wait(60 * SECOND));
    sim.pass(60 * SECOND);
    assert_eq!(sim.granted_at(first), Some(3 * SECOND));
    assert_eq!(sim.granted_at(second), Some(4 * SECOND));
}

#[test]
fn a_waiter_of_three_limits_is_served_once_all_three_hold_enough() {
    let mut sim = Sim::new().declare(&[("a", rate(1, 10)), ("b", window(10)), ("s", slots(2))]);
    let held = sim.reserve(&call(&[("a", 10), ("b", 10), ("s", 2)]).ttl(60 * SECOND));
    let waiter = sim.wait(&call(&[("a", 2), ("b", 10), ("s", 1)]).wait(60 * SECOND));
    sim.pass(1_500 * MS);
    assert!(!sim.granted(&call(&[("b", 1)])), "held");
    sim.settle(&settle(&held, used(&[]))).unwrap();
    sim.pass(10 * SECOND);
    assert_eq!(sim.granted_at(waiter), Some(2 * SECOND));
}

#[test]
fn a_held_bucket_is_free_again_when_the_holder_gives_up() {
    let mut sim = short_of_a();
    let waiter = sim.wait(&call(&[("a", 5), ("b", 10)]).wait(SECOND));
    sim.pass(200 * MS);
    let behind = sim.wait(&call(&[("b", 3)]).wait(60 * SECOND));
    sim.pass(10 * SECOND);
    assert!(matches!(sim.outcome(waiter), Outcome::TimedOut { .. }));
    assert_eq!(sim.granted_at(behind), Some(SECOND));
}

#[test]
fn a_wake_up_set_for_a_waiter_that_no_longer_needs_it_does_nothing_to_a_dropped_bucket() {
    // The waiter is short of both; `b` is reset, the waiter leaves, `b` is dropped as idle and full
    // before the moment at which it would have been looked at.
    let slow = |amount| rate(amount, 10);
    let mut sim = Sim::new();
    assert!(sim.granted(&call(&[("a", 10)]).spec(&slow(1))));
    assert!(sim.granted(&call(&[("b", 10)]).spec(&slow(1))));
    let waiter = sim.wait(&call(&[("a", 5), ("b", 5)]).spec(&slow(1)).wait(60 * SECOND));
    sim.reset("b", None);
    sim.cancel(waiter);
    sim.pass(60 * SECOND);
    assert!(sim.machine.is_empty());
}

#[test]
fn the_time_told_for_several_charges_is_that_of_the_last_to_fit() {
    let mut sim = Sim::new().declare(&[("a", rate(1, 10)), ("b", window(10)), ("c", minute(10))]);
    assert!(sim.granted(&call(&[("a", 10), ("b", 10), ("c", 3)])));
    sim.pass(500 * MS);
    let refused = sim.acquire(&call(&[("a", 2), ("b", 1), ("c", 7)]));
    assert_eq!(refused.outcome, Outcome::Denied(Micros(1_500 * MS)));
    let waits: Vec<_> = refused.charges.iter().map(|it| it.retry_after).collect();
    assert_eq!(
        waits,
        [Some(Micros(1_500 * MS)), Some(Micros(500 * MS)), None]
    );
    let left: Vec<_> = refused.charges.iter().map(|it| it.remaining).collect();
    assert_eq!(left, [0, 0, 7]);
}

#[test]
fn a_refusal_tells_the_present_level_of_every_charge() {
    let mut sim = Sim::new().declare(&[("a", rate(1, 1)), ("b", rate(10, 10)), ("c", window(10))]);
    assert!(sim.granted(&call(&[("a", 1), ("b", 10), ("c", 10)])));
    sim.throttle("a", 60 * SECOND, None);
    sim.pass(500 * MS);
    let refused = sim.acquire(&call(&[("a", 1), ("b", 1), ("c", 1)]));
    let left: Vec<_> = refused.charges.iter().map(|it| it.remaining).collect();
    assert_eq!(left, [0, 5, 0]);
}

#[test]
fn a_call_that_a_hold_kept_off_goes_before_those_that_came_later() {
    let mut sim = short_of_a();
    let both = || call(&[("a", 1), ("b", 5)]).wait(60 * SECOND);
    let holder = sim.wait(&both());
    sim.pass(200 * MS);
    let kept_off = sim.wait(&call(&[("b", 5)]).wait(60 * SECOND));
    let later = sim.wait(&both());
    sim.pass(200 * MS);
    // Now nobody is short of `a`, and two of the three fit `b`.
    sim.reset("a", None);
    assert_eq!(sim.granted_at(holder), Some(400 * MS));
    assert_eq!(sim.granted_at(kept_off), Some(400 * MS));
    sim.pass(SECOND);
    assert_eq!(sim.granted_at(later), Some(900 * MS));
}
