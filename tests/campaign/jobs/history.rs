//! What clients of jobs saw: what submitters sent and were told, what workers were handed and said. The checker knows nothing else.

use crate::history::Micros;
use std::fmt;
use trellis_proto::v1::JobState;

/// A job's name: who submitted it, and its number there, which rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub submitter: u64,
    pub number: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(text, "{}-{}", self.submitter, self.number)
    }
}

/// A job as its submitter knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub name: Name,
    /// It has a request id, so that it may be sent more than once and stands once.
    pub named: bool,
    pub max_attempts: i32,
    /// How often it was sent.
    pub times: u64,
    /// The jobs that were told, in order.
    pub answers: Vec<String>,
    /// Attempts to take it back.
    pub cancels: Vec<Heard>,
    /// Ends that were told while the run went on.
    pub told: Vec<Outcome>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub state: JobState,
    pub result: Vec<u8>,
}

/// An attempt that a worker was handed.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub job: String,
    pub name: Name,
    pub lease: String,
    /// Which life of the daemon handed it out: they are counted.
    pub life: u64,
    /// The how manieth attempt it is, as told.
    pub number: i32,
    /// It was not handed out before this.
    pub granted: Micros,
    pub received: Micros,
    /// When the worker surely had it, in which life.
    pub held: Vec<Held>,
    /// What the worker said of it.
    pub said: Option<Said>,
}

/// In this life of the daemon an attempt was its worker's.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub life: u64,
    pub from: Micros,
    pub until: Micros,
}

/// What a worker said of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub word: Word,
    /// When it was said first.
    pub sent: Micros,
    /// How often it was said.
    pub times: u64,
    pub heard: Heard,
}

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Succeeded,
    Failed,
    /// For good.
    Given,
    Throttled,
}

/// What the answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// None, or that nobody knows.
    Nothing,
    /// It is so, by this time.
    Done(Micros),
    Refused,
}

impl Heard {
    /// Whether it may be so.
    pub fn may_be(self) -> bool {
        self != Self::Refused
    }
}

/// A job as it stands in the end.
#[derive(Clone, Debug)]
pub struct Stands {
    pub job: String,
    pub name: Name,
    pub attempts: i32,
    pub outcome: Outcome,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub sent: Vec<Sent>,
    pub attempts: Vec<Attempt>,
    pub stands: Vec<Stands>,
}
