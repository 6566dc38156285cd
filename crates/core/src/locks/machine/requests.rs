//! Remembered request ids: a repeat within the window gets the first answer.
//!
//! Bounded: at the bound new ids are refused, none is forgotten early. Errors are not remembered.

use super::Ticket;
use crate::{Error, ErrorCode, Micros, RequestId, Result, Time};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Which method a request id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rpc {
    Try,
    Acquire,
    Session,
    Force,
}

/// A request id, its method, and what distinguishes its body from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    key: (Rpc, RequestId),
    digest: u64,
}

impl Request {
    pub fn new<T: Hash>(rpc: Rpc, id: &RequestId, body: &T) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        Self {
            key: (rpc, id.clone()),
            digest: hasher.finish(),
        }
    }

    pub fn id(&self) -> &RequestId {
        &self.key.1
    }
}

/// A first answer.
#[derive(Clone, Debug)]
pub(super) enum First {
    /// This lease was made.
    Granted(u64),
    /// A try was refused; what was in its way was to end at this time, and the place it would have had.
    Held(Time, u32),
    /// As `Held`, of a wait.
    TimedOut(Time, u32),
    /// So many leases were ended.
    Forced(usize),
}

/// What a request id is known for.
#[derive(Debug)]
pub(super) enum Recall {
    New,
    Running(Ticket),
    Answer(First),
}

#[derive(Debug)]
enum State {
    Running(Ticket),
    /// Its answer, when it is forgotten, and its number in order of answers.
    Done(First, Time, u64),
}

/// The request ids of a namespace.
#[derive(Debug)]
pub(super) struct Requests {
    known: HashMap<(Rpc, RequestId), (u64, State)>,
    /// Answered ids, by when they are forgotten and number.
    answered: BTreeMap<(Time, u64), (Rpc, RequestId)>,
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

    /// What is known of a request; refuses another body, and a new id above the bound.
    pub fn recall(&self, request: Option<&Request>, now: Time) -> Result<Recall> {
        let Some(request) = request else {
            return Ok(Recall::New);
        };
        match self.known.get(&request.key) {
            Some((digest, _)) if *digest != request.digest => Err(Error::new(
                ErrorCode::RequestIdReused,
                format!(
                    "request id {:?} was used for another request; send a new one",
                    request.id().as_str()
                ),
            )),
            Some((_, State::Done(first, ..))) => Ok(Recall::Answer(first.clone())),
            Some((_, State::Running(ticket))) => Ok(Recall::Running(*ticket)),
            None if self.known.len() < self.max => Ok(Recall::New),
            None => {
                let wait = self.next_due().map_or(self.window, |at| at - now);
                let message = format!("{} request ids are remembered", self.known.len());
                let error = Error::new(ErrorCode::TooManyRequestIds, message);
                Err(error.retry_after(wait.max(Micros::TICK)))
            }
        }
    }

    /// Notes that a request waits.
    pub fn start(&mut self, request: Option<&Request>, ticket: Ticket) {
        if let Some(request) = request {
            let running = (request.digest, State::Running(ticket));
            self.known.insert(request.key.clone(), running);
        }
    }

    /// Notes the answer of a request.
    pub fn finish(&mut self, request: Option<&Request>, answer: First, now: Time) {
        let Some(request) = request else { return };
        self.answers += 1;
        let forgotten = now + self.window;
        let done = State::Done(answer, forgotten, self.answers);
        self.known
            .insert(request.key.clone(), (request.digest, done));
        self.answered
            .insert((forgotten, self.answers), request.key.clone());
    }

    /// Forgets a request that did nothing.
    pub fn forget(&mut self, request: Option<&Request>) {
        let Some(request) = request else { return };
        if let Some((_, State::Done(_, forgotten, number))) = self.known.remove(&request.key) {
            self.answered.remove(&(forgotten, number));
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

    pub fn next_due(&self) -> Option<Time> {
        self.answered.keys().next().map(|(at, _)| *at)
    }

    /// Panics when an id is not forgotten exactly once.
    #[cfg(test)]
    pub fn check(&self) {
        let done = |state: &State| matches!(state, State::Done(..));
        let answered = self.known.values().filter(|(_, state)| done(state));
        assert_eq!(answered.count(), self.answered.len());
        let mut keys = self.answered.values();
        assert!(keys.all(|key| self.known.contains_key(key)));
    }
}
