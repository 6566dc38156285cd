//! What was spent while the store was away, until it is merged.
//!
//! A repeat of a call gives its first answer again: the ledger counts it once.

use super::known::Place;
use std::collections::{HashMap, HashSet, VecDeque};
use trellis_core::limits::{LimitSpec, Spent};
use trellis_core::{Key, Micros, Name, Namespace, Time};

/// The most buckets merged in one call of the store.
const BATCH: usize = 256;

/// Calls that may be repeated, kept in mind. Above it some are counted twice: the store then admits less, not more.
const REPEATS: usize = 100_000;

/// How often a batch is tried that the store refuses for what is in it.
const ATTEMPTS: u32 = 10;

/// What was spent of a bucket.
#[derive(Clone, Debug)]
struct Line {
    /// Taken less given back.
    net: i64,
    /// The spec that the store has, as far as it is known.
    spec: LimitSpec,
    /// When the last of the slots taken will be free by itself.
    until: Time,
}

/// A part of what was spent. It keeps its name whatever becomes of a call, so it counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub name: String,
    pub spent: Vec<Spent>,
    attempts: u32,
}

/// Units spent apart, by bucket. Bounded by the buckets of the daemon's own limits.
#[derive(Default)]
pub(crate) struct Ledger {
    lines: HashMap<Place, Line>,
    /// On its way to the store until the store has it.
    pending: VecDeque<Batch>,
    batches: u64,
    granted: HashSet<(Box<str>, Box<str>)>,
    settled: HashSet<(Box<str>, Box<str>)>,
}

impl Ledger {
    /// Units were taken from a bucket; slots until a time.
    pub fn take(&mut self, place: Place, units: i64, spec: &LimitSpec, until: Time) {
        let line = self.lines.entry(place).or_insert_with(|| Line {
            net: 0,
            spec: spec.clone(),
            until,
        });
        line.net = line.net.saturating_add(units);
        line.until = line.until.max(until);
    }

    /// More was used of a bucket than was taken. `spec` is for a bucket of which everything was merged.
    pub fn owe(&mut self, place: Place, units: i64, spec: Option<LimitSpec>) {
        if let Some(line) = self.lines.get_mut(&place) {
            line.net = line.net.saturating_add(units);
        } else if let Some(spec) = spec {
            self.take(place, units, &spec, Time(0));
        }
    }

    /// Units came back to a bucket. What the store was told of stays taken there.
    pub fn give_back(&mut self, place: &Place, units: i64) {
        if let Some(line) = self.lines.get_mut(place) {
            line.net = line.net.saturating_sub(units);
        }
    }

    /// Whether a grant under this request id is new.
    pub fn is_first_grant(&mut self, namespace: &str, request: &str) -> bool {
        if self.granted.len() >= REPEATS {
            self.granted.clear();
        }
        self.granted.insert((namespace.into(), request.into()))
    }

    /// Whether a settle is new; at the bound it is taken for a repeat, which gives nothing back.
    pub fn is_first_settle(&mut self, namespace: &str, reservation: &str) -> bool {
        self.settled.len() < REPEATS && self.settled.insert((namespace.into(), reservation.into()))
    }

    /// A new outage begins. Reservations of former ones that are settled again by now are few.
    pub fn begin(&mut self) {
        if self.settled.len() >= REPEATS {
            self.settled.clear();
        }
    }

    /// Buckets, and units spent of them, that the store does not know of yet.
    pub fn unmerged(&self) -> (usize, i64) {
        let pending = self.pending.iter().flat_map(|batch| &batch.spent);
        let open = self.lines.values().map(|line| line.net);
        let all = pending.map(|spent| spent.amount).chain(open);
        all.filter(|units| *units > 0)
            .fold((0, 0_i64), |(buckets, sum), units| {
                (buckets + 1, sum.saturating_add(units))
            })
    }

    /// Whether nothing is left to merge.
    pub fn is_empty(&self) -> bool {
        self.unmerged().0 == 0
    }

    /// The next batch to merge: the one before again until [`Ledger::merged`].
    pub fn next(&self) -> Option<Batch> {
        self.pending.front().cloned()
    }

    /// Buckets for the next batch, of one namespace. What came back in the end is left out: the store never knew
    /// that it was gone.
    pub fn due(&mut self) -> Vec<Place> {
        self.lines.retain(|_, line| line.net > 0);
        let Some(namespace) = self.lines.keys().next().map(|place| place.0.clone()) else {
            return Vec::new();
        };
        let of = |place: &&Place| place.0 == namespace;
        let places = self.lines.keys().filter(of).take(BATCH);
        places.cloned().collect()
    }

