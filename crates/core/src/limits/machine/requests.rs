//! Remembered request ids: a repeat within the window gets the first answer.
//!
//! Bounded: at the bound new ids are refused, none is forgotten early. Errors are not remembered.

use super::super::types::{Acquired, LimitState};
use super::Ticket;
use crate::{Error, ErrorCode, Micros, RequestId, Result, Time};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Which method a request id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rpc {
    Acquire,
    Extend,
    SetLimit,
    DeleteLimit,
    ResetLimit,
    ReportThrottled,
}

/// A request id and its method.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestKey(Rpc, RequestId);

impl RequestKey {
    pub fn new(rpc: Rpc, id: &RequestId) -> Self {
        Self(rpc, id.clone())
    }
}

/// A first answer.
#[derive(Clone, Debug)]
pub(super) enum Remembered {
    Acquired(Acquired),
    Set(LimitState, bool),
    Deleted(bool),
    Reset(usize),
    PausedUntil(Time),
}

impl From<Acquired> for Remembered {
    fn from(acquired: Acquired) -> Self {
        Self::Acquired(acquired)
    }
}

/// What a request id is known for.
#[derive(Debug)]
pub(super) enum Recall {
    New,
    Running(Ticket),
    Answer(First),
}

/// A first answer and when it was given.
#[derive(Clone, Debug)]
pub(super) struct First(pub Remembered, pub Time);

impl First {
    /// The answer of an acquire or extension.
    pub fn acquired(self) -> Result<(Acquired, Time)> {
        match self.0 {
            Remembered::Acquired(acquired) => Ok((acquired, self.1)),
            other => Err(misplaced(&other)),
        }
    }
}

/// An answer stands under a method that cannot give it. The key holds the method, so this is a defect.
pub(super) fn misplaced(answer: &Remembered) -> Error {
    Error::new(
        ErrorCode::Internal,
        format!("a request id recalled {answer:?}"),
    )
}

/// What distinguishes one request body from another.
pub(super) fn digest<T: Hash>(body: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug)]
enum State {
    Running(Option<Ticket>),
    /// Its answer, and its number in order of answers.
    Done(First, u64),
}

/// The request ids of a namespace.
#[derive(Debug)]
pub(super) struct Requests {
    known: HashMap<RequestKey, (u64, State)>,
    /// Answered ids, by when they are forgotten and number.
    answered: BTreeMap<(Time, u64), RequestKey>,
    answers: u64,
    max: usize,
    window: Micros,
}

impl Requests {
    pub fn new(max: usize, window: Micros) -> Self {
        Self {
            known: HashMap::new(),
            answered: BTreeMap::new(),
            answers: 0,
            max,
            window,
        }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What is known of an id; refuses another body, and a new id above the bound.
    pub fn recall(&self, key: &RequestKey, digest: u64, now: Time) -> Result<Recall> {
        match self.known.get(key) {
            Some((first, _)) if *first != digest => Err(Error::new(
                ErrorCode::RequestIdReused,
                format!(
                    "request id {:?} was used for another request; send a new one",
                    key.1.as_str()
                ),
            )),
            Some((_, State::Done(first, _))) => Ok(Recall::Answer(first.clone())),
            Some((_, State::Running(Some(ticket)))) => Ok(Recall::Running(*ticket)),
            Some((_, State::Running(None))) | None if self.known.len() < self.max => {
                Ok(Recall::New)
            }
            _ => Err(self.full(now)),
        }
    }

    fn full(&self, now: Time) -> Error {
        let wait = self.next_due().map_or(self.window, |at| at - now);
        let message = format!("{} request ids are remembered", self.known.len());
        Error::new(ErrorCode::TooManyRequestIds, message).retry_after(wait.max(Micros::TICK))
    }

    /// Notes that a request runs, waiting under `ticket` if it waits.
    pub fn start(&mut self, key: RequestKey, digest: u64, ticket: Option<Ticket>) {
        self.known.insert(key, (digest, State::Running(ticket)));
    }

    /// Notes the answer of a request that was started.
    pub fn finish(&mut self, key: &RequestKey, answer: Remembered, now: Time) {
        if let Some((_, state)) = self.known.get_mut(key) {
            self.answers += 1;
            *state = State::Done(First(answer, now), self.answers);
            self.answered
                .insert((now + self.window, self.answers), key.clone());
        }
    }

    /// Forgets a request that did nothing.
    pub fn forget(&mut self, key: &RequestKey) {
        if let Some((_, State::Done(First(_, at), number))) = self.known.remove(key) {
            self.answered.remove(&(at + self.window, number));
        }
    }

    /// Forgets what was answered a window ago.
    pub fn forget_old(&mut self, now: Time) {
        while let Some(oldest) = self.answered.first_entry()
            && oldest.key().0 <= now
        {
            self.known.remove(&oldest.remove());
        }
    }

    /// Panics when an id is not forgotten exactly once.
    #[cfg(test)]
    pub fn check(&self) {
        let done = |state: &State| matches!(state, State::Done(..));
        let answered = self.known.values().filter(|(_, state)| done(state));
        assert_eq!(answered.count(), self.answered.len());
        assert!(
            self.answered
                .values()
                .all(|key| self.known.contains_key(key))
        );
    }

    pub fn next_due(&self) -> Option<Time> {
        self.answered.keys().next().map(|(at, _)| *at)
    }
}
