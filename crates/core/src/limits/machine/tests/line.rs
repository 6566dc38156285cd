//! The line: who is served, when, and at what cost.

use super::harness::*;
use crate::Micros;
use crate::limits::{LevelPolicy, MachineConfig, Outcome};

#[test]
fn waiting_calls_are_served_first_come_first_served_at_the_exact_microsecond() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 10))]);
    assert!(sim.granted(&call(&[("l", 10)])));
    let first = sim.wait(&call(&[("l", 3)]).wait(10 * SECOND));
    let second = sim.wait(&call(&[("l", 1)]).wait(10 * SECOND));
    let third = sim.wait(&call(&[("l", 7)]).wait(10 * SECOND));
    sim.pass(2 * SECOND);
    assert_eq!(sim.granted_at(first), Some(300 * MS));
    assert_eq!(sim.granted_at(second), Some(400 * MS));
    assert_eq!(sim.granted_at(third), Some(1_100 * MS));
}

// Pitfall 5: without a line big requests starve behind small ones.
#[test]
fn a_small_try_does_not_pass_a_large_waiter() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 10))]);
    assert!(sim.granted(&call(&[("l", 5)])));
    let large = sim.wait(&call(&[("l", 10)]).wait(10 * SECOND));
    let refused = sim.acquire(&call(&[("l", 1)]));
    assert_eq!(refused.outcome, Outcome::Denied(Micros(600 * MS)));
    assert_eq!(refused.charges[0].remaining, 5);
    sim.pass(500 * MS);
    assert_eq!(sim.granted_at(large), Some(500 * MS));
    assert!(!sim.granted(&call(&[("l", 1)])));
    sim.pass(100 * MS);
    assert!(sim.granted(&call(&[("l", 1)])));
}

// Pitfall 5.
#[test]
fn a_stream_of_small_calls_does_not_starve_a_large_waiter() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 100))]);
    assert!(sim.granted(&call(&[("l", 100)])));
    let large = sim.wait(&call(&[("l", 100)]).wait(60 * SECOND));
    for _ in 0..200 {
        let _ = sim.step(&call(&[("l", 1)]).wait(60 * SECOND));
        let _ = sim.acquire(&call(&[("l", 1)]));
        sim.pass(50 * MS);
    }
    assert_eq!(sim.granted_at(large), Some(10 * SECOND));
}

#[test]
fn interactive_calls_are_served_before_batch_calls_of_the_same_bucket() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 10))]);
    assert!(sim.granted(&call(&[("l", 10)])));
    let batch = sim.wait(&call(&[("l", 1)]).batch().wait(10 * SECOND));
    let interactive = sim.wait(&call(&[("l", 2)]).wait(10 * SECOND));
    sim.pass(SECOND);
    assert_eq!(sim.granted_at(interactive), Some(200 * MS));
    assert_eq!(sim.granted_at(batch), Some(300 * MS));
}

#[test]
fn an_interactive_try_passes_a_batch_waiter_and_a_batch_try_passes_nobody() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 10))]);
    assert!(sim.granted(&call(&[("l", 5)])));
    let batch = sim.wait(&call(&[("l", 10)]).batch().wait(10 * SECOND));
    assert!(!sim.granted(&call(&[("l", 1)]).batch()));
    assert!(sim.granted(&call(&[("l", 1)])));
    sim.pass(SECOND);
    assert_eq!(sim.granted_at(batch), Some(600 * MS));
}

#[test]
fn a_throttled_bucket_serves_nobody_until_the_pause_ends_and_goes_on_by_itself() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 10)), ("s", slots(1))]);
    assert!(sim.granted(&call(&[("l", 10)])));
    let waiter = sim.wait(&call(&[("l", 1)]).wait(60 * SECOND));
    assert_eq!(sim.throttle("l", 5 * SECOND, None), 5 * SECOND);
    assert_eq!(
        sim.throttle("l", SECOND, None),
        5 * SECOND,
        "never shortened"
    );
    let refused = sim.acquire(&call(&[("l", 1)]).batch());
    assert_eq!(refused.outcome, Outcome::Denied(Micros(5 * SECOND)));
    sim.throttle("s", 2 * SECOND, Some(0));
    let slot = sim.wait(&call(&[("s", 1)]).wait(60 * SECOND));
    sim.pass(10 * SECOND);
    assert_eq!(sim.granted_at(slot), Some(2 * SECOND));
    assert_eq!(sim.granted_at(waiter), Some(5 * SECOND));
}

