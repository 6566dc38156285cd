//! Hints that come too early, looks that overlap, calls that leave.

use super::*;
use trellis_core::cache::{ReadFrom, StaleMode};

fn place() -> Place {
    let namespace = Namespace::new("n", "namespace").unwrap();
    (namespace, EntryKey::new("k", "key").unwrap(), 7)
}

fn joining(ticket: u64, since: u64) -> Joining {
    Joining {
        ticket,
        options: FetchOptions {
            stale: StaleMode::Never,
            refresh: false,
            lease_ttl: Micros::from_secs(1),
            compute_deadline: Micros::from_secs(1),
            read: ReadFrom::Near,
        },
        parts: true,
        round: 0,
        look_in: Micros::from_secs(1),
        since,
    }
}

fn flying(round: u64, size: usize, bytes: &'static [u8]) -> Seen {
    Seen::Flying {
        round,
        reason: LeaseEnd::GivenUp,
        ends_in: Micros::from_secs(1),
        size,
        bytes: bytes::Bytes::from_static(bytes),
    }
}

fn part(told: Option<Told>) -> bytes::Bytes {
    match told {
        Some(Told::Progress(Progress::Part(part))) => part,
        other => panic!("no part but {other:?}"),
    }
}

const NOW: Time = Time(1_000_000);

#[test]
fn a_hint_that_overtakes_the_answer_is_not_missed() {
    let lines = Lines::default();
    let since = lines.mark();
    lines.hint(Hint::Flight(place()), NOW);
    lines.join(&place(), joining(1, since), NOW);
    assert_eq!(lines.due(NOW).len(), 1);
}

#[test]
fn a_hint_from_before_or_for_another_flight_costs_no_look() {
    let lines = Lines::default();
    lines.hint(Hint::Flight(place()), NOW);
    let since = lines.mark();
    let (namespace, key, _) = place();
    lines.hint(Hint::Flight((namespace, key, 8)), NOW);
    lines.join(&place(), joining(1, since), NOW);
    assert!(lines.due(NOW).is_empty());
    assert_eq!(lines.next_due(), Some(NOW + Micros::from_secs(1)));
}

#[test]
fn when_hints_are_no_longer_kept_a_call_that_joins_is_looked_after() {
    let lines = Lines::default();
    let since = lines.mark();
    let (namespace, key, _) = place();
    for flight in 0..=u64::try_from(MAX_HINTS).unwrap() {
        let other = (namespace.clone(), key.clone(), 1_000 + flight);
        lines.hint(Hint::Flight(other), NOW);
    }
    lines.join(&place(), joining(1, since), NOW);
    assert_eq!(lines.due(NOW).len(), 1);
}

#[test]
fn a_hint_during_a_look_brings_another_look() {
    let lines = Lines::default();
    lines.join(&place(), joining(1, 0), NOW);
    lines.hint(Hint::All, NOW);
    let look = lines.due(NOW).pop().unwrap();
    lines.hint(Hint::All, NOW);
    assert!(lines.due(NOW).is_empty(), "one look at a time");
    lines.looked(&look, flying(0, 0, b""), NOW);
    assert_eq!(lines.due(NOW).len(), 1);
}

#[test]
fn parts_are_told_once_and_again_after_a_restart() {
    let lines = Lines::default();
    lines.join(&place(), joining(1, 0), NOW);
    lines.hint(Hint::All, NOW);
    let look = lines.due(NOW).pop().unwrap();
    assert_eq!(look.offset, Some(0));
    lines.looked(&look, flying(0, 5, b"abc"), NOW);
    assert_eq!(part(lines.take(&place(), 1)), "abc");
    assert!(lines.take(&place(), 1).is_none());
    // Not all has come yet, so the rest is fetched at once.
    let look = lines.due(NOW).pop().unwrap();
    assert_eq!(look.offset, Some(3));
    // Meanwhile another holder has begun again, whose bytes from 3 on are of another value.
    lines.looked(&look, flying(1, 4, b"X"), NOW);
    let told = lines.take(&place(), 1);
    let restarted = Progress::Restarted(LeaseEnd::GivenUp);
    assert!(matches!(told, Some(Told::Progress(progress)) if progress == restarted));
    assert!(lines.take(&place(), 1).is_none());
    let look = lines.due(NOW).pop().unwrap();
    assert_eq!(look.offset, Some(0));
    lines.looked(&look, flying(1, 4, b"wxyz"), NOW);
    assert_eq!(part(lines.take(&place(), 1)), "wxyz");
}

#[test]
fn a_lease_for_a_call_that_has_left_is_an_orphan() {
    let lines = Lines::default();
    lines.join(&place(), joining(1, 0), NOW);
    lines.join(&place(), joining(2, 0), NOW);
    lines.hint(Hint::All, NOW);
    let look = lines.due(NOW).pop().unwrap();
    assert_eq!(look.ticket, 1);
    assert_eq!(lines.leave(&place(), 1), (true, None));
    let lease = Lease {
        id: LeaseId(9),
        ttl: Micros::from_secs(1),
        deadline: Micros::from_secs(1),
    };
    let taken = || Seen::Taken {
        round: 1,
        reason: LeaseEnd::Expired,
        lease,
    };
    let effects = lines.looked(&look, taken(), NOW);
    assert_eq!((effects.orphan, effects.granted), (Some(lease.id), false));
    // And one that is received by nobody is given back by who leaves.
    lines.hint(Hint::All, NOW);
    let look = lines.due(NOW).pop().unwrap();
    assert_eq!(look.ticket, 2);
    assert!(lines.looked(&look, taken(), NOW).granted);
    assert_eq!(lines.leave(&place(), 2), (false, Some(lease.id)));
    assert_eq!((lines.waiters(), lines.next_due()), (0, None));
}
