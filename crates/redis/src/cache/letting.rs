//! What is given back: leases whose callers are gone, places in line that were left.

use super::RedisCache;
use super::scripts::LET_GO;
use parking_lot::Mutex;
use std::collections::HashMap;
use trellis_core::cache::LeaseId;
use trellis_core::{EntryKey, Namespace};

/// Things that wait to be given back; further ones end with their lease or their flight.
const MAX_LETTING: usize = 65_536;

/// Things given back in one call.
const BATCH: usize = 256;

/// A place in line to leave.
type Place = (EntryKey, u64);

/// What is to be given back.
#[derive(Default)]
pub(super) struct Letting(Mutex<(usize, HashMap<Namespace, Things>)>);

#[derive(Clone, Debug, Default)]
pub(super) struct Things {
    leases: Vec<LeaseId>,
    places: Vec<Place>,
}

impl Letting {
    fn add(&self, namespace: &Namespace, add: impl FnOnce(&mut Things)) {
        let mut letting = self.0.lock();
        if letting.0 < MAX_LETTING {
            letting.0 += 1;
            add(letting.1.entry(namespace.clone()).or_default());
        }
    }

    /// All of it.
    fn take(&self) -> HashMap<Namespace, Things> {
        let mut letting = self.0.lock();
        letting.0 = 0;
        std::mem::take(&mut letting.1)
    }
}

impl RedisCache {
    /// Gives up a lease, soon.
    pub(super) fn let_lease_go(&self, namespace: &Namespace, lease: LeaseId) {
        self.letting
            .add(namespace, |things| things.leases.push(lease));
        self.sooner.notify_one();
    }

    /// Leaves a line, soon.
    pub(super) fn let_place_go(&self, namespace: &Namespace, key: &EntryKey, ticket: u64) {
        let place = (key.clone(), ticket);
        self.letting
            .add(namespace, |things| things.places.push(place));
        self.sooner.notify_one();
    }

    /// Gives back what waits for it. What the store cannot be told ends by its lease's TTL, or with its flight.
    pub(super) async fn let_go(&self) {
        for (namespace, things) in self.letting.take() {
            let leases = things.leases.chunks(BATCH);
            let places = things.places.chunks(BATCH);
            let lone = leases
                .map(|leases| (leases, [].as_slice()))
                .chain(places.map(|places| ([].as_slice(), places)));
            for (leases, places) in lone {
                let leases: Vec<u64> = leases.iter().map(|lease| lease.0).collect();
                let places = places.iter().map(|(key, ticket)| (key.as_str(), *ticket));
                let args = (leases, places.collect::<Vec<_>>());
                if let Err(error) = self.call::<bool>(&LET_GO, &namespace, &args).await {
                    tracing::debug!(%error, "leases and places could not be given back");
                }
            }
        }
    }

    /// Whether something waits to be given back.
    pub(super) fn has_to_let_go(&self) -> bool {
        self.letting.0.lock().0 > 0
    }
}
