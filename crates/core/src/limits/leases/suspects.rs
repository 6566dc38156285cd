//! Which buckets are hot, without keeping something for every bucket: a table of fixed size.

use super::demand::Demand;
use crate::{Micros, Time};

/// Calls over one horizon from which on slices are worth asking for, and units.
pub(super) const HOT: i64 = 8;

const PLACES: usize = 256;

#[derive(Clone, Copy, Default)]
struct Suspect {
    hash: u64,
    demand: Demand,
}

/// Counts calls of buckets. Where two share a place the busier one keeps it (Misra and Gries 1982), so a hot
/// bucket is found among any number of cold ones; an error costs calls that could have been leased.
pub(super) struct Suspects(Vec<Suspect>);

impl Suspects {
    pub(super) fn new() -> Self {
        Self(vec![Suspect::default(); PLACES])
    }

    /// Counts a call; its bucket's demand when that is hot by now.
    pub(super) fn is_hot(
        &mut self,
        hash: u64,
        units: i64,
        now: Time,
        horizon: Micros,
    ) -> Option<Demand> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low bits choose the place"
        )]
        let place = hash as usize % PLACES;
        let suspect = &mut self.0[place];
        if suspect.hash != hash {
            if suspect.demand.calls(now, horizon) > 0 {
                suspect.demand.fade(now, horizon);
                return None;
            }
            *suspect = Suspect {
                hash,
                demand: Demand::default(),
            };
        }
        suspect.demand.add(now, units, horizon);
        let hot = suspect.demand.calls(now, horizon) >= HOT;
        let hot = hot && suspect.demand.units(now, horizon) >= HOT;
        hot.then_some(suspect.demand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hot_bucket_is_found_among_cold_ones_and_a_cold_one_never_is() {
        let horizon = Micros::from_millis(250);
        let mut suspects = Suspects::new();
        let mut found = false;
        for call in 0..200_u64 {
            let now = Time(1_000_000 + call * 1_000);
            // Cold buckets that share the place of the hot one.
            let cold = 256 * (call + 1);
            assert!(suspects.is_hot(cold, 100, now, horizon).is_none());
            for _ in 0..3 {
                found |= suspects.is_hot(1 << 40, 1, now, horizon).is_some();
            }
        }
        assert!(found);
    }
}
