//! What is counted: here at once, in the store a little later, so that reading a value costs no write.

use parking_lot::Mutex;
use std::collections::HashMap;
use trellis_core::Namespace;
use trellis_core::cache::{Cost, Hit, Ledger, Source};

/// Namespaces with counts that the store does not know yet; of further ones the counts are lost.
const MAX_PENDING: usize = 10_000;

/// Counts of this daemon.
#[derive(Default)]
pub(super) struct Ledgers {
    pending: Mutex<HashMap<Namespace, Ledger>>,
    /// All since the start.
    total: Mutex<Ledger>,
}

impl Ledgers {
    /// Counts something; tells whether the store has to be told.
    pub fn count(&self, namespace: &Namespace, count: impl Fn(&mut Ledger)) -> bool {
        count(&mut self.total.lock());
        let mut pending = self.pending.lock();
        if let Some(ledger) = pending.get_mut(namespace) {
            count(ledger);
            return false;
        }
        if pending.len() < MAX_PENDING {
            count(pending.entry(namespace.clone()).or_default());
        }
        true
    }

    /// Counts an entry that was served.
    pub fn served(&self, namespace: &Namespace, hit: &Hit) -> bool {
        self.count(namespace, |ledger| note_served(ledger, hit))
    }

    /// Counts an entry that was served from a copy.
    pub fn served_near(&self, namespace: &Namespace, hit: &Hit) -> bool {
        self.count(namespace, |ledger| {
            ledger.near_hits += 1;
            note_served(ledger, hit);
        })
    }

    /// What the store does not know yet of a namespace.
    pub fn take(&self, namespace: &Namespace) -> Ledger {
        self.pending.lock().remove(namespace).unwrap_or_default()
    }

    /// Namespaces of which the store does not know all.
    pub fn pending(&self) -> Vec<Namespace> {
        self.pending.lock().keys().cloned().collect()
    }

    /// Whether the store does not know all.
    pub fn has_pending(&self) -> bool {
        !self.pending.lock().is_empty()
    }

    /// Puts back what the store could not be told.
    pub fn put_back(&self, namespace: &Namespace, ledger: &Ledger) {
        let mut pending = self.pending.lock();
        if pending.len() < MAX_PENDING || pending.contains_key(namespace) {
            pending.entry(namespace.clone()).or_default().add(ledger);
        }
    }

    pub fn total(&self) -> Ledger {
        *self.total.lock()
    }
}

/// Notes an entry that was served, and what that saved.
pub(super) fn note_served(ledger: &mut Ledger, hit: &Hit) {
    let cost = match hit.source {
        Source::Coalesced => {
            ledger.coalesced += 1;
            return ledger.saved_by_coalescing.add(hit.cost, 1);
        }
        Source::Negative => &mut ledger.negative_hits,
        Source::Stale => &mut ledger.stale_hits,
        Source::Local | Source::Shared | Source::Near => &mut ledger.hits,
    };
    *cost += 1;
    ledger.saved_by_hits.add(hit.cost, 1);
}

/// The counts as decimal text, in an order that stays.
pub(super) fn counts(ledger: &Ledger) -> Vec<String> {
    let whole = [
        ledger.hits,
        ledger.stale_hits,
        ledger.negative_hits,
        ledger.coalesced,
        ledger.misses,
        ledger.failed,
        ledger.sets,
        ledger.fills,
        ledger.fills_refused,
    ];
    let costs = [ledger.saved_by_hits, ledger.saved_by_coalescing];
    let costs = costs
        .iter()
        .flat_map(|cost| [cost.calls, cost.tokens, cost.money_micros]);
    let whole = whole.iter().map(u64::to_string);
    let costs = costs.map(|cost| cost.to_string());
    let near = ledger.near_hits.to_string();
    whole.chain(costs).chain([near]).collect()
}

/// The ledger of such counts.
pub(super) fn ledger(counts: &[String]) -> Ledger {
    let whole = |index: usize| {
        let count: Option<u64> = counts.get(index).and_then(|count| count.parse().ok());
        count.unwrap_or_default()
    };
    let cost = |first: usize| {
        let at = |index: usize| i64::try_from(whole(index)).unwrap_or(i64::MAX);
        Cost {
            calls: at(first),
            tokens: at(first + 1),
            money_micros: at(first + 2),
        }
    };
    Ledger {
        hits: whole(0),
        stale_hits: whole(1),
        negative_hits: whole(2),
        coalesced: whole(3),
        misses: whole(4),
        failed: whole(5),
        sets: whole(6),
        fills: whole(7),
        fills_refused: whole(8),
        saved_by_hits: cost(9),
        saved_by_coalescing: cost(12),
        near_hits: whole(15),
    }
}
