//! Buckets come with their first charge and go when they are idle and full; pages of what is there.

use super::harness::*;
use crate::limits::{ListBuckets, ListLimits, MachineConfig, Outcome};
use crate::{ErrorCode, Micros};

fn small(max_buckets: usize, max_limits: usize) -> Sim {
    Sim::with(MachineConfig {
        max_limits,
        max_buckets,
        // Room is made by those who need it.
        sweep_every: Micros::from_secs(3_600),
        ..MachineConfig::default()
    })
}

// Pitfall 14: eviction is a reset, so only what is full may be evicted.
#[test]
fn a_flood_of_keys_does_not_reset_a_used_bucket() {
    let mut sim = small(10, 10).declare(&[("l", rate(1, 10))]);
    assert!(sim.granted(&call(&[("l/victim", 10)])));
    let flood: Vec<_> = (0..100)
        .map(|index| sim.step(&call(&[(format!("l/{index}").as_str(), 1)])))
        .collect();
    let refused = flood.iter().filter_map(|step| step.as_ref().err());
    assert_eq!(refused.clone().count(), 91);
    assert!(
        refused
            .clone()
            .all(|error| error.code == ErrorCode::TooManyBuckets)
    );
    assert!(refused.clone().all(|error| error.retry_after.is_some()));
    assert_eq!(sim.remaining("l/victim"), 0);
    // The flood's own are full after a second; the victim's is not.
    sim.pass(SECOND);
    assert!(sim.granted(&call(&[("l/new", 1)])));
    assert_eq!(sim.remaining("l/victim"), 1);
}

// Pitfall 14.
#[test]
fn only_idle_full_buckets_are_dropped_and_inline_limits_with_their_last() {
    let mut sim = Sim::new().declare(&[("declared", rate(1, 1))]);
    assert!(sim.granted(&call(&[("declared", 1)])));
    assert!(sim.granted(&call(&[("short", 1)]).spec(&rate(1, 1))));
    assert!(sim.granted(&call(&[("long", 5)]).spec(&rate(1, 10))));
    assert!(sim.granted(&call(&[("paused", 1)]).spec(&rate(1, 1))));
    sim.throttle("paused", 60 * SECOND, None);
    sim.pass(4 * SECOND);
    let status = sim.machine.status();
    assert_eq!((status.limits, status.buckets), (3, 2));
    sim.pass(2 * SECOND);
    assert_eq!(sim.machine.status().buckets, 1, "paused is not idle");
    sim.pass(60 * SECOND);
    let status = sim.machine.status();
    assert_eq!(
        (status.limits, status.buckets),
        (1, 0),
        "declared limits stay"
    );
}

#[test]
fn a_full_bucket_that_a_waiter_wants_is_not_dropped() {
    let mut sim = Sim::new();
    assert!(sim.granted(&call(&[("a", 10)]).spec(&rate(1, 10))));
    let waiter = sim.wait(
        &call(&[("a", 10), ("b", 1)])
            .spec(&rate(1, 10))
            .wait(60 * SECOND),
    );
    sim.pass(5 * SECOND);
    assert_eq!(sim.machine.status().buckets, 2);
    sim.pass(60 * SECOND);
    assert_eq!(sim.granted_at(waiter), Some(10 * SECOND));
    assert!(sim.machine.is_empty());
}

#[test]
fn the_bound_on_buckets_holds_when_room_is_made_with_a_bucket_of_the_same_call() {
    let mut sim = small(2, 10).declare(&[("l", rate(1, 10))]);
    assert!(sim.granted(&call(&[("l/idle", 1)])));
    assert!(sim.granted(&call(&[("l/used", 10)])));
    sim.pass(2 * SECOND - 1);
    let error = sim.error(&call(&[("l/idle", 1), ("l/new", 1)]));
    assert_eq!(error.code, ErrorCode::TooManyBuckets);
    assert!(sim.machine.status().buckets <= 2);
    assert!(sim.granted(&call(&[("l/new", 1)])));
}

#[test]
fn the_bound_on_limits_counts_a_new_limit_once_however_many_keys_are_charged() {
    let mut sim = small(10, 2).declare(&[("declared", rate(1, 1))]);
    let keys = call(&[("new/a", 1), ("new/b", 1), ("new/c", 1)]).spec(&rate(1, 1));
    assert!(sim.granted(&keys));
    let error = sim.error(&call(&[("another", 1)]).spec(&rate(1, 1)));
    assert_eq!(error.code, ErrorCode::TooManyLimits);
    let set = set_limit("another", rate(1, 1));
    let error = sim.machine.set_limit(&set, sim.now).unwrap_err();
    assert_eq!(error.code, ErrorCode::TooManyLimits);
    assert_eq!(sim.machine.status().limits, 2);
}

#[test]
fn a_sweep_after_a_flood_finds_what_is_left() {
    let mut sim = Sim::new().declare(&[("l", rate(1, 1)), ("slow", rate(1, 1_000))]);
    for index in 0..10_000 {
        let name = format!("l/{index}");
        let _ = sim.machine.acquire(&call(&[(&name, 1)]), sim.now);
    }
    assert!(sim.granted(&call(&[("slow", 2)])));
    sim.pass(10 * SECOND);
    assert_eq!(sim.machine.status().buckets, 0);
}

