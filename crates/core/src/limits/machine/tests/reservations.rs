//! Reservations: settled once, extended whole, ended by time.

use super::harness::*;
use crate::ErrorCode::{
    InvalidField, ReservationExpired, ReservationNotFound, ReservationSettled, TooManyReservations,
};
use crate::limits::{
    DeleteLimit, LevelPolicy, Machine, MachineConfig, Outcome, ReservationId, Usage,
};
use crate::{Micros, Now};

fn limited() -> Sim {
    Sim::new().declare(&[("r", rate(1, 100)), ("w", window(100)), ("s", slots(2))])
}

// Pitfall 1: what is known only later is reserved first and corrected, never checked and then charged.
// Pitfall 7: once, never above the capacity, and what was used too much is debt.
#[test]
fn a_reservation_is_settled_once_with_refund_debt_and_slots() {
    let mut sim = limited();
    let id = sim.reserve(&call(&[("r", 50), ("w", 50), ("s", 1)]).ttl(10 * SECOND));
    let first = settle(&id, used(&[("r", 20), ("w", 130), ("s", 0)]));
    assert_eq!(sim.settle(&first).unwrap(), [(30, 80), (0, -30), (1, 2)]);
    assert_eq!(sim.settle(&first).unwrap(), [(30, 80), (0, -30), (1, 2)]);
    assert_eq!((sim.remaining("r"), sim.remaining("w")), (80, -30));
    // The same amounts, said in another way, are the same usage.
    let same = settle(&id, used(&[("w", 130), ("r", 20)]));
    assert!(sim.settle(&same).is_ok());
    let other = settle(&id, used(&[("r", 21), ("w", 130)]));
    assert_eq!(sim.settle(&other).unwrap_err().code, ReservationSettled);
    let unsettled = extend(&id, SECOND, &[]);
    assert_eq!(sim.extend(&unsettled).unwrap_err().code, ReservationSettled);
}

// Pitfall 7.
#[test]
fn a_refund_never_lifts_a_bucket_above_its_capacity_nor_reaches_into_another_window() {
    let mut sim = Sim::new().declare(&[
        ("r", rate(100, 100)),
        ("w", window(100)),
        ("c", minute(100)),
    ]);
    let id = sim.reserve(&call(&[("r", 50), ("w", 50), ("c", 50)]).ttl(600 * SECOND));
    sim.pass(60 * SECOND);
    assert!(sim.granted(&call(&[("r", 10), ("w", 10), ("c", 10)])));
    let refund = settle(&id, Usage::RefundAll);
    assert_eq!(sim.settle(&refund).unwrap(), [(10, 100), (0, 90), (0, 90)]);
}

#[test]
fn after_expiry_debt_counts_a_refund_is_refused_and_both_together_count_the_debt() {
    let mut sim = limited();
    let mut reserve = || sim.reserve(&call(&[("r", 10), ("w", 10)]).ttl(SECOND));
    let (debt, refund, mixed) = (reserve(), reserve(), reserve());
    let slot = sim.reserve(&call(&[("s", 1)]).ttl(SECOND));
    sim.pass(SECOND);
    let refund = settle(&refund, used(&[("r", 5)]));
    assert_eq!(sim.settle(&refund).unwrap_err().code, ReservationExpired);
    let debt = settle(&debt, used(&[("r", 15)]));
    assert_eq!(sim.settle(&debt).unwrap(), [(0, 66), (0, 100)]);
    let mixed = settle(&mixed, used(&[("r", 5), ("w", 11)]));
    assert_eq!(sim.settle(&mixed).unwrap(), [(0, 66), (0, 99)]);
    // What is said of slots is ignored, so there is nothing to refund.
    assert_eq!(
        sim.settle(&settle(&slot, used(&[("s", 0)]))).unwrap(),
        [(0, 2)]
    );
    let unopened = extend(&debt.reservation, SECOND, &[]);
    assert_eq!(sim.extend(&unopened).unwrap_err().code, ReservationSettled);
    let unopened = extend(&refund.reservation, SECOND, &[]);
    assert_eq!(sim.extend(&unopened).unwrap_err().code, ReservationExpired);
    sim.pass(600 * SECOND);
    assert_eq!(sim.settle(&debt).unwrap_err().code, ReservationNotFound);
    assert_eq!(sim.settle(&refund).unwrap_err().code, ReservationNotFound);
}

