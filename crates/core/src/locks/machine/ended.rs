//! Leases and sessions that have ended, remembered for a while, so that a repeated release succeeds and a
//! late holder learns what became of its lease.
//!
//! Bounded: at the bound the oldest is forgotten, and is then as unknown as one that never was.

use crate::{Error, ErrorCode, Micros, Result, Time};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How a lease or session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its holder ended it.
    Released,
    /// It was ended for this reason.
    Lost(Arc<str>),
}

/// The error of a holder whose lease or session is not its own any more.
pub(super) fn lost(why: &str) -> Error {
    Error::new(ErrorCode::LeaseLost, why.to_owned())
}

#[derive(Debug)]
struct Past {
    secret: u128,
    ending: Ending,
}

/// What has ended in a namespace.
#[derive(Debug)]
pub(super) struct Ended {
    past: HashMap<u64, Past>,
    /// By when they are forgotten.
    order: BTreeSet<(Time, u64)>,
    max: usize,
    window: Micros,
}

impl Ended {
    pub fn new(max: usize, window: Micros) -> Self {
        Self {
            past: HashMap::new(),
            order: BTreeSet::new(),
            max,
            window,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.past.is_empty()
    }

    pub fn note(&mut self, number: u64, secret: u128, ending: Ending, now: Time) {
        if self.past.len() >= self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.past.remove(&oldest);
        }
        self.order.insert((now + self.window, number));
        self.past.insert(number, Past { secret, ending });
    }

    /// Whether its holder ended it; an error when something else did, and `unknown` when it is not
    /// remembered.
    pub fn was_released(
        &self,
        (number, secret): (u64, u128),
        unknown: impl FnOnce() -> Error,
    ) -> Result<()> {
        match self.past.get(&number).filter(|past| past.secret == secret) {
            Some(Past {
                ending: Ending::Lost(why),
                ..
            }) => Err(lost(why)),
            Some(_) => Ok(()),
            None => Err(unknown()),
        }
    }

    pub fn forget_old(&mut self, now: Time) {
        while let Some((at, number)) = self.order.first().copied()
            && at <= now
        {
            self.order.pop_first();
            self.past.remove(&number);
        }
    }

    pub fn next_due(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Panics when something is not forgotten exactly once.
    #[cfg(test)]
    pub fn check(&self) {
        assert_eq!(self.past.len(), self.order.len());
        let mut numbers = self.order.iter().map(|(_, number)| number);
        assert!(numbers.all(|number| self.past.contains_key(number)));
    }
}
