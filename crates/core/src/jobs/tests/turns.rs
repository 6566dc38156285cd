//! Who is next.

use super::super::*;
use super::harness::*;
use std::collections::BTreeMap;

fn fair(key: &str, weight: u32) -> JobSpec {
    with(|spec| spec.options.turn = Some(turn(key, weight)))
}

#[test]
fn the_highest_priority_goes_first_and_of_one_priority_who_came_first() {
    let mut run = Run::new();
    let mut jobs = Vec::new();
    for priority in [5, 9, 5, 0, 9] {
        jobs.push(run.submit(&with(|spec| spec.priority = priority)));
    }
    let expected = [jobs[1], jobs[4], jobs[0], jobs[2], jobs[3]];
    assert_eq!(run.drain(), expected);
}

#[test]
fn keys_take_turns_by_their_weights_however_many_jobs_one_has() {
    let mut run = Run::new();
    let mut whose = BTreeMap::new();
    for _ in 0..300 {
        whose.insert(run.submit(&fair("a", 1)), 'a');
    }
    for _ in 0..60 {
        whose.insert(run.submit(&fair("b", 2)), 'b');
        whose.insert(run.submit(&spec()), 'c');
    }
    let order = run.drain();
    assert_eq!(order.len(), 420);
    let first = order[..80].iter();
    let count = |letter| first.clone().filter(|job| whose[*job] == letter).count();
    assert!((19..=21).contains(&count('a')), "{}", count('a'));
    assert!((39..=41).contains(&count('b')), "{}", count('b'));
    assert!((19..=21).contains(&count('c')), "{}", count('c'));
    for letter in ['a', 'b', 'c'] {
        let own: Vec<_> = order.iter().filter(|job| whose[job] == letter).collect();
        assert!(own.is_sorted(), "who came first of a key goes first");
    }
}

#[test]
fn a_key_that_comes_late_owes_nothing_and_is_owed_nothing() {
    let mut run = Run::new();
    for _ in 0..100 {
        run.submit(&fair("a", 1));
    }
    for _ in 0..50 {
        let held = run.next().unwrap();
        run.succeed(held);
    }
    let late: Vec<_> = (0..10).map(|_| run.submit(&fair("b", 1))).collect();
    let order = run.drain();
    let places = late.iter().map(|job| order.iter().position(|it| it == job));
    let last = places.map(Option::unwrap).max().unwrap();
    assert!((18..=21).contains(&last), "{last}");
}

#[test]
fn a_job_that_runs_again_keeps_its_place() {
    let mut run = Run::new();
    let jobs: Vec<_> = (0..3).map(|_| run.submit(&spec())).collect();
    let held = run.next().unwrap();
    run.end(held, AttemptEnd::Released);
    assert_eq!(run.drain(), jobs);
}
