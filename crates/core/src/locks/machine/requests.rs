//! What locks remember under request ids.

use super::Ticket;
use crate::requests::{Recall as Known, RequestKey, digest};
use crate::{Micros, RequestId, Result, Time, requests};
use std::hash::Hash;

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
    key: RequestKey<Rpc>,
    digest: u64,
}

impl Request {
    pub fn new<T: Hash>(rpc: Rpc, id: &RequestId, body: &T) -> Self {
        Self {
            key: RequestKey::new(rpc, id),
            digest: digest(body),
        }
    }

    pub fn id(&self) -> &RequestId {
        self.key.id()
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

/// The request ids of a namespace. A call without one is never known.
#[derive(Debug)]
pub(super) struct Requests(requests::Requests<Rpc, Ticket, First>);

impl Requests {
    pub fn new(max: usize, window: Micros) -> Self {
        Self(requests::Requests::new(max, window))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of a request; refuses another body, and a new id above the bound.
    pub fn recall(&self, request: Option<&Request>, now: Time) -> Result<Recall> {
        let Some(request) = request else {
            return Ok(Recall::New);
        };
        let known = self.0.recall(&request.key, request.digest, now)?;
        Ok(match known {
            Known::New => Recall::New,
            Known::Running(ticket) => Recall::Running(ticket),
            Known::Answer(requests::First(first, _)) => Recall::Answer(first),
        })
    }

    /// Notes that a request waits.
    pub fn start(&mut self, request: Option<&Request>, ticket: Ticket) {
        if let Some(Request { key, digest }) = request {
            self.0.start(key.clone(), *digest, Some(ticket));
        }
    }

    /// Notes the answer of a request.
    pub fn finish(&mut self, request: Option<&Request>, answer: First, now: Time) {
        if let Some(Request { key, digest }) = request {
            self.0.start(key.clone(), *digest, None);
            self.0.finish(key, answer, now);
        }
    }

    /// Forgets a request that did nothing.
    pub fn forget(&mut self, request: Option<&Request>) {
        if let Some(request) = request {
            self.0.forget(&request.key);
        }
    }

    /// Forgets what was answered a window ago.
    pub fn forget_old(&mut self, now: Time) {
        self.0.forget_old(now);
    }

    pub fn next_due(&self) -> Option<Time> {
        self.0.next_due()
    }

    /// Panics when an id is not forgotten exactly once.
    #[cfg(test)]
    pub fn check(&self) {
        self.0.check();
    }
}