#[test]
fn an_abandoned_reservation_keeps_its_charges_and_frees_its_slots_at_its_time() {
    let mut sim = limited();
    sim.reserve(&call(&[("w", 100), ("s", 2)]));
    sim.pass(60 * SECOND - 1);
    assert_eq!(sim.remaining("s"), 0, "60 s is the default");
    sim.pass(1);
    assert_eq!((sim.remaining("s"), sim.remaining("w")), (2, 100));
}

#[test]
fn a_reservation_is_made_only_where_it_is_asked_for_or_slots_are_held() {
    let mut sim = limited();
    assert_eq!(
        sim.acquire(&call(&[("r", 1)])).outcome,
        Outcome::Granted(None)
    );
    sim.reserve(&call(&[("r", 1), ("s", 1)]));
    sim.reserve(&call(&[("r", 1)]).ttl(1));
}

#[test]
fn unknown_reservations_and_those_of_another_machine_are_not_found() {
    let mut sim = limited();
    let mut other = Machine::new(MachineConfig::default(), 8);
    other
        .set_limit(&set_limit("s", slots(2)), Now::default())
        .unwrap();
    sim.reserve(&call(&[("s", 1)]));
    let theirs = other.acquire(&call(&[("s", 1)]), Now::default());
    let crate::limits::Step::Done(acquired) = theirs.unwrap() else {
        panic!("must be decided");
    };
    let Outcome::Granted(Some(granted)) = acquired.outcome else {
        panic!("must be granted");
    };
    let mut bad = vec![String::from(granted.id)];
    for text in [
        "x",
        "00000000000000070000000000000009",
        "äöüäöüäöüäöüäöüäöü",
    ] {
        bad.push(text.to_owned());
    }
    bad.push(format!("{:016x}", 7));
    for id in bad {
        let id = ReservationId::new(id).unwrap();
        let settle = settle(&id, Usage::RefundAll);
        assert_eq!(sim.settle(&settle).unwrap_err().code, ReservationNotFound);
        assert_eq!(
            sim.extend(&extend(&id, 1, &[])).unwrap_err().code,
            ReservationNotFound
        );
    }
}

#[test]
fn a_bucket_that_was_not_charged_or_is_named_twice_is_refused_and_nothing_is_settled() {
    let mut sim = limited();
    let id = sim.reserve(&call(&[("r", 10)]).ttl(SECOND));
    for usage in [
        used(&[("r", 1), ("w", 1)]),
        used(&[("r/k", 1)]),
        used(&[("r", 1), ("r", 2)]),
    ] {
        let error = sim.settle(&settle(&id, usage)).unwrap_err();
        assert_eq!(error.code, InvalidField);
    }
    assert_eq!(
        sim.settle(&settle(&id, Usage::RefundAll)).unwrap(),
        [(10, 100)]
    );
}

#[test]
fn an_extension_renews_the_time_and_tops_up_all_or_nothing() {
    let mut sim = limited();
    let id = sim.reserve(&call(&[("w", 10), ("s", 1)]).ttl(2 * SECOND));
    sim.pass(SECOND);
    // Denied: the time is not renewed either.
    sim.reserve(&call(&[("s", 1)]).ttl(60 * SECOND));
    let denied = sim
        .extend(&extend(&id, 60 * SECOND, &[("r", 1), ("s", 1)]))
        .unwrap();
    assert_eq!(denied.outcome, Outcome::Denied(Micros(SECOND)));
    assert_eq!(sim.remaining("r"), 100);
    let never = sim
        .extend(&extend(&id, 60 * SECOND, &[("r", 101)]))
        .unwrap();
    assert_eq!(never.outcome, Outcome::Never);
    let granted = sim
        .extend(&extend(&id, 3 * SECOND, &[("w", 5), ("r", 1)]))
        .unwrap();
    let Outcome::Granted(Some(granted)) = granted.outcome else {
        panic!("must be granted");
    };
    assert_eq!((&granted.id, granted.ttl), (&id, Micros(3 * SECOND)));
    // Never shortens.
    let shorter = sim.extend(&extend(&id, 1, &[])).unwrap();
    assert_eq!(shorter.outcome, Outcome::Granted(Some(granted)));
    sim.pass(3 * SECOND - 1);
    assert_eq!(sim.remaining("s"), 0);
    let settled = sim.settle(&settle(&id, used(&[("w", 12), ("r", 0)])));
    // The window is past and the rate has refilled: there is nothing left to give back.
    assert_eq!(settled.unwrap(), [(0, 100), (1, 1), (0, 100)]);
}

