//! Remembered request ids: a repeat within the window gets the first answer.
//!
//! Bounded: at the bound new ids are refused, none is forgotten early. Errors are not remembered.

use crate::{Error, ErrorCode, Micros, RequestId, Result, Time};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A request id and the method that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestKey<R>(R, RequestId);

impl<R> RequestKey<R> {
    pub fn new(rpc: R, id: &RequestId) -> Self {
        Self(rpc, id.clone())
    }

    pub fn id(&self) -> &RequestId {
        &self.1
    }
}

/// What distinguishes one request body from another.
pub(crate) fn digest<T: Hash>(body: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

/// A first answer and when it was given.
#[derive(Clone, Debug)]
pub(crate) struct First<A>(pub A, pub Time);

/// What a request id is known for.
#[derive(Debug)]
pub(crate) enum Recall<T, A> {
    New,
    Running(T),
    Answer(First<A>),
}

#[derive(Debug)]
enum State<T, A> {
    Running(Option<T>),
    /// Its answer, and its number in order of answers.
    Done(First<A>, u64),
}

/// The request ids of a namespace: those of methods `R`, waiting under tickets `T`, answered by `A`.
#[derive(Debug)]
pub(crate) struct Requests<R, T, A> {
    known: HashMap<RequestKey<R>, (u64, State<T, A>)>,
    /// Answered ids, by when they are forgotten and number.
    answered: BTreeMap<(Time, u64), RequestKey<R>>,
    answers: u64,
    max: usize,
    window: Micros,
}

impl<R: Clone + Eq + Hash, T: Copy, A: Clone> Requests<R, T, A> {
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
    pub fn recall(&self, key: &RequestKey<R>, digest: u64, now: Time) -> Result<Recall<T, A>> {
        match self.known.get(key) {
            Some((first, _)) if *first != digest => Err(Error::new(
                ErrorCode::RequestIdReused,
                format!(
                    "request id {:?} was used for another request; send a new one",
                    key.id().as_str()
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
    pub fn start(&mut self, key: RequestKey<R>, digest: u64, ticket: Option<T>) {
        self.known.insert(key, (digest, State::Running(ticket)));
    }

    /// Notes the answer of a request that was started.
    pub fn finish(&mut self, key: &RequestKey<R>, answer: A, now: Time) {
        if let Some((_, state)) = self.known.get_mut(key) {
            self.answers += 1;
            *state = State::Done(First(answer, now), self.answers);
            self.answered
                .insert((now + self.window, self.answers), key.clone());
        }
    }

    /// Forgets a request that did nothing.
    pub fn forget(&mut self, key: &RequestKey<R>) {
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

    pub fn next_due(&self) -> Option<Time> {
        self.answered.keys().next().map(|(at, _)| *at)
    }

    /// Panics when an id is not forgotten exactly once.
    #[cfg(test)]
    pub fn check(&self) {
        let done = |state: &State<T, A>| matches!(state, State::Done(..));
        let answered = self.known.values().filter(|(_, state)| done(state));
        assert_eq!(answered.count(), self.answered.len());
        let mut keys = self.answered.values();
        assert!(keys.all(|key| self.known.contains_key(key)));
    }
}
