//! Locks in the plainest words: lists that are walked from the start, and a rule that is applied until nothing
//! changes. Independent of the machine's tables, lines and timers.

use crate::locks::LockMode;

/// A lock and how it is wanted.
pub type Want = (u8, LockMode);

/// A lease that stands, or a call that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The order in which it came.
    pub arrival: u64,
    pub wants: Vec<Want>,
    /// When its lease or its wait is over.
    pub ends: u64,
    /// How long its lease lasts, once it has one.
    pub ttl: u64,
}

/// All locks.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub leases: Vec<Party>,
    pub waiting: Vec<Party>,
}

/// Whether two parties are in each other's way.
fn clash(one: &Party, other: &Party) -> bool {
    let pairs = one
        .wants
        .iter()
        .flat_map(|a| other.wants.iter().map(move |b| (a, b)));
    pairs
        .into_iter()
        .any(|((a, mode), (b, with))| a == b && !mode.goes_with(*with))
}

impl Model {
    /// Whether a call that comes after all others may be let in.
    pub fn admits(&self, party: &Party) -> bool {
        let earlier = self.waiting.iter().filter(|it| it.arrival < party.arrival);
        !self
            .leases
            .iter()
            .chain(earlier)
            .any(|other| clash(party, other))
    }

    /// Lets in whoever may be, the earliest first, until nobody may.
    pub fn serve(&mut self, now: u64) {
        while let Some(next) = self.waiting.iter().position(|party| self.admits(party)) {
            let mut party = self.waiting.remove(next);
            party.ends = now + party.ttl;
            self.leases.push(party);
        }
    }

    /// Goes to a time, ending leases and then waits as they are due.
    pub fn pass_to(&mut self, end: u64) {
        let due = |model: &Self| {
            let all = model.leases.iter().chain(&model.waiting);
            all.map(|party| party.ends).filter(|at| *at <= end).min()
        };
        while let Some(now) = due(self) {
            self.leases.retain(|party| party.ends > now);
            self.serve(now);
            // One by one: the end of an earlier wait may let a later one in at the last moment.
            while let Some(over) = self.waiting.iter().position(|party| party.ends == now) {
                self.waiting.remove(over);
                self.serve(now);
            }
        }
    }

    /// Ends the lease or the wait of a party.
    pub fn remove(&mut self, arrival: u64, now: u64) {
        self.leases.retain(|party| party.arrival != arrival);
        self.waiting.retain(|party| party.arrival != arrival);
        self.serve(now);
    }

    /// Who holds, in order of arrival.
    pub fn holding(&self) -> Vec<u64> {
        let mut holding: Vec<u64> = self.leases.iter().map(|party| party.arrival).collect();
        holding.sort_unstable();
        holding
    }
}
