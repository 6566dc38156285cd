//! What this daemon knows of the shared limits from the answers that it passed on.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use trellis_core::limits::{Acquired, Charge, LimitSpec};

/// Buckets remembered in each shard; above, an arbitrary one is forgotten.
const MAX_EACH: usize = 4_096;
const SHARDS: usize = 32;

/// A bucket: namespace, limit, key.
pub(crate) type Place = (Box<str>, Box<str>, Box<str>);

/// What was last told of a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub spec: LimitSpec,
    /// Units left.
    pub remaining: i64,
}

/// The buckets that this daemon has seen.
pub(crate) struct Memory {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<Place, Known>>>,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    fn shard(&self, limit: &str, key: &str) -> &Mutex<HashMap<Place, Known>> {
        let hash = self.hasher.hash_one((limit, key));
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// Takes note of an answer.
    pub fn learn(&self, namespace: &str, charges: &[(Box<str>, Box<str>)], acquired: &Acquired) {
        for ((limit, key), state) in charges.iter().zip(&acquired.charges) {
            let known = Known {
                spec: state.spec.clone(),
                remaining: state.remaining,
            };
            let mut shard = self.shard(limit, key).lock();
            let place = (namespace.into(), limit.clone(), key.clone());
            if shard.len() >= MAX_EACH && !shard.contains_key(&place) {
                let any = shard.keys().next().cloned();
                any.and_then(|any| shard.remove(&any));
            }
            shard.insert(place, known);
        }
    }

    /// What was last told of a charge's bucket.
    pub fn of(&self, namespace: &str, charge: &Charge) -> Option<Known> {
        let (limit, key) = (charge.limit.as_str(), charge.key.as_str());
        self.at(&(namespace.into(), limit.into(), key.into()))
    }

    /// What was last told of a bucket.
    pub fn at(&self, place: &Place) -> Option<Known> {
        self.shard(&place.1, &place.2).lock().get(place).cloned()
    }
}
