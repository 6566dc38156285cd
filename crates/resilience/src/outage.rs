//! What was spent while the store was away, until it is merged.

use super::known::Place;
use std::collections::HashMap;
use trellis_core::limits::{LimitSpec, Spent};
use trellis_core::{Key, Name, Namespace};

/// The most buckets merged in one call of the store.
const BATCH: usize = 256;

/// Units spent apart, by bucket. Bounded by the buckets of the daemon's own limits.
#[derive(Default)]
pub(crate) struct Ledger {
    spent: HashMap<Place, (i64, LimitSpec)>,
    /// On its way to the store, under its name, until the store has it.
    pending: Option<(String, Vec<Spent>)>,
    batches: u64,
}

impl Ledger {
    /// Adds units to a bucket; negative when they came back.
    pub fn add(&mut self, place: Place, units: i64, spec: &LimitSpec) {
        let entry = self.spent.entry(place).or_insert_with(|| (0, spec.clone()));
        entry.0 = entry.0.saturating_add(units);
    }

    /// Units that the store does not know of yet.
    pub fn units(&self) -> i64 {
        let pending = self.pending.iter().flat_map(|(_, batch)| batch);
        let pending = pending.map(|spent| spent.amount).sum::<i64>();
        pending
            + self
                .spent
                .values()
                .map(|(units, _)| (*units).max(0))
                .sum::<i64>()
    }

    /// The next batch to merge and its name: the one before again until [`Ledger::merged`]. What came back in
    /// the end is left out: the store never knew that it was gone.
    pub fn next(&mut self, daemon: &str) -> Option<(String, Vec<Spent>)> {
        if self.pending.is_none() {
            self.spent.retain(|_, (units, _)| *units > 0);
            let namespace = self.spent.keys().next()?.0.clone();
            let of = |(place, _): &(&Place, &(i64, LimitSpec))| place.0 == namespace;
            let places: Vec<Place> = self
                .spent
                .iter()
                .filter(of)
                .take(BATCH)
                .map(|(place, _)| place.clone())
                .collect();
            let batch = places
                .into_iter()
                .filter_map(|place| self.take(place))
                .collect();
            self.batches += 1;
            self.pending = Some((format!("{daemon}-{}", self.batches), batch));
        }
        self.pending.clone()
    }

    fn take(&mut self, place: Place) -> Option<Spent> {
        let (amount, spec) = self.spent.remove(&place)?;
        // They were names when they came.
        Some(Spent {
            namespace: Namespace::new(place.0, "namespace").ok()?,
            limit: Name::new(place.1, "limit").ok()?,
            key: Key::new(place.2, "key").ok()?,
            amount,
            spec,
        })
    }

    /// The store has the batch.
    pub fn merged(&mut self) {
        self.pending = None;
    }

    /// Whether nothing is left to merge.
    pub fn is_empty(&self) -> bool {
        self.pending.is_none() && self.spent.values().all(|(units, _)| *units <= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::Micros;
    use trellis_core::limits::WindowSpec;

    #[test]
    fn a_batch_stays_the_same_until_the_store_has_it_and_what_came_back_is_left_out() {
        let spec = LimitSpec::Window(WindowSpec::new(10, Micros::from_secs(1)).unwrap());
        let place = |key: &str| ("ns".into(), "limit".into(), key.into());
        let mut ledger = Ledger::default();
        ledger.add(place("a"), 3, &spec);
        ledger.add(place("b"), 4, &spec);
        ledger.add(place("b"), -4, &spec);
        let (name, batch) = ledger.next("d").unwrap();
        assert_eq!((batch.len(), batch[0].amount), (1, 3));
        ledger.add(place("a"), 5, &spec);
        assert_eq!(ledger.next("d").unwrap(), (name.clone(), batch));
        assert_eq!(ledger.units(), 8);
        ledger.merged();
        let (second, batch) = ledger.next("d").unwrap();
        assert!(second != name && batch[0].amount == 5);
        ledger.merged();
        assert!(ledger.is_empty() && ledger.next("d").is_none());
    }
}
