//! Who is told an end, and what is taken back when nobody is.

use super::*;
use trellis_core::limits::{FairShare, Mode, Priority};
use trellis_core::{Micros, Namespace};

const SESSION: Session = Session {
    generation: 1,
    incarnation: 2,
    link: 3,
};

fn seats() -> Arc<Seats> {
    Arc::default()
}

fn sit(seats: &Arc<Seats>, ticket: &str, number: u64) -> Waiting {
    let request = AcquireRequest {
        namespace: Namespace::new("n", "namespace").unwrap(),
        charges: Vec::new(),
        mode: Mode::Wait(Micros::from_secs(1)),
        reservation_ttl: None,
        request_id: None,
        priority: Priority::default(),
        fair: FairShare::UNNAMED,
        dry_run: false,
    };
    seats.take(ticket.to_owned(), number, Arc::new(request))
}

fn granted(ticket: &str) -> Ended {
    Ended(ticket.to_owned(), GRANTED, Data::Nothing, Vec::new())
}

/// Names of what was abandoned.
fn abandoned(seats: &Seats) -> Vec<String> {
    let abandoned = seats.abandoned().into_iter();
    abandoned
        .map(|one| match one {
            Abandoned::Waiting { ticket, .. } => format!("waiting {ticket}"),
            Abandoned::Gone { ticket, .. } => format!("gone {ticket}"),
            Abandoned::Granted(unreceived) => format!("granted at {}", unreceived.at),
        })
        .collect()
}

#[tokio::test]
async fn an_end_that_is_told_before_the_calls_own_answer_is_received() {
    let seats = seats();
    let mut seat = sit(&seats, "t", 0);
    seats.told(granted("t"), 7);
    seat.stands_in_line(SESSION);
    assert!(matches!(seat.end().await, End::Told(_, 7)));
    drop(seat);
    assert!(abandoned(&seats).is_empty() && !seats.holds("n"));
}

#[test]
fn a_caller_that_leaves_the_line_is_taken_out_of_it_and_a_late_grant_is_given_back() {
    let seats = seats();
    let mut seat = sit(&seats, "t", 0);
    seat.stands_in_line(SESSION);
    drop(seat);
    assert_eq!(abandoned(&seats), ["waiting t"]);
    assert!(seats.holds("n"), "its grant may be on its way");
    seats.told(granted("t"), 7);
    assert_eq!(abandoned(&seats), ["granted at 7"]);
    assert!(!seats.holds("n"));
}

#[test]
fn a_grant_that_its_caller_has_not_received_is_given_back() {
    let seats = seats();
    let mut seat = sit(&seats, "t", 0);
    seat.stands_in_line(SESSION);
    seats.told(granted("t"), 7);
    drop(seat);
    assert_eq!(abandoned(&seats), ["granted at 7"]);
    assert!(!seats.holds("n"));
}

#[test]
fn a_caller_that_leaves_before_its_answer_leaves_the_rest_to_the_heir() {
    let seats = seats();
    drop(sit(&seats, "t", 0));
    assert!(abandoned(&seats).is_empty());
    seats.abandon_seat("t");
    assert_eq!(abandoned(&seats), ["waiting t"]);
    seats.forget("t");
    seats.abandon_seat("t");
    assert!(abandoned(&seats).is_empty() && !seats.holds("n"));
}

#[test]
fn a_seat_that_nobody_received_is_left_with_the_call_that_was_made_again() {
    let seats = seats();
    let mut former = sit(&seats, "old", 0);
    former.stands_in_line(SESSION);
    let mut latter = sit(&seats, "new", 1);
    latter.stands_in_line(SESSION);
    seats.end("old", End::MadeAgain(Ok(Attempt::Queued(latter))));
    drop(former);
    assert_eq!(abandoned(&seats), ["waiting new"]);
}

#[test]
fn calls_of_a_session_that_is_over_are_told_in_order_of_arrival() {
    let seats = seats();
    let mut kept = Vec::new();
    for (ticket, number) in [("c", 12), ("a", 10), ("b", 11)] {
        let mut seat = sit(&seats, ticket, number);
        seat.stands_in_line(SESSION);
        kept.push(seat);
    }
    let asked = sit(&seats, "asked", 1);
    let link = Session { link: 4, ..SESSION };
    assert!(seats.forgotten_in(link).is_empty());
    let generation = Session {
        generation: 2,
        ..SESSION
    };
    let forgotten = seats.forgotten_in(generation);
    let tickets: Vec<&str> = forgotten
        .iter()
        .map(|(_, ticket)| ticket.as_str())
        .collect();
    assert_eq!(tickets, ["a", "b", "c"]);
    assert_eq!(seats.in_line("n").len(), 3);
    drop(asked);
}

#[tokio::test]
async fn a_call_that_is_not_in_line_ends_in_its_own_session_only() {
    let seats = seats();
    let mut seat = sit(&seats, "t", 0);
    seat.stands_in_line(SESSION);
    let other = Session {
        incarnation: 9,
        ..SESSION
    };
    seats.untold(&["t".to_owned()], other);
    assert!(seats.holds("n"));
    seats.untold(&["t".to_owned()], SESSION);
    assert!(matches!(seat.end().await, End::Untold));
}
