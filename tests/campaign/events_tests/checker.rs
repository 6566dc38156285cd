//! The checker of events on histories whose truth is known: one that kept every promise is not accused, and each way to break
//! one is found, and nothing else.

use crate::events::checker::{Kind, check};
use crate::events::history::{
    Answer, Dead, Delivery, Group, Heard, History, Name, Said, Sent, Stored, Topic, Word,
};

const LEASE: u64 = 1_000_000;

fn name(number: u64) -> Name {
    Name {
        publisher: number % 2,
        number,
    }
}

/// Event `number` stands at ten times that.
fn stored(number: u64) -> Stored {
    Stored {
        offset: number.cast_signed() * 10,
        name: name(number),
        digest: number,
        key: Some(number % 2),
    }
}

/// It is sent at ten times that in milliseconds, and answered 5 ms later.
fn sent(number: u64) -> Sent {
    let at = 1_000_000 + number * 10_000;
    Sent {
        name: name(number),
        topic: 0,
        named: true,
        digest: number,
        at,
        times: 1,
        answers: vec![Answer {
            offset: number.cast_signed() * 10,
            at: at + 5_000,
            duplicate: false,
        }],
        refused: 0,
    }
}

/// A delivery that is received at this time, in milliseconds, with what is said of it at once.
fn delivery(number: u64, (life, attempt): (u64, i32), at: u64, word: Option<Word>) -> Delivery {
    let said = word.map(|word| Said {
        word,
        sent: at * 1_000,
        heard: Heard::Done(at * 1_000 + 500),
    });
    Delivery {
        event: stored(number),
        life,
        attempt,
        granted: at * 1_000 - 500,
        received: at * 1_000,
        said: said.into_iter().collect(),
    }
}

/// Six events, each once, that everybody saw, and a group that handled them: the third was given back once, the last but one was
/// forgotten and came again in another life, and the last was rejected.
fn right() -> History {
    let ack = Some(Word::Ack);
    let deliveries = vec![
        delivery(0, (1, 1), 2_000, ack),
        delivery(1, (1, 1), 2_001, ack),
        delivery(2, (1, 1), 2_002, Some(Word::Nack(3_000))),
        delivery(2, (1, 2), 2_006, ack),
        delivery(3, (1, 1), 2_003, ack),
        delivery(4, (1, 1), 2_007, None),
        delivery(4, (2, 1), 2_100, ack),
        delivery(5, (2, 1), 2_101, Some(Word::Reject)),
    ];
    History {
        sent: (0..6).map(sent).collect(),
        topics: vec![Topic {
            log: (0..6).map(stored).collect(),
            followed: (0..6).map(stored).collect(),
            gaps: Vec::new(),
        }],
        groups: vec![Group {
            name: "ordered".to_owned(),
            topic: 0,
            ordered: true,
            lease: LEASE,
            max_attempts: 3,
            deliveries,
            dead: vec![Dead {
                offset: 50,
                attempts: 1,
                rejected: true,
            }],
        }],
    }
}