#[test]
fn slots_taken_by_an_extension_end_with_the_reservation() {
    let mut sim = Sim::new().declare(&[("s", slots(5))]);
    let id = sim.reserve(&call(&[("s", 1)]).ttl(2 * SECOND));
    sim.extend(&extend(&id, 4 * SECOND, &[("s", 3)])).unwrap();
    assert_eq!(sim.remaining("s"), 1);
    sim.pass(3 * SECOND);
    assert_eq!(sim.remaining("s"), 1);
    sim.pass(SECOND);
    assert_eq!(sim.remaining("s"), 5);
}

#[test]
fn a_reservation_extended_without_end_stays_bounded_and_exact_in_sum() {
    let mut sim = Sim::new().declare(&[("w", window(1_000_000)), ("r", rate(1, 1_000_000))]);
    let id = sim.reserve(&call(&[("w", 1), ("r", 1)]).ttl(60 * SECOND));
    for _ in 0..2_000 {
        sim.pass(SECOND / 500);
        sim.extend(&extend(&id, 60 * SECOND, &[("w", 1), ("r", 1)]))
            .unwrap();
    }
    let taken = sim.machine.reservations.values().map(|it| it.taken.len());
    assert!(taken.max().unwrap() <= 65);
    // Of the window's charges those of the last second, and of the sub-window begun before it, are
    // still there; of the rate's all but the four refilled.
    let used = 1_000_000 - sim.remaining("w");
    assert!((500..=509).contains(&used), "{used}");
    let settled = sim.settle(&settle(&id, Usage::RefundAll)).unwrap();
    assert_eq!(settled, [(used, 1_000_000), (1_997, 1_000_000)]);
    let id = sim.reserve(&call(&[("w", 1)]).ttl(60 * SECOND));
    let error = (0..100).find_map(|turn| {
        let keys: Vec<_> = (0..32).map(|index| format!("r/{turn}.{index}")).collect();
        let charges: Vec<_> = keys.iter().map(|key| (key.as_str(), 1)).collect();
        sim.extend(&extend(&id, 60 * SECOND, &charges)).err()
    });
    assert_eq!(error.unwrap().code, InvalidField);
}

#[test]
fn debt_of_an_inline_limit_counts_although_its_bucket_was_full_and_dropped() {
    let mut sim = Sim::new();
    let spec = rate(100, 100);
    let id = sim.reserve(&call(&[("i", 10)]).spec(&spec).ttl(60 * SECOND));
    sim.pass(30 * SECOND);
    assert_eq!(sim.machine.status().buckets, 0, "dropped");
    let settled = sim.settle(&settle(&id, used(&[("i", 160)]))).unwrap();
    assert_eq!(settled, [(0, -50)]);
    assert!(!sim.granted(&call(&[("i", 1)]).spec(&spec)));
    sim.pass(700 * SECOND);
    assert!(sim.machine.is_empty());
}

#[test]
fn a_settled_charge_tells_what_is_available_although_its_bucket_was_dropped() {
    let mut sim = Sim::new().declare(&[("l", rate(100, 100))]);
    let id = sim.reserve(&call(&[("l", 10)]).ttl(60 * SECOND));
    sim.pass(30 * SECOND);
    assert_eq!(
        sim.settle(&settle(&id, used(&[("l", 5)]))).unwrap(),
        [(0, 100)]
    );
}

