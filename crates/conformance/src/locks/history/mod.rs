//! Whether what callers saw of one lock can have happened one after the other: a check of recorded histories for
//! linearizability, with operations whose outcome nobody knows.
//!
//! The search is that of Wing and Gong with the memory of Lowe: it tries every order that keeps what ended
//! before something else began before it, and no state twice. Locks are independent of each other, so a history of one lock
//! says all; it has at most 128 operations.

mod record;

pub use record::{Broken, record, record_under_faults};

use std::collections::{BTreeSet, HashSet};

/// When something happened: in µs, and in order within one.
pub type Stamp = (u64, u64);

/// What one caller saw, or what may have happened unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// It took effect not before this.
    pub invoked: Stamp,
    /// It took effect before this; `None`: perhaps later, perhaps never.
    pub returned: Option<Stamp>,
    /// What it did.
    pub event: Event,
}

/// What happened to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A lease was granted under a token.
    Granted {
        /// A number of the caller's for the lease.
        lease: usize,
        /// Whether it shares the lock.
        shared: bool,
        /// The fencing token.
        token: u64,
    },
    /// A lease may have been granted, under a token that nobody was told.
    Untold {
        /// A number of the caller's for the lease.
        lease: usize,
        /// Whether it shares the lock.
        shared: bool,
    },
    /// A try was refused.
    Refused,
    /// A lease was found to stand.
    Renewed(usize),
    /// A lease was found to stand no more.
    Lost(usize),
    /// A lease was released.
    Released(usize),
    /// A lease ended by itself.
    Expired(usize),
}

/// A lock in the plainest words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Lock {
    holders: BTreeSet<usize>,
    shared: bool,
    token: u64,
}

impl Lock {
    /// The lock after an event; `None` when that cannot happen to it.
    fn after(&self, event: Event) -> Option<Self> {
        let mut next = self.clone();
        let possible = match event {
            Event::Granted {
                lease,
                shared,
                token,
            } => {
                let free = self.holders.is_empty() && token > self.token;
                let joins = shared && self.shared && token == self.token;
                next.holders.insert(lease);
                (next.shared, next.token) = (shared, token);
                free || (joins && !self.holders.is_empty())
            }
            Event::Untold { lease, shared } => {
                let free = self.holders.is_empty();
                next.holders.insert(lease);
                next.shared = shared;
                free || (shared && self.shared)
            }
            Event::Refused => !self.holders.is_empty(),
            Event::Renewed(lease) => self.holders.contains(&lease),
            Event::Lost(lease) => !self.holders.contains(&lease),
            Event::Released(lease) | Event::Expired(lease) => next.holders.remove(&lease),
        };
        possible.then_some(next)
    }
}

/// Whether a history can have happened one after the other.
#[must_use]
pub fn is_linearizable(history: &[Operation]) -> bool {
    assert!(
        history.len() <= 128,
        "{} operations are too many",
        history.len()
    );
    let known = history
        .iter()
        .enumerate()
        .filter(|(_, it)| it.returned.is_some());
    let all: u128 = known.map(|(place, _)| 1 << place).sum();
    let mut seen = HashSet::new();
    let mut open = vec![(0_u128, Lock::default())];
    while let Some((done, lock)) = open.pop() {
        if done & all == all {
            return true;
        }
        let left = || {
            history
                .iter()
                .enumerate()
                .filter(|(place, _)| done & (1 << place) == 0)
        };
        // Nothing takes effect after the end of what has not taken effect yet.
        let first_end = left().filter_map(|(_, operation)| operation.returned).min();
        for (place, operation) in left() {
            let may_be_next = first_end.is_none_or(|end| operation.invoked < end);
            if may_be_next && let Some(lock) = lock.after(operation.event) {
                let next = (done | 1 << place, lock);
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(invoked: u64, returned: Option<u64>, event: Event) -> Operation {
        Operation {
            invoked: (invoked, 0),
            returned: returned.map(|at| (at, 0)),
            event,
        }
    }

    fn granted(lease: usize, token: u64) -> Event {
        Event::Granted {
            lease,
            shared: false,
            token,
        }
    }

    #[test]
    fn two_holders_at_a_time_are_found_out() {
        let twice = [
            operation(0, Some(1), granted(0, 1)),
            operation(2, Some(3), granted(1, 2)),
        ];
        assert!(!is_linearizable(&twice));
        let mut between = twice.to_vec();
        // A release whose reply was lost explains it.
        between.push(operation(1, None, Event::Released(0)));
        assert!(is_linearizable(&between));
        // One that began after the second grant does not.
        between[2].invoked = (4, 0);
        assert!(!is_linearizable(&between));
    }

    #[test]
    fn a_grant_that_nobody_was_told_may_stand_in_the_way_and_need_not() {
        let untold = Event::Untold {
            lease: 9,
            shared: false,
        };
        let history = [
            operation(0, None, untold),
            operation(1, Some(2), Event::Refused),
            operation(3, None, Event::Expired(9)),
            operation(4, Some(5), granted(0, 7)),
        ];
        assert!(is_linearizable(&history));
        assert!(is_linearizable(&history[3..]));
        assert!(!is_linearizable(&history[1..]));
    }

    #[test]
    fn a_token_that_falls_and_a_renewal_of_nothing_are_found_out() {
        let falls = [
            operation(0, Some(1), granted(0, 7)),
            operation(2, Some(3), Event::Released(0)),
            operation(4, Some(5), granted(1, 6)),
        ];
        assert!(!is_linearizable(&falls));
        let renewed = [
            operation(0, Some(1), granted(0, 7)),
            operation(2, Some(3), Event::Released(0)),
            operation(4, Some(5), Event::Renewed(0)),
        ];
        assert!(!is_linearizable(&renewed));
    }

    #[test]
    fn what_overlaps_may_have_happened_in_either_order() {
        let overlapping = [
            operation(0, Some(9), granted(1, 2)),
            operation(1, Some(3), granted(0, 1)),
            operation(4, Some(6), Event::Released(0)),
            operation(7, Some(8), Event::Refused),
        ];
        assert!(is_linearizable(&overlapping));
    }
}