/// The kinds of what is found when the right history is changed, each once.
fn found(change: impl FnOnce(&mut History)) -> Vec<Kind> {
    let mut history = right();
    change(&mut history);
    let faults = check(&history);
    let mut kinds: Vec<Kind> = faults.iter().map(|fault| fault.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Takes an event out of everything that was seen of it, as if it had not been kept.
fn unseen(history: &mut History, number: u64) {
    let topic = &mut history.topics[0];
    topic.log.retain(|event| event.name != name(number));
    topic.followed.retain(|event| event.name != name(number));
    let deliveries = &mut history.groups[0].deliveries;
    deliveries.retain(|delivery| delivery.event.name != name(number));
}

#[test]
fn a_history_in_which_every_promise_was_kept_is_not_accused() {
    assert_eq!(found(|_| {}), []);
    // An event that nobody was told of, and that does not stand.
    let unanswered = |history: &mut History| {
        unseen(history, 3);
        history.sent[3].answers.clear();
    };
    assert_eq!(found(unanswered), []);
    // One that stands nevertheless.
    assert_eq!(found(|it| it.sent[3].answers.clear()), []);
    // A repeat that was answered as such.
    let repeated = |history: &mut History| {
        let sent = &mut history.sent[3];
        sent.times = 2;
        sent.answers[0].duplicate = true;
    };
    assert_eq!(found(repeated), []);
    // An acknowledgement that was not answered counted.
    let unheard = |history: &mut History| {
        let said = &mut history.groups[0].deliveries[0].said;
        let again = said[0];
        said[0].heard = Heard::Refused;
        said.push(again);
    };
    assert_eq!(found(unheard), []);
}

#[test]
fn an_acknowledged_event_that_is_gone_is_found_and_named() {
    assert_eq!(found(|it| unseen(it, 3)), [Kind::Lost]);
    let mut history = right();
    unseen(&mut history, 3);
    let what = &check(&history)[0].what;
    assert!(what.contains("1-3, acknowledged at 30"), "{what}");
}

/// Has an event stand once more, at the end, seen and handled there.
fn twice(history: &mut History, number: u64) {
    let again = Stored {
        offset: 60,
        ..stored(number)
    };
    history.topics[0].log.push(again);
    history.topics[0].followed.push(again);
    let mut delivery = delivery(number, (2, 1), 2_200, Some(Word::Ack));
    delivery.event = again;
    history.groups[0].deliveries.push(delivery);
}

#[test]
fn an_event_that_stands_more_often_than_it_may_is_found() {
    assert_eq!(found(|it| twice(it, 3)), [Kind::Doubled]);
    let without_id = |history: &mut History, times| {
        twice(history, 3);
        history.sent[3].named = false;
        history.sent[3].times = times;
    };
    assert_eq!(found(|it| without_id(it, 1)), [Kind::Doubled]);
    assert_eq!(found(|it| without_id(it, 2)), []);
    // Told to be the first time, twice.
    let first = |history: &mut History| {
        let sent = &mut history.sent[3];
        sent.times = 2;
        sent.answers.push(sent.answers[0]);
    };
    assert_eq!(found(first), [Kind::Doubled]);
    // Told to be a repeat when it was none.
    let only = |history: &mut History| history.sent[3].answers[0].duplicate = true;
    assert_eq!(found(only), [Kind::Doubled]);
}

#[test]
fn an_event_that_stands_elsewhere_is_found() {
    let moved = |history: &mut History| history.sent[3].answers[0].offset = 31;
    assert_eq!(found(moved), [Kind::Moved]);
}

/// Has two events change places, for everybody.
fn swap(history: &mut History, first: u64, second: u64) {
    let other = |event: &mut Stored| {
        let number = match event.name.number {
            number if number == first => second,
            number if number == second => first,
            _ => return,
        };
        let offset = event.offset;
        *event = Stored {
            offset,
            ..stored(number)
        };
    };
    history.topics[0].log.iter_mut().for_each(other);
    history.topics[0].followed.iter_mut().for_each(other);
    let deliveries = &mut history.groups[0].deliveries;
    for delivery in deliveries {
        other(&mut delivery.event);
    }
    let offsets = [first, second].map(|number| number.cast_signed() * 10);
    for (number, offset) in [(first, offsets[1]), (second, offsets[0])] {
        let place = usize::try_from(number).unwrap();
        history.sent[place].answers[0].offset = offset;
    }
}

#[test]
fn events_that_changed_places_are_found() {
    // Of one publisher.
    assert_eq!(found(|it| swap(it, 0, 2)), [Kind::Swapped]);
    // Of two, one of which was answered before the other was sent.
    assert_eq!(found(|it| swap(it, 0, 1)), [Kind::Swapped]);
    // Of two at a time: either order is right.
    let together = |history: &mut History| {
        history.sent[1].at = history.sent[0].at;
        swap(history, 0, 1);
    };
    assert_eq!(found(together), []);
}

#[test]
fn what_nobody_sent_or_what_was_refused_is_found() {
    let nobody = |history: &mut History| drop(history.sent.remove(3));
    assert_eq!(found(nobody), [Kind::Foreign]);
    let changed = |history: &mut History| history.sent[3].digest = 0;
    assert_eq!(found(changed), [Kind::Foreign]);
    let refused = |history: &mut History| {
        history.sent[3].answers.clear();
        history.sent[3].refused = 1;
    };
    assert_eq!(found(refused), [Kind::Foreign]);
}

#[test]
fn a_subscriber_that_missed_or_repeated_something_is_found() {
    type Change = fn(&mut Topic);
    let changes: [Change; 5] = [
        |topic| _ = topic.followed.remove(3),
        |topic| _ = topic.followed.pop(),
        |topic| topic.followed.insert(3, stored(2)),
        |topic| topic.followed.swap(2, 3),
        |topic| topic.gaps.push("was told of a gap".to_owned()),
    ];
    for change in changes {
        assert_eq!(found(|it| change(&mut it.topics[0])), [Kind::Missed]);
    }
}

/// The right history with other deliveries.
fn delivered(change: impl FnOnce(&mut Vec<Delivery>)) -> Vec<Kind> {
    found(|history| change(&mut history.groups[0].deliveries))
}

#[test]
fn an_event_that_a_group_passed_over_is_found() {
    assert_eq!(delivered(|it| drop(it.remove(0))), [Kind::Unhandled]);
    // Delivered, and only given back.
    let given_back = |it: &mut Vec<Delivery>| drop(it.remove(3));
    assert_eq!(delivered(given_back)[0], Kind::Unhandled);
    let not_there = |it: &mut Vec<Delivery>| it[0].event.digest = 7;
    assert_eq!(delivered(not_there), [Kind::Foreign]);
}

#[test]
fn an_event_that_comes_again_after_it_was_settled_is_found() {
    let again = delivery(1, (2, 2), 2_300, None);
    let in_another_life = delivered(|it| it.push(again));
    assert!(
        in_another_life.contains(&Kind::Redelivered),
        "{in_another_life:?}"
    );
    let again = delivery(0, (1, 2), 3_300, None);
    assert_eq!(delivered(|it| it.push(again)), [Kind::Redelivered]);
    let rejected = delivery(5, (2, 2), 3_300, None);
    assert_eq!(delivered(|it| it.push(rejected)), [Kind::Redelivered]);
    // What was handed out before and is read late is none.
    let late = |it: &mut Vec<Delivery>| {
        it[2].received = 2_300_000;
        it[2].said.clear();
        it[2].granted = 900_000;
    };
    assert_eq!(delivered(late), []);
}

#[test]
fn an_event_that_two_members_have_is_found() {
    // The lease of the first is not over.
    let early = |it: &mut Vec<Delivery>| it[2].said.clear();
    assert_eq!(delivered(early), [Kind::Shared]);
    let over = |it: &mut Vec<Delivery>| {
        it[2].said.clear();
        it[2].granted -= LEASE;
    };
    assert_eq!(delivered(over), []);
    // It was made longer.
    let longer = |it: &mut Vec<Delivery>| {
        it[2].said[0].word = Word::Extend;
        it[2].granted -= LEASE;
    };
    assert_eq!(delivered(longer), [Kind::Shared]);
    // Sooner than the member that gave it back has said.
    let soon = |it: &mut Vec<Delivery>| it[2].said[0].word = Word::Nack(30_000);
    assert_eq!(delivered(soon), [Kind::Shared]);
}

#[test]
fn deliveries_that_are_counted_wrongly_are_found() {
    let same = |it: &mut Vec<Delivery>| it[3].attempt = 1;
    assert_eq!(delivered(same), [Kind::Miscounted]);
    let fell = |it: &mut Vec<Delivery>| it[5].attempt = 2;
    assert_eq!(delivered(fell), [Kind::Miscounted]);
    let many = |it: &mut Vec<Delivery>| it[6].attempt = 4;
    assert_eq!(delivered(many), [Kind::Miscounted]);
}

#[test]
fn an_event_that_comes_before_one_of_its_key_is_found() {
    // 2 stands before 4, and was settled at 2,006.
    let before = |it: &mut Vec<Delivery>| it[5].received = 2_001_000;
    assert_eq!(delivered(before), [Kind::OutOfTurn]);
    // Another key does not matter.
    let other = |it: &mut Vec<Delivery>| it[1].received = 1_999_000;
    assert_eq!(delivered(other), []);
    // 1 comes again in a life after that in which 3 came.
    let afterwards = |it: &mut Vec<Delivery>| {
        it[1].said[0].heard = Heard::Nothing;
        it.push(delivery(1, (2, 1), 2_200, Some(Word::Ack)));
    };
    assert_eq!(delivered(afterwards), [Kind::OutOfTurn]);
    let plain = |history: &mut History| {
        afterwards(&mut history.groups[0].deliveries);
        history.groups[0].ordered = false;
    };
    assert_eq!(found(plain), []);
}

#[test]
fn a_dead_letter_without_reason_is_found() {
    let dead = |offset, attempts, rejected| Dead {
        offset,
        attempts,
        rejected,
    };
    let with = |letter| found(|history| history.groups[0].dead.push(letter));
    assert_eq!(with(dead(0, 1, true)), [Kind::WronglyDead]);
    assert_eq!(with(dead(0, 2, false)), [Kind::WronglyDead]);
    let none = |history: &mut History| history.groups[0].dead.clear();
    assert_eq!(found(none), [Kind::Unhandled, Kind::WronglyDead]);
    // Given back as often as the group allows.
    let often = |history: &mut History| {
        let group = &mut history.groups[0];
        group.deliveries[3].said[0].word = Word::Nack(0);
        let last = delivery(2, (1, 3), 2_006, Some(Word::Nack(0)));
        group.deliveries.push(last);
        group.dead.push(dead(20, 3, false));
    };
    assert_eq!(found(often), []);
}