// Pitfall 7: into another life of a limit is into another window.
#[test]
fn what_was_forgiven_or_deleted_is_not_given_back_again() {
    let delete = DeleteLimit {
        namespace: namespace(),
        name: name("l"),
        request_id: None,
    };
    for spec in [rate(1, 100), window(100), minute(100)] {
        for how in ["reset", "refill", "delete"] {
            let mut sim = Sim::new().declare(&[("l", spec.clone())]);
            let id = sim.reserve(&call(&[("l", 60)]).ttl(60 * SECOND));
            sim.pass(1);
            match how {
                "reset" => assert_eq!(sim.reset("l", None), 1),
                "refill" => sim.set(&crate::limits::SetLimit {
                    level_policy: LevelPolicy::Refill,
                    ..set_limit("l", spec.clone())
                }),
                _ => {
                    sim.machine.delete_limit(&delete, sim.now).unwrap();
                    sim.set(&set_limit("l", spec.clone()));
                }
            }
            sim.pass(1);
            assert!(sim.granted(&call(&[("l", 100)])));
            let settled = sim.settle(&settle(&id, Usage::RefundAll)).unwrap();
            assert_eq!(settled[0].0, 0, "{spec:?} {how}");
            assert_eq!(sim.remaining("l"), 0, "{spec:?} {how}");
        }
    }
}

// Pitfall 7.
#[test]
fn what_was_forgiven_stays_forgiven_when_the_full_bucket_is_dropped() {
    let mut sim = Sim::new().declare(&[("l", rate(1, 100))]);
    let before = sim.reserve(&call(&[("l", 60)]).ttl(60 * SECOND));
    sim.reset("l", None);
    sim.pass(5 * SECOND);
    assert_eq!(sim.machine.status().buckets, 0, "dropped");
    let after = sim.reserve(&call(&[("l", 100)]).ttl(60 * SECOND));
    let settled = sim.settle(&settle(&before, Usage::RefundAll)).unwrap();
    assert_eq!(settled, [(0, 0)]);
    let settled = sim.settle(&settle(&after, Usage::RefundAll)).unwrap();
    assert_eq!(settled, [(100, 100)]);
}

#[test]
fn an_open_reservation_stays_valid_for_its_other_charges_when_a_limit_is_deleted() {
    let mut sim = limited();
    let id = sim.reserve(&call(&[("r", 10), ("w", 10), ("s", 1)]).ttl(60 * SECOND));
    let delete = DeleteLimit {
        namespace: namespace(),
        name: name("r"),
        request_id: None,
    };
    sim.machine.delete_limit(&delete, sim.now).unwrap();
    sim.collect();
    let settled = sim.settle(&settle(&id, Usage::RefundAll)).unwrap();
    assert_eq!(settled, [(0, 0), (10, 100), (1, 2)]);
}

#[test]
fn slots_freed_by_a_reset_are_not_freed_again_by_their_reservation() {
    let mut sim = Sim::new().declare(&[("s", slots(2))]);
    let id = sim.reserve(&call(&[("s", 2)]).ttl(60 * SECOND));
    sim.reset("s", None);
    sim.reserve(&call(&[("s", 2)]).ttl(60 * SECOND));
    assert_eq!(
        sim.settle(&settle(&id, Usage::RefundAll)).unwrap(),
        [(0, 0)]
    );
    assert_eq!(sim.remaining("s"), 0);
}

#[test]
fn the_bound_on_reservations_holds_for_calls_that_wait_too() {
    let config = MachineConfig {
        max_reservations: 3,
        ..MachineConfig::default()
    };
    let mut sim = Sim::with(config).declare(&[("s", slots(1)), ("r", rate(1, 10))]);
    sim.reserve(&call(&[("s", 1)]).ttl(SECOND));
    sim.wait(&call(&[("s", 1)]).ttl(SECOND).wait(60 * SECOND));
    sim.wait(&call(&[("s", 1)]).ttl(SECOND).wait(60 * SECOND));
    for request in [call(&[("s", 1)]).wait(SECOND), call(&[("r", 1)]).ttl(1)] {
        assert_eq!(sim.error(&request).code, TooManyReservations);
    }
    assert!(sim.granted(&call(&[("r", 1)])), "without one it goes on");
    sim.pass(60 * SECOND);
}
