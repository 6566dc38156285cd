//! How large the entries of a namespace are at most, so that a batch of small ones need not be sized before it is read.
//!
//! The store keeps a bound that only grows, by powers of two (`entry.lua`), and tells it with each read. What was told is
//! believed for a moment: entries that others have made larger since may make an answer larger than it should be, by what was
//! written in that moment at most.

use parking_lot::Mutex;
use std::collections::HashMap;
use trellis_core::{Micros, Namespace, Time};

/// How long a bound is believed.
const BELIEVED: Micros = Micros::from_millis(200);

/// Namespaces whose bound is known; known no more it costs a round trip.
const MAX_KNOWN: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Largest(Mutex<HashMap<Namespace, (usize, Time)>>);

impl Largest {
    /// Bytes that no entry exceeds, as far as is known at this time.
    pub fn of(&self, namespace: &Namespace, now: Time) -> Option<usize> {
        let known = self.0.lock();
        let &(bytes, told) = known.get(namespace)?;
        (now < told + BELIEVED).then_some(bytes)
    }

    /// Whether the bound is to be asked for again, so that it is known whenever batches follow each other.
    pub fn is_old(&self, namespace: &Namespace, now: Time) -> bool {
        let known = self.0.lock();
        let told = known.get(namespace).map(|(_, told)| *told);
        told.is_none_or(|told| now >= told + Micros(BELIEVED.0 / 2))
    }

    /// This daemon has written an entry that may have so many bytes.
    pub fn wrote(&self, namespace: &Namespace, bytes: usize) {
        let mut known = self.0.lock();
        if known.get(namespace).is_some_and(|(most, _)| bytes > *most) {
            known.remove(namespace);
        }
    }

    /// Takes in what a read tells that was sent at this time.
    pub fn told(&self, namespace: &Namespace, bytes: usize, sent: Time) {
        let mut known = self.0.lock();
        if let Some(last) = known.get_mut(namespace) {
            *last = (bytes, sent);
            return;
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(namespace.clone(), (bytes, sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_believed_for_a_moment() {
        let (largest, namespace) = (
            Largest::default(),
            Namespace::new("n", "namespace").unwrap(),
        );
        assert_eq!(largest.of(&namespace, Time(0)), None);
        assert!(largest.is_old(&namespace, Time(0)));
        largest.told(&namespace, 8_192, Time(5));
        assert!(!largest.is_old(&namespace, Time(100_004)));
        assert!(largest.is_old(&namespace, Time(100_005)));
        assert_eq!(largest.of(&namespace, Time(200_004)), Some(8_192));
        assert_eq!(largest.of(&namespace, Time(200_005)), None);
        largest.told(&namespace, 16_384, Time(200_005));
        largest.wrote(&namespace, 16_384);
        assert_eq!(largest.of(&namespace, Time(200_006)), Some(16_384));
        largest.wrote(&namespace, 16_385);
        assert_eq!(largest.of(&namespace, Time(200_006)), None);
    }
}
