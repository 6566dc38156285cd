//! What needs a clock set back, a bound reached or a look inside.

use super::super::{MachineConfig, Start, Step};
use super::harness::{Build, EPOCH, SECOND, Sim, call, grant, name, namespace};
use crate::locks::{
    ForceRelease, LockOutcome, MAX_TOKEN, OnBreak, OpenSession, SessionNews, Token,
};
use crate::{ErrorCode, Micros, Time};

pub fn force(lock: &str, expected: Token) -> ForceRelease {
    ForceRelease {
        namespace: namespace(),
        name: name(lock),
        expected,
        reason: "stuck".into(),
        actor: "ops".into(),
        request_id: None,
    }
}

pub fn session(ttl: u64, on_break: OnBreak) -> OpenSession {
    OpenSession {
        namespace: namespace(),
        ttl: Micros(ttl),
        owner: "me".into(),
        on_break,
    }
}

#[test]
fn tokens_follow_the_clock_and_never_go_back_with_it() {
    let mut sim = Sim::new();
    let first = sim.granted(&call(&["a"]));
    assert_eq!(first.locks[0].token.get(), EPOCH);
    sim.now.wall = Time(5);
    let second = sim.granted(&call(&["b"]));
    assert_eq!(second.locks[0].token.get(), EPOCH + 1);
}

#[test]
fn a_machine_that_begins_anew_goes_on_above_the_floor_whatever_the_clock_says() {
    let floor = Token::new(i64::try_from(2 * EPOCH).unwrap(), "token").unwrap();
    let start = Start {
        floor,
        ..Start::default()
    };
    let mut sim = Sim::with(MachineConfig::default(), start);
    assert_eq!(sim.machine.last_token(), floor);
    assert!(sim.granted(&call(&["a"])).locks[0].token > floor);
}

#[test]
fn a_clock_beyond_all_tokens_refuses_and_takes_nothing() {
    let mut sim = Sim::new();
    sim.now.wall = Time(MAX_TOKEN + 1);
    let error = sim.step(&call(&["a"]).id("r")).unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    assert_eq!(sim.machine.status().locks, 0);
    sim.now.wall = Time(EPOCH);
    sim.granted(&call(&["a"]).id("r"));
}

#[test]
fn nothing_is_granted_before_grants_begin_and_then_in_order() {
    let start = Start {
        grants_from: Time(SECOND),
        ..Start::default()
    };
    let mut sim = Sim::with(MachineConfig::default(), start);
    let Step::Done(refused) = sim.step(&call(&["a"])).unwrap() else {
        panic!("a try does not wait");
    };
    let LockOutcome::Held { retry_after, .. } = refused.outcome else {
        panic!("{refused:?}");
    };
    assert_eq!(retry_after, Micros(SECOND - 1));
    let (first, _) = sim.wait(&call(&["a"]).ttl(SECOND).wait(9 * SECOND));
    let (second, place) = sim.wait(&call(&["a"]).wait(9 * SECOND));
    assert_eq!(place, 2);
    sim.pass(SECOND - 2);
    assert_eq!(sim.ended(first), None);
    sim.pass(1);
    grant(sim.ended(first).unwrap().unwrap());
    assert_eq!(sim.ended(second), None);
    sim.pass(SECOND);
    grant(sim.ended(second).unwrap().unwrap());
}

#[test]
fn a_session_that_ends_while_it_waits_is_never_let_in() {
    let mut sim = Sim::new();
    let holder = sim.granted(&call(&["a"]).ttl(SECOND));
    // The holder's lease and the session end at one moment.
    let open = session(SECOND, OnBreak::Keep);
    let state = sim.machine.open_session(&open, 9, sim.now).unwrap();
    let (ticket, _) = sim.wait(&call(&["a"]).of(state.key).wait(9 * SECOND));
    let (behind, _) = sim.wait(&call(&["a"]).wait(9 * SECOND));
    sim.pass(SECOND);
    let error = sim.ended(ticket).unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::LeaseLost);
    grant(sim.ended(behind).unwrap().unwrap());
    let late = sim.machine.keep_alive(holder.lease, sim.now).unwrap_err();
    assert_eq!(late.code, ErrorCode::LeaseLost);
}

#[test]
fn a_session_that_expires_is_told_of_each_lease_and_then_of_its_end() {
    let mut sim = Sim::new();
    let open = session(SECOND, OnBreak::Keep);
    let state = sim.machine.open_session(&open, 9, sim.now).unwrap();
    let held = sim.granted(&call(&["a"]).of(state.key));
    sim.pass(SECOND);
    let news: Vec<_> = sim.effects.iter().flat_map(|it| &it.news).collect();
    let [
        (key, SessionNews::Lost { lease, .. }),
        (_, SessionNews::Ended(error)),
    ] = &news[..]
    else {
        panic!("{news:?}");
    };
    assert_eq!(*key, state.key);
    assert_eq!((*lease, error.code), (held.lease, ErrorCode::LeaseLost));
}

#[test]
fn the_ten_thousandth_waiter_is_let_in_by_one_look() {
    let mut sim = Sim::new();
    let mut holder = sim.granted(&call(&["a"]).ttl(100 * SECOND)).lease;
    for _ in 0..10_000 {
        sim.wait_unchecked(&call(&["a"]).ttl(100 * SECOND).wait(90 * SECOND));
    }
    for left in (0..10_000_usize).rev() {
        sim.machine.release(holder, sim.now).unwrap();
        let effects = sim.machine.take_effects().unwrap();
        assert_eq!(effects.answers.len(), 1);
        holder = effects.answers[0].lease.unwrap();
        assert_eq!(sim.machine.status().waiters, left);
    }
}

#[test]
fn after_many_names_nothing_is_left() {
    let mut sim = Sim::new();
    for number in 0..100_000_u32 {
        let acquire = call(&[&format!("lock-{number}")]);
        let Step::Done(acquired) = sim.machine.acquire(&acquire, 1, sim.now).unwrap() else {
            panic!("must be granted");
        };
        let lease = grant(acquired.outcome).lease;
        sim.machine.release(lease, sim.now).unwrap();
    }
    assert_eq!(sim.machine.status().locks, 0);
    assert!(!sim.machine.is_empty());
    sim.pass(600 * SECOND);
    assert!(sim.machine.is_empty());
}

#[test]
fn the_oldest_ended_lease_is_forgotten_at_the_bound() {
    let config = MachineConfig {
        max_request_ids: 2,
        ..MachineConfig::default()
    };
    let mut sim = Sim::with(config, Start::default());
    let leases: Vec<_> = (0..3)
        .map(|_| {
            let lease = sim.granted(&call(&["a"])).lease;
            sim.machine.release(lease, sim.now).unwrap();
            lease
        })
        .collect();
    let forgotten = sim.machine.release(leases[0], sim.now).unwrap_err();
    assert_eq!(forgotten.code, ErrorCode::LeaseNotFound);
    sim.machine.release(leases[1], sim.now).unwrap();
}