    /// Makes a batch of these buckets, each with what it lacks now: more has come back to the store's bucket by
    /// itself, as it has here. `daemon` is a name that no other process uses.
    pub fn pack(&mut self, daemon: &str, lacks: Vec<(Place, i64)>, now: Time) {
        let spent: Vec<Spent> = lacks
            .into_iter()
            .filter_map(|(place, lacks)| self.owed(place, lacks, now))
            .collect();
        if !spent.is_empty() {
            self.batches += 1;
            self.pending.push_back(Batch {
                name: format!("{daemon}-{}", self.batches),
                spent,
                attempts: 0,
            });
        }
    }

    fn owed(&mut self, place: Place, lacks: i64, now: Time) -> Option<Spent> {
        let line = self.lines.remove(&place)?;
        let amount = line.net.min(lacks);
        // They were names when they came.
        (amount > 0).then_some(Spent {
            namespace: Namespace::new(place.0, "namespace").ok()?,
            limit: Name::new(place.1, "limit").ok()?,
            key: Key::new(place.2, "key").ok()?,
            amount,
            spec: line.spec,
            held_for: (line.until - now).max(Micros::TICK),
        })
    }

    /// The store has the batch.
    pub fn merged(&mut self) {
        self.pending.pop_front();
    }

    /// The store refuses the batch for what is in it. Tells whether it is given up, lest it keeps this daemon from
    /// sharing for good.
    pub fn refused(&mut self) -> bool {
        let Some(batch) = self.pending.front_mut() else {
            return false;
        };
        batch.attempts += 1;
        let given_up = batch.attempts >= ATTEMPTS;
        if given_up {
            self.pending.pop_front();
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::limits::WindowSpec;

    const NOW: Time = Time(1_000_000);

    fn place(key: &str) -> Place {
        ("ns".into(), "limit".into(), key.into())
    }

    fn ledger(taken: &[(&str, i64)]) -> Ledger {
        let spec = LimitSpec::Window(WindowSpec::new(10, Micros::from_secs(1)).unwrap());
        let mut ledger = Ledger::default();
        for (key, units) in taken {
            ledger.take(place(key), *units, &spec, NOW);
        }
        ledger
    }

    /// Packs what is due, each bucket lacking so much.
    fn pack(ledger: &mut Ledger, lacks: i64) {
        let due = ledger.due().into_iter().map(|place| (place, lacks));
        let due = due.collect();
        ledger.pack("d", due, NOW);
    }

    #[test]
    fn a_batch_stays_the_same_until_the_store_has_it_and_what_came_back_is_left_out() {
        let mut ledger = ledger(&[("a", 3), ("b", 4)]);
        ledger.give_back(&place("b"), 4);
        pack(&mut ledger, 10);
        let batch = ledger.next().unwrap();
        assert_eq!((batch.spent.len(), batch.spent[0].amount), (1, 3));
        ledger.take(place("a"), 5, &batch.spent[0].spec, NOW);
        assert_eq!(ledger.next().unwrap(), batch);
        assert_eq!(ledger.unmerged(), (2, 8));
        ledger.merged();
        pack(&mut ledger, 10);
        let second = ledger.next().unwrap();
        assert!(second.name != batch.name && second.spent[0].amount == 5);
        ledger.merged();
        assert!(ledger.is_empty() && ledger.next().is_none());
    }

    #[test]
    fn what_has_come_back_with_time_is_not_owed() {
        let mut ledger = ledger(&[("a", 30)]);
        pack(&mut ledger, 4);
        assert_eq!(ledger.next().unwrap().spent[0].amount, 4);
        ledger.merged();
        let spec = LimitSpec::Window(WindowSpec::new(10, Micros::from_secs(1)).unwrap());
        ledger.take(place("a"), 30, &spec, NOW);
        pack(&mut ledger, 0);
        assert!(ledger.next().is_none() && ledger.is_empty());
    }

    #[test]
    fn repeats_count_once() {
        let mut ledger = Ledger::default();
        assert!(ledger.is_first_grant("n", "r") && !ledger.is_first_grant("n", "r"));
        assert!(ledger.is_first_grant("m", "r"));
        assert!(ledger.is_first_settle("n", "x") && !ledger.is_first_settle("n", "x"));
    }

    #[test]
    fn a_batch_that_is_refused_for_what_is_in_it_is_given_up_in_the_end() {
        let mut ledger = ledger(&[("a", 3)]);
        pack(&mut ledger, 10);
        for _ in 1..ATTEMPTS {
            assert!(!ledger.refused());
        }
        assert!(ledger.refused() && ledger.is_empty());
        assert!(!ledger.refused(), "there is nothing to refuse");
    }
}
