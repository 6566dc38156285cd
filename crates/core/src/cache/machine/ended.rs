//! How the leases that ended last have ended: so that a repeat gets the first answer, and who comes too late
//! learns why.

use crate::cache::{Filled, LeaseEnd, LeaseId};
use std::collections::BTreeMap;

/// Leases remembered; older ones are not known any more. At 40 bytes each.
const REMEMBERED: usize = 1_024;

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a value.
    Filled(Filled),
    /// By its holder, with a failure.
    Failed,
    /// Otherwise.
    Lost(LeaseEnd),
}

/// The ends of the last leases.
#[derive(Debug, Default)]
pub(super) struct Ended(BTreeMap<LeaseId, End>);

impl Ended {
    pub fn note(&mut self, lease: LeaseId, end: End) {
        self.0.insert(lease, end);
        if self.0.len() > REMEMBERED {
            self.0.pop_first();
        }
    }

    pub fn find(&self, lease: LeaseId) -> Option<End> {
        self.0.get(&lease).copied()
    }

    /// Why a lease is not held, for a call that is not a repeat.
    pub fn why(&self, lease: LeaseId) -> LeaseEnd {
        match self.find(lease) {
            Some(End::Lost(end)) => end,
            _ => LeaseEnd::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_end_is_forgotten_first() {
        let mut ended = Ended::default();
        for id in 0..=REMEMBERED as u64 {
            ended.note(LeaseId(id), End::Lost(LeaseEnd::GivenUp));
        }
        assert_eq!(ended.why(LeaseId(0)), LeaseEnd::Unknown);
        assert_eq!(ended.why(LeaseId(1)), LeaseEnd::GivenUp);
    }
}
