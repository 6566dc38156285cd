//! What clients of events saw: what publishers sent and were told, what readers read, what members of groups were handed
//! and said. The checker knows nothing else.

use crate::history::Micros;
use std::fmt;

/// An event's name: who published it, and its number there, which rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub publisher: u64,
    pub number: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "{}-{}", self.publisher, self.number)
    }
}

/// An event as its publisher knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub name: Name,
    /// Number of its topic.
    pub topic: usize,
    /// It has an id, so that it may be sent more than once and stands once.
    pub named: bool,
    /// Of everything that it says.
    pub digest: u64,
    /// When it was sent first.
    pub at: Micros,
    /// How often it was sent.
    pub times: u64,
    /// What was answered, in order.
    pub answers: Vec<Answer>,
    /// How often the answer was that it does not stand.
    pub refused: u64,
}

/// It stands.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub offset: i64,
    pub at: Micros,
    pub duplicate: bool,
}

/// An event as a reader or a member saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub offset: i64,
    pub name: Name,
    pub digest: u64,
    /// Number of its ordering key.
    pub key: Option<u64>,
}

/// What was seen of a topic.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    /// All that stands in the end.
    pub log: Vec<Stored>,
    /// What the subscriber was told that goes on from its last cursor.
    pub followed: Vec<Stored>,
    /// What it was told that it may have missed.
    pub gaps: Vec<String>,
}

/// An event that a member of a group was handed.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub event: Stored,
    /// Which life of the daemon handed it out: they are counted.
    pub life: u64,
    /// The how manieth delivery it is, as told.
    pub attempt: i32,
    /// It was not handed out before this: the member had not asked for as many.
    pub granted: Micros,
    pub received: Micros,
    /// What the member said of it, in order.
    pub said: Vec<Said>,
}

/// What a member said of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub word: Word,
    /// When it was said first.
    pub sent: Micros,
    pub heard: Heard,
}

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Ack,
    /// It comes again after this at the earliest.
    Nack(Micros),
    Reject,
    /// For the group's lease from now.
    Extend,
}

/// What the answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// None.
    Nothing,
    /// It is so.
    Done(Micros),
    Refused,
}

impl Said {
    /// Whether it is known to be so.
    pub fn is_done(&self) -> bool {
        matches!(self.heard, Heard::Done(_))
    }

    /// Whether it may be so.
    pub fn may_be(&self) -> bool {
        self.heard != Heard::Refused
    }
}

/// A dead letter.
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    pub offset: i64,
    pub attempts: i32,
    /// A member rejected it; otherwise it was delivered too often.
    pub rejected: bool,
}

/// What was seen of a group.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// Number of its topic.
    pub topic: usize,
    /// Events of one key are delivered one after the other.
    pub ordered: bool,
    pub lease: Micros,
    pub max_attempts: i32,
    pub deliveries: Vec<Delivery>,
    /// In the end.
    pub dead: Vec<Dead>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sent: Vec<Sent>,
    pub topics: Vec<Topic>,
    pub groups: Vec<Group>,
}