#[test]
fn only_live_buckets_are_listed_and_counted_by_a_reset() {
    let mut sim = small(10, 10).declare(&[("l", rate(1, 2))]);
    assert!(sim.granted(&call(&[("l/full", 1)])));
    sim.pass(SECOND - 1);
    assert!(sim.granted(&call(&[("l/used", 2)])));
    sim.pass(1);
    assert_eq!(buckets(&mut sim, "l", 10), ["used"]);
    assert_eq!(sim.reset("l", None), 1);
    assert_eq!(sim.reset("l", Some("unknown")), 0);
}

fn buckets(sim: &mut Sim, limit: &str, page_size: usize) -> Vec<String> {
    let mut list = ListBuckets {
        namespace: namespace(),
        limit: name(limit),
        page_size,
        after: None,
    };
    let mut keys = Vec::new();
    loop {
        let (page, more) = sim.machine.list_buckets(&list, sim.now).unwrap();
        assert!(page.len() <= page_size && (!more || page.len() == page_size));
        list.after = page.last().map(|state| state.key.clone());
        keys.extend(page.into_iter().map(|state| String::from(state.key)));
        if !more {
            return keys;
        }
    }
}

#[test]
fn pages_of_buckets_are_complete_and_in_byte_order() {
    let mut sim = Sim::new().declare(&[("l", rate(1, 100))]);
    let keys = ["", "a", "B", "b", "ä", "aa", "Z", "0", "10", "9"];
    for key in keys {
        assert!(sim.granted(&call(&[(format!("l/{key}").as_str(), 50)])));
    }
    let mut sorted: Vec<String> = keys.iter().map(ToString::to_string).collect();
    sorted.sort_unstable();
    for page_size in 1..=11 {
        assert_eq!(
            buckets(&mut sim, "l", page_size),
            sorted,
            "{page_size} a page"
        );
    }
}

#[test]
fn pages_of_limits_show_once_what_is_there_all_the_time_whatever_comes_and_goes() {
    let mut sim = Sim::new();
    for index in (0..100).step_by(2) {
        sim.set(&set_limit(&format!("l{index:02}"), rate(1, 1)));
    }
    let mut list = ListLimits {
        namespace: namespace(),
        page_size: 7,
        after: None,
    };
    let mut names: Vec<String> = Vec::new();
    for turn in 0.. {
        let (page, more) = sim.machine.list_limits(&list, sim.now);
        list.after = page.last().map(|limit| limit.name.clone());
        names.extend(page.into_iter().map(|limit| String::from(limit.name)));
        if !more {
            break;
        }
        // Odd ones come and go on both sides of the place.
        for other in [1, 99 - turn * 2] {
            sim.set(&set_limit(&format!("l{other:02}"), rate(1, 1)));
        }
        let delete = crate::limits::DeleteLimit {
            namespace: namespace(),
            name: name("l01"),
            request_id: None,
        };
        sim.machine.delete_limit(&delete, sim.now).unwrap();
    }
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
    let even = names
        .iter()
        .filter(|name| name.ends_with(['0', '2', '4', '6', '8']));
    assert_eq!(even.count(), 50);
}

#[test]
fn a_look_changes_nothing_and_tells_level_pause_line_and_when_it_is_full() {
    let mut sim = Sim::new().declare(&[("l", rate(2, 10)), ("s", slots(2))]);
    assert!(sim.granted(&call(&[("l", 10)])));
    sim.reserve(&call(&[("s", 1)]).ttl(3 * SECOND));
    sim.wait(&call(&[("l", 4)]).wait(60 * SECOND));
    sim.throttle("l", 9 * SECOND, None);
    sim.pass(SECOND);
    let before = sim.machine.picture(sim.now);
    let state = sim.machine.peek(&name("l"), &key(""), sim.now).unwrap();
    assert_eq!((state.remaining, state.capacity, state.waiters), (2, 10, 1));
    assert_eq!(state.full_after, Micros(4 * SECOND));
    assert_eq!(state.paused_for, Some(Micros(8 * SECOND)));
    let state = sim.machine.peek(&name("s"), &key(""), sim.now).unwrap();
    assert_eq!((state.remaining, state.full_after), (1, Micros(2 * SECOND)));
    let state = sim.machine.peek(&name("l"), &key("new"), sim.now).unwrap();
    assert_eq!((state.remaining, state.paused_for), (10, None));
    assert_eq!(sim.machine.picture(sim.now), before);
    assert_eq!(sim.machine.status().buckets, 2, "nor makes a bucket");
}

#[test]
fn a_charge_that_never_fits_is_told_no_time_and_a_dry_run_tells_what_it_would_replace() {
    for spec in [rate(1, 10), window(10), minute(10), slots(10)] {
        let mut sim = Sim::new().declare(&[("l", spec.clone())]);
        assert!(sim.granted(&call(&[("l", 5)])));
        let never = sim.acquire(&call(&[("l", 11)]));
        assert_eq!(never.outcome, Outcome::Never);
        assert_eq!(never.charges[0].retry_after, None, "{spec:?}");
    }
    let mut sim = Sim::new();
    assert!(sim.granted(&call(&[("l", 5)]).spec(&rate(1, 10))));
    let other = call(&[("l", 1)]).spec(&rate(1, 20));
    let mut dry = other.clone();
    dry.dry_run = true;
    assert!(sim.acquire(&dry).charges[0].spec_replaced);
    assert!(
        sim.acquire(&dry).charges[0].spec_replaced,
        "it replaced nothing"
    );
    assert!(sim.acquire(&other).charges[0].spec_replaced);
    assert!(!sim.acquire(&dry).charges[0].spec_replaced);
}
