//! What this daemon last saw of the buckets and reservations that it uses, lest the store forget them.
//!
//! Bounded: the least recently seen goes first. A record's time is the store's, so it can be told which records
//! are of before a generation, and what has been refilled since.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use trellis_core::limits::{
    AcquireRequest, Acquired, Charge, ChargeState, LimitSpec, Outcome, ReservationId, SettledCharge,
};

/// The most buckets, and the most reservations, that are remembered.
const MOST: usize = 10_000;

/// A map that forgets what was not put in for long: it has two halves, and when the younger is full the elder
/// goes.
struct Fading<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V> Default for Fading<K, V> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash, V> Fading<K, V> {
    fn put(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= MOST / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    fn remove(&mut self, key: &K) {
        if self.young.remove(key).is_none() {
            self.old.remove(key);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.young.iter().chain(&self.old)
    }
}

/// Namespace, limit, key.
pub(super) type Bucket = (Box<str>, Box<str>, Box<str>);

/// A bucket as an answer has told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub spec: LimitSpec,
    /// Units left.
    pub level: i64,
    /// When, by the store's clock.
    pub at: u64,
}

/// One charge of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub limit: Box<str>,
    pub key: Box<str>,
    pub amount: i64,
    pub spec: LimitSpec,
    pub at: u64,
}

/// An open reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// When it ends, by the store's clock.
    pub until: u64,
    pub taken: Vec<Taken>,
}

/// What is to be told of one namespace.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub views: Vec<(Bucket, View)>,
    pub held: Vec<(Box<str>, Held)>,
}

#[derive(Default)]
struct Pages {
    views: Fading<Bucket, View>,
    /// By namespace and id.
    held: Fading<(Box<str>, Box<str>), Held>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Book {
    pages: Mutex<Pages>,
}

impl Book {
    /// Takes note of an answer that the store gave at a time.
    pub fn learn(&self, request: &AcquireRequest, acquired: &Acquired, at: u64) {
        let namespace = request.namespace.as_str();
        let mut pages = self.pages.lock();
        pages.see(namespace, &request.charges, &acquired.charges, at);
        if let Outcome::Granted(Some(granted)) = &acquired.outcome
            && !request.dry_run
        {
            let held = Held {
                until: at.saturating_add(granted.ttl.0),
                taken: taken(&request.charges, &acquired.charges, at),
            };
            let name = (namespace.into(), granted.id.as_str().into());
            pages.held.put(name, held);
        }
    }

    /// Takes note of an extension.
    pub fn extended(
        &self,
        namespace: &str,
        id: &ReservationId,
        charges: &[Charge],
        acquired: &Acquired,
        at: u64,
    ) {
        let mut pages = self.pages.lock();
        pages.see(namespace, charges, &acquired.charges, at);
        let name = (namespace.into(), id.as_str().into());
        if let Outcome::Granted(Some(granted)) = &acquired.outcome
            && let Some(held) = pages.held.get_mut(&name)
        {
            held.until = held.until.max(at.saturating_add(granted.ttl.0));
            held.taken.extend(taken(charges, &acquired.charges, at));
        }
    }

    /// Takes note of the end of a reservation.
    pub fn settled(&self, namespace: &str, id: &ReservationId, charges: &[SettledCharge], at: u64) {
        let mut pages = self.pages.lock();
        for charge in charges {
            let (limit, key) = (charge.limit.as_str().into(), charge.key.as_str().into());
            if let Some(view) = pages.views.get_mut(&(namespace.into(), limit, key)) {
                (view.level, view.at) = (charge.remaining, at);
            }
        }
        pages.held.remove(&(namespace.into(), id.as_str().into()));
    }

    /// Forgets a reservation that nobody has.
    pub fn forget(&self, namespace: &str, id: &str) {
        let name = (namespace.into(), id.into());
        self.pages.lock().held.remove(&name);
    }

    /// What a slice's answer tells of its bucket.
    pub fn see(&self, bucket: Bucket, view: View) {
        self.pages.lock().views.put(bucket, view);
    }

    /// Everything that was seen before a time, by namespace.
    pub fn before(&self, time: u64) -> HashMap<Box<str>, Told> {
        let pages = self.pages.lock();
        let mut told: HashMap<Box<str>, Told> = HashMap::new();
        for (bucket, view) in pages.views.iter().filter(|(_, view)| view.at < time) {
            let views = &mut told.entry(bucket.0.clone()).or_default().views;
            views.push((bucket.clone(), view.clone()));
        }
        for ((namespace, id), held) in pages.held.iter() {
            if held.until > time && held.taken.iter().all(|taken| taken.at < time) {
                let list = &mut told.entry(namespace.clone()).or_default().held;
                list.push((id.clone(), held.clone()));
            }
        }
        told
    }
}

impl Pages {
    fn see(&mut self, namespace: &str, charges: &[Charge], states: &[ChargeState], at: u64) {
        for (charge, state) in charges.iter().zip(states) {
            // Slots are what reservations hold.
            if !matches!(state.spec, LimitSpec::Concurrency(_)) {
                let (limit, key) = (charge.limit.as_str().into(), charge.key.as_str().into());
                let view = View {
                    spec: state.spec.clone(),
                    level: state.remaining,
                    at,
                };
                self.views.put((namespace.into(), limit, key), view);
            }
        }
    }
}

fn taken(charges: &[Charge], states: &[ChargeState], at: u64) -> Vec<Taken> {
    let one = |(charge, state): (&Charge, &ChargeState)| Taken {
        limit: charge.limit.as_str().into(),
        key: charge.key.as_str().into(),
        amount: charge.amount(),
        spec: state.spec.clone(),
        at,
    };
    charges.iter().zip(states).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::Micros;
    use trellis_core::limits::WindowSpec;

    #[test]
    fn what_was_not_seen_for_long_goes_first_and_the_book_is_bounded() {
        let spec = LimitSpec::Window(WindowSpec::new(10, Micros::from_secs(1)).unwrap());
        let book = Book::default();
        let name = |number: usize| ("ns".into(), "limit".into(), number.to_string().into());
        let see = |number: usize, at: u64| {
            let (spec, level) = (spec.clone(), 3);
            book.see(name(number), View { spec, level, at });
        };
        for number in 0..3 * MOST {
            see(number, 1);
            see(0, 2);
        }
        let told = book.before(3).remove("ns").unwrap();
        assert!((MOST / 2..=MOST).contains(&told.views.len()));
        let known = |number| told.views.iter().any(|(bucket, _)| *bucket == name(number));
        assert!(known(0) && known(3 * MOST - 1) && !known(1));
        assert_eq!(book.before(2)["ns"].views.len() + 1, told.views.len());
    }
}