#[test]
fn a_provider_report_lowers_the_level_and_never_raises_it() {
    for spec in [rate(10, 10), window(10), minute(10)] {
        let mut sim = Sim::new().declare(&[("l", spec)]);
        sim.throttle("l", 1, Some(3));
        assert_eq!(sim.remaining("l"), 3);
        sim.throttle("l", 1, Some(8));
        assert_eq!(sim.remaining("l"), 3);
    }
}

#[test]
fn a_reset_serves_the_line_at_once_and_ends_the_pause() {
    let mut sim = Sim::new().declare(&[("l", rate(1, 10))]);
    assert!(sim.granted(&call(&[("l", 10)])));
    let waiter = sim.wait(&call(&[("l", 9)]).wait(60 * SECOND));
    sim.throttle("l", 30 * SECOND, None);
    sim.pass(10);
    assert_eq!(sim.reset("l", None), 1);
    assert_eq!(sim.granted_at(waiter), Some(10));
    assert_eq!(sim.remaining("l"), 1);
}

#[test]
fn a_raised_limit_serves_the_line_at_once() {
    let mut sim = Sim::new().declare(&[("w", window(2))]);
    assert!(sim.granted(&call(&[("w", 2)])));
    let waiter = sim.wait(&call(&[("w", 2)]).wait(60 * SECOND));
    let mut set = set_limit("w", window(4));
    set.level_policy = LevelPolicy::KeepAmount;
    sim.set(&set);
    assert_eq!(sim.granted_at(waiter), Some(0));
}

#[test]
fn slots_freed_by_settle_expiry_and_reset_serve_the_line() {
    let mut sim = Sim::new().declare(&[("s", slots(1))]);
    let held = sim.reserve(&call(&[("s", 1)]).ttl(10 * SECOND));
    let second = sim.wait(&call(&[("s", 1)]).ttl(2 * SECOND).wait(60 * SECOND));
    let third = sim.wait(&call(&[("s", 1)]).wait(60 * SECOND));
    let fourth = sim.wait(&call(&[("s", 1)]).wait(60 * SECOND));
    sim.pass(SECOND);
    sim.settle(&settle(&held, used(&[]))).unwrap();
    assert_eq!(sim.granted_at(second), Some(SECOND));
    sim.pass(3 * SECOND);
    assert_eq!(sim.granted_at(third), Some(3 * SECOND));
    sim.reset("s", Some(""));
    assert_eq!(sim.granted_at(fourth), Some(4 * SECOND));
}

#[test]
fn an_extension_moves_the_moment_at_which_slots_serve_the_line() {
    let mut sim = Sim::new().declare(&[("s", slots(1))]);
    let held = sim.reserve(&call(&[("s", 1)]).ttl(2 * SECOND));
    let waiter = sim.wait(&call(&[("s", 1)]).wait(60 * SECOND));
    sim.pass(SECOND);
    sim.extend(&extend(&held, 5 * SECOND, &[])).unwrap();
    sim.pass(10 * SECOND);
    assert_eq!(sim.granted_at(waiter), Some(6 * SECOND));
}

#[test]
fn a_refund_serves_the_line_at_once() {
    for spec in [rate(1, 10), window(10), minute(10)] {
        let mut sim = Sim::new().declare(&[("l", spec)]);
        let held = sim.reserve(&call(&[("l", 10)]).ttl(10 * SECOND));
        let waiter = sim.wait(&call(&[("l", 4)]).wait(60 * SECOND));
        sim.pass(1);
        sim.settle(&settle(&held, used(&[("l", 6)]))).unwrap();
        assert_eq!(sim.granted_at(waiter), Some(1));
    }
}

#[test]
fn debt_makes_the_line_wait_longer() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 10))]);
    let held = sim.reserve(&call(&[("l", 10)]).ttl(10 * SECOND));
    let waiter = sim.wait(&call(&[("l", 1)]).wait(60 * SECOND));
    sim.settle(&settle(&held, used(&[("l", 20)]))).unwrap();
    assert_eq!(sim.remaining("l"), -10);
    sim.pass(10 * SECOND);
    assert_eq!(sim.granted_at(waiter), Some(1_100 * MS));
}

