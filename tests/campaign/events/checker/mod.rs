//! Whether events kept their promise, by what clients saw alone. Shares no code with what it checks.
//!
//! It accuses only what no true history shows: a decision lies between a request and its answer, what a client was sent it may read
//! late, and what nobody was told is not known. What it relies on: lives of the daemon are counted, a message of one life is
//! never taken for one of another, and all times are of one clock.

mod groups;
mod topics;

use super::history::History;
use std::collections::BTreeMap;

/// In what way a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged event does not stand.
    Lost,
    /// An event stands more often than it may.
    Doubled,
    /// An event stands elsewhere than was told.
    Moved,
    /// Events stand in an order that their publishers did not give them.
    Swapped,
    /// An event stands that nobody sent, that was refused, or otherwise than it was sent.
    Foreign,
    /// A subscriber saw something else than what stands.
    Missed,
    /// A group is done with its topic, but not with this event.
    Unhandled,
    /// A group's member was handed an event that was settled.
    Redelivered,
    /// A group's member was handed an event while another one had it.
    Shared,
    /// The count of an event's deliveries fell, repeated itself, or rose too high.
    Miscounted,
    /// An event was delivered before one of its key that came first.
    OutOfTurn,
    /// An event is a dead letter without reason, or none in spite of one.
    WronglyDead,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Lost,
        Self::Doubled,
        Self::Moved,
        Self::Swapped,
        Self::Foreign,
        Self::Missed,
        Self::Unhandled,
        Self::Redelivered,
        Self::Shared,
        Self::Miscounted,
        Self::OutOfTurn,
        Self::WronglyDead,
    ];
}

/// What is wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// In words, with the names of the events.
    pub what: String,
}

impl Fault {
    fn new(kind: Kind, what: String) -> Self {
        Self { kind, what }
    }
}

/// Everything that is wrong.
pub fn check(history: &History) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, topic) in history.topics.iter().enumerate() {
        let sent = history.sent.iter().filter(|sent| sent.topic == number);
        let found = topics::check(&sent.collect::<Vec<_>>(), topic);
        faults.extend(found.into_iter().map(|fault| Fault {
            what: format!("topic {number}: {}", fault.what),
            ..fault
        }));
    }
    for group in &history.groups {
        let found = groups::check(&history.topics[group.topic].log, group);
        faults.extend(found.into_iter().map(|fault| Fault {
            what: format!("group {}: {}", group.name, fault.what),
            ..fault
        }));
    }
    faults
}

/// How many of each kind, those that are none too.
pub fn counted(faults: &[Fault]) -> BTreeMap<Kind, usize> {
    let mut counts: BTreeMap<_, _> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    for fault in faults {
        *counts.entry(fault.kind).or_default() += 1;
    }
    counts
}
