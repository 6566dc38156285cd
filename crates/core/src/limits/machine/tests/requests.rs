//! Request ids: a repeat gets the first answer.

use super::harness::*;
use crate::limits::{MachineConfig, Outcome, Step};
use crate::{ErrorCode, Micros, RequestId};

fn limited() -> Sim {
    Sim::new().declare(&[("l", rate(1, 10)), ("s", slots(5))])
}

#[test]
fn a_repeat_gets_the_first_answer_with_its_times_counted_anew_and_charges_nothing() {
    let mut sim = limited();
    let grant = call(&[("l", 10)]).ttl(60 * SECOND).id("grant");
    let first = sim.reserve(&grant);
    let denied = call(&[("l", 5)]).id("denied");
    assert_eq!(
        sim.acquire(&denied).outcome,
        Outcome::Denied(Micros(5 * SECOND))
    );
    sim.pass(2 * SECOND);
    let Outcome::Granted(Some(again)) = sim.acquire(&grant).outcome else {
        panic!("must be granted again");
    };
    assert_eq!((again.id, again.ttl), (first, Micros(58 * SECOND)));
    assert_eq!(
        sim.acquire(&denied).outcome,
        Outcome::Denied(Micros(3 * SECOND))
    );
    sim.pass(60 * SECOND);
    assert_eq!(
        sim.acquire(&denied).outcome,
        Outcome::Denied(Micros::TICK),
        "never 0"
    );
    assert_eq!(sim.remaining("l"), 10);
}

#[test]
fn a_repeat_of_a_running_call_joins_it_however_long_it_would_wait_itself() {
    let mut sim = limited();
    assert!(sim.granted(&call(&[("l", 10)])));
    let ticket = sim.wait(&call(&[("l", 1)]).wait(60 * SECOND).id("x"));
    // A gRPC deadline leaves a repeat less time than the first call had; it is the same call.
    let again = call(&[("l", 1)]).wait(10 * SECOND).id("x");
    assert_eq!(sim.step(&again), Ok(Step::Waiting(ticket)));
    sim.pass(2 * SECOND);
    assert_eq!(sim.granted_at(ticket), Some(SECOND));
    assert!(sim.granted(&again));
    assert_eq!(sim.remaining("l"), 1);
}

#[test]
fn the_same_id_for_another_request_is_refused() {
    let mut sim = limited();
    assert!(sim.granted(&call(&[("l", 1)]).id("x")));
    for other in [
        call(&[("l", 2)]).id("x"),
        call(&[("l", 1)]).id("x").ttl(1),
        call(&[("l", 1)]).id("x").wait(0),
        call(&[("l/k", 1)]).id("x"),
    ] {
        assert_eq!(sim.error(&other).code, ErrorCode::RequestIdReused);
    }
    let mut set = set_limit("l", rate(1, 20));
    set.request_id = Some(RequestId::new("x", "request_id").unwrap());
    sim.set(&set);
    assert_eq!(sim.remaining("l"), 9, "ids of other methods are other ids");
}

#[test]
fn the_repeat_of_a_grant_that_no_longer_stands_is_told_that_it_is_lost() {
    let mut sim = limited();
    let expired = call(&[("s", 1)]).ttl(SECOND).id("expired");
    sim.reserve(&expired);
    let settled = call(&[("s", 1)]).ttl(60 * SECOND).id("settled");
    let id = sim.reserve(&settled);
    sim.settle(&settle(&id, used(&[]))).unwrap();
    sim.pass(SECOND);
    assert_eq!(sim.acquire(&expired).outcome, Outcome::Lost);
    assert_eq!(sim.acquire(&settled).outcome, Outcome::Lost);
}

#[test]
fn an_id_is_forgotten_when_its_window_is_over_and_not_before() {
    let mut sim = limited();
    let request = call(&[("l", 1)]).id("x");
    assert!(sim.granted(&request));
    sim.pass(600 * SECOND - 1);
    assert!(sim.granted(&request));
    assert_eq!(sim.remaining("l"), 10, "not charged again");
    sim.pass(1);
    assert!(sim.granted(&request));
    assert_eq!(sim.remaining("l"), 9, "a new call");
}

#[test]
fn at_the_bound_new_ids_are_refused_and_none_is_forgotten_early() {
    let config = MachineConfig {
        max_request_ids: 2,
        ..MachineConfig::default()
    };
    let mut sim = Sim::with(config).declare(&[("l", rate(1, 10))]);
    assert!(sim.granted(&call(&[("l", 1)]).id("a")));
    sim.pass(10 * SECOND);
    assert!(sim.granted(&call(&[("l", 1)]).id("b")));
    let error = sim.error(&call(&[("l", 1)]).id("c"));
    assert_eq!(error.code, ErrorCode::TooManyRequestIds);
    assert_eq!(error.retry_after, Some(Micros(590 * SECOND)));
    assert!(sim.granted(&call(&[("l", 1)]).id("a")), "still known");
    assert!(sim.granted(&call(&[("l", 1)])), "calls without an id go on");
    sim.pass(590 * SECOND);
    assert!(sim.granted(&call(&[("l", 1)]).id("c")));
}

#[test]
fn errors_are_not_remembered() {
    let mut sim = Sim::new();
    let request = call(&[("l", 1)]).id("x");
    assert_eq!(sim.error(&request).code, ErrorCode::LimitNotFound);
    sim.set(&set_limit("l", rate(1, 1)));
    assert!(sim.granted(&request));
}

#[test]
fn grants_taken_back_again_and_again_do_not_pile_up_in_memory() {
    let mut sim = limited();
    for _ in 0..100 {
        sim.reset("l", None);
        sim.pass(1);
        assert!(sim.granted(&call(&[("l", 10)])));
        let ticket = sim.wait(&call(&[("l", 1)]).wait(10 * SECOND).id("x"));
        sim.pass(SECOND);
        let receipt = sim.answer(ticket).unwrap().1.receipt.unwrap();
        sim.machine.take_back(receipt, sim.now);
        // `collect` checks that every remembered end belongs to a known id.
        sim.collect();
    }
    assert_eq!(sim.machine.status().request_ids, 0);
}

#[test]
fn an_extension_and_a_report_are_repeated_exactly() {
    let mut sim = limited();
    let id = sim.reserve(&call(&[("l", 1)]).ttl(10 * SECOND));
    let mut longer = extend(&id, 20 * SECOND, &[("l", 4)]);
    longer.request_id = Some(RequestId::new("x", "request_id").unwrap());
    sim.extend(&longer).unwrap();
    sim.pass(SECOND);
    let again = sim.extend(&longer).unwrap();
    let Outcome::Granted(Some(granted)) = again.outcome else {
        panic!("must be granted again");
    };
    assert_eq!(granted.ttl, Micros(19 * SECOND));
    assert_eq!(sim.remaining("l"), 6);
    let other = extend(&id, 21 * SECOND, &[]);
    let other = crate::limits::ExtendReservation {
        request_id: longer.request_id.clone(),
        ..other
    };
    assert_eq!(
        sim.extend(&other).unwrap_err().code,
        ErrorCode::RequestIdReused
    );
    sim.pass(60 * SECOND);
    assert_eq!(sim.extend(&longer).unwrap().outcome, Outcome::Lost);
}

#[test]
fn a_dry_run_neither_uses_nor_remembers_an_id() {
    let mut sim = limited();
    let request = call(&[("l", 1)]).id("x");
    sim.acquire(&request.clone().dry());
    assert_eq!(sim.machine.status().request_ids, 0);
    assert!(sim.granted(&request));
}