#[test]
fn debt_in_a_calendar_period_ends_with_it_for_waiters_too() {
    let mut sim = Sim::new().declare(&[("c", minute(10))]);
    let held = sim.reserve(&call(&[("c", 10)]).ttl(10 * SECOND));
    sim.settle(&settle(&held, used(&[("c", 45)]))).unwrap();
    let refused = sim.acquire(&call(&[("c", 10)]));
    assert_eq!(refused.outcome, Outcome::Denied(Micros(60 * SECOND)));
    let waiter = sim.wait(&call(&[("c", 10)]).wait(600 * SECOND));
    sim.pass(600 * SECOND);
    assert_eq!(sim.granted_at(waiter), Some(60 * SECOND));
}

#[test]
fn a_driver_that_comes_late_still_wakes_everyone_who_is_due() {
    let mut sim = Sim::new().declare(&[("a", rate(10, 10)), ("b", rate(10, 10))]);
    assert!(sim.granted(&call(&[("a", 10)])));
    let first = sim.wait(&call(&[("a", 2)]).wait(60 * SECOND));
    // Begins to hold, which looks at the line of `a`, before the first is served, at 200 ms.
    let second = sim.wait(&call(&[("a", 1), ("b", 1)]).wait(60 * SECOND));
    sim.stall(250 * MS);
    assert_eq!(sim.granted_at(first), Some(250 * MS));
    sim.pass(SECOND);
    assert_eq!(sim.granted_at(second), Some(300 * MS));
}

#[test]
fn waiting_wakes_the_driver_a_bounded_number_of_times_per_grant() {
    let config = MachineConfig {
        sweep_every: Micros::from_secs(3_600),
        ..MachineConfig::default()
    };
    let mut sim = Sim::with(config).declare(&[("a", rate(1, 10)), ("b", rate(2, 10))]);
    assert!(sim.granted(&call(&[("a", 10), ("b", 10)])));
    let tickets: Vec<_> = (0..200)
        .map(|_| sim.wait(&call(&[("a", 1), ("b", 2)]).wait(1_000 * SECOND)))
        .collect();
    sim.pass(500 * SECOND);
    for (index, ticket) in (1..).zip(tickets) {
        assert_eq!(sim.granted_at(ticket), Some(index * SECOND));
    }
    // Each waiter begins to hold at the same moment; after that about one wake-up a grant.
    assert!(sim.wakes <= 2 * 200 + 2, "{} wake-ups", sim.wakes);
}

#[test]
fn more_waiting_calls_than_the_bound_are_refused_and_leave_no_trace() {
    let config = MachineConfig {
        max_waiters: 2,
        ..MachineConfig::default()
    };
    let mut sim = Sim::with(config).declare(&[("l", rate(1, 1))]);
    let inline = window(3);
    assert!(sim.granted(&call(&[("i", 2)]).spec(&inline)));
    assert!(sim.granted(&call(&[("l", 1)])));
    let first = sim.wait(&call(&[("l", 1)]).wait(10 * SECOND));
    sim.wait(&call(&[("l", 1)]).wait(10 * SECOND));
    let before = sim.machine.picture(sim.now);
    let mut third = call(&[("l", 1), ("i", 1)]).wait(SECOND).id("x");
    third.charges[1].spec = Some(window(2));
    assert_eq!(sim.error(&third).code, crate::ErrorCode::TooManyWaiters);
    assert!(sim.error(&third).retry_after > Some(Micros::ZERO));
    assert_eq!(
        sim.machine.picture(sim.now),
        before,
        "not even the new spec stands"
    );
    assert!(
        !sim.granted(&call(&[("l", 1)])),
        "a TRY does not need a place"
    );
    sim.cancel(first);
    sim.wait(&third);
}

#[test]
fn the_wait_told_counts_everyone_who_goes_first() {
    let mut sim = Sim::new().declare(&[("l", rate(10, 10))]);
    assert!(sim.granted(&call(&[("l", 10)])));
    for _ in 0..5 {
        sim.wait(&call(&[("l", 4)]).wait(60 * SECOND));
    }
    sim.wait(&call(&[("l", 10)]).batch().wait(60 * SECOND));
    for (request, wait) in [
        (call(&[("l", 1)]), 2_100),
        (call(&[("l", 1)]).batch(), 3_100),
    ] {
        let refused = sim.acquire(&request);
        assert_eq!(refused.outcome, Outcome::Denied(Micros(wait * MS)));
    }
}
