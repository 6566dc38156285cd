//! What this daemon knows of the shared limits from the answers that it passed on.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasher;
use trellis_core::limits::{AcquireRequest, Acquired, Charge, ChargeState, LimitSpec};
use trellis_core::same_text;

/// Buckets remembered in each shard; above, an arbitrary one is forgotten.
const MAX_EACH: usize = 4_096;
const SHARDS: u64 = 32;

/// A bucket: namespace, limit, key.
pub(crate) type Place = (Box<str>, Box<str>, Box<str>);

/// What was last told of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub spec: LimitSpec,
    /// Units left.
    pub remaining: i64,
}

/// By a hash of the place, so that a look needs no names of its own; of two places with one hash the later is kept.
type Shard = HashMap<u64, (Place, Known), foldhash::fast::RandomState>;

/// The buckets that this daemon has seen.
pub(crate) struct Memory {
    hasher: foldhash::quality::RandomState,
    shards: Vec<Mutex<Shard>>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            hasher: foldhash::quality::RandomState::default(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    fn shard(&self, place: (&str, &str, &str)) -> (u64, &Mutex<Shard>) {
        let hash = self.hasher.hash_one(place);
        let shard = usize::try_from(hash % SHARDS).unwrap_or(0);
        (hash, &self.shards[shard])
    }

    /// Takes note of an answer.
    pub fn learn(&self, request: &AcquireRequest, acquired: &Acquired) {
        let namespace = request.namespace.as_str();
        for (charge, state) in request.charges.iter().zip(&acquired.charges) {
            let place = (namespace, charge.limit.as_str(), charge.key.as_str());
            self.learn_one(place, state);
        }
    }

    fn learn_one(&self, place: (&str, &str, &str), state: &ChargeState) {
        let (hash, shard) = self.shard(place);
        let mut shard = shard.lock();
        if let Some((at, known)) = shard.get_mut(&hash)
            && is(at, place)
        {
            known.remaining = state.remaining;
            if known.spec != state.spec {
                known.spec = state.spec.clone();
            }
            return;
        }
        if shard.len() >= MAX_EACH && !shard.contains_key(&hash) {
            let any = shard.keys().next().copied();
            any.and_then(|any| shard.remove(&any));
        }
        let known = Known {
            spec: state.spec.clone(),
            remaining: state.remaining,
        };
        let place = (place.0.into(), place.1.into(), place.2.into());
        shard.insert(hash, (place, known));
    }

    /// What was last told of a charge's bucket.
    pub fn of(&self, namespace: &str, charge: &Charge) -> Option<Known> {
        self.find((namespace, charge.limit.as_str(), charge.key.as_str()))
    }

    /// What was last told of a bucket.
    pub fn at(&self, place: &Place) -> Option<Known> {
        self.find((&place.0, &place.1, &place.2))
    }

    fn find(&self, place: (&str, &str, &str)) -> Option<Known> {
        let (hash, shard) = self.shard(place);
        let shard = shard.lock();
        let (at, known) = shard.get(&hash)?;
        is(at, place).then(|| known.clone())
    }
}

fn is(at: &Place, place: (&str, &str, &str)) -> bool {
    same_text(&at.0, place.0) && same_text(&at.1, place.1) && same_text(&at.2, place.2)
}
