//! Housekeeping: what is over is forgotten, what there is is counted.

use super::RedisCache;
use super::scripts::{SPACES, SWEEP};
use super::wire::SweepTold;
use crate::Call;
use std::time::Duration;
use trellis_core::Namespace;
use trellis_core::cache::{CacheStats, Ledger};

/// How often each namespace is swept, by all daemons together.
const EVERY: Duration = Duration::from_secs(10);

/// Things of each kind looked at in one sweep: a pause of the store of about a millisecond.
const BUDGET: u64 = 256;

/// Sweeps of one namespace in one round, so that a large one does not keep the others waiting.
const SWEEPS_A_ROUND: usize = 64;

impl RedisCache {
    /// Forgets what is over, in every namespace, and counts what there is. Never returns.
    pub(super) async fn keep_house(&self) {
        loop {
            let members = self.membership.snapshot().len().max(1);
            let turns = EVERY * u32::try_from(members).unwrap_or(u32::MAX);
            tokio::time::sleep(turns.mul_f64(rand::random_range(0.5..1.5))).await;
            for (root, namespace) in self.spaces().await {
                self.sweep(root, &namespace).await;
            }
        }
    }

    async fn spaces(&self) -> Vec<(String, Namespace)> {
        let spaces = self.store.keys().of("cache-namespaces", &[]);
        let Ok(reply) = self.store.call(Call::new(&SPACES).key(spaces)).await else {
            return Vec::new();
        };
        let before = self.root("");
        let roots = reply.items().iter().filter_map(|root| root.text());
        let spaces: Vec<_> = roots
            .filter_map(|root| {
                let name = plain(root.strip_prefix(&before)?)?;
                Some((root.to_owned(), Namespace::new(name, "namespace").ok()?))
            })
            .collect();
        let is_there = |root: &String| spaces.iter().any(|(other, _)| other == root);
        self.counted.lock().retain(|root, _| is_there(root));
        spaces
    }

    async fn sweep(&self, root: String, namespace: &Namespace) {
        for _ in 0..SWEEPS_A_ROUND {
            let told = self.call::<SweepTold>(&SWEEP, namespace, &(BUDGET,)).await;
            let Ok(told) = told else {
                return;
            };
            let (entries, bytes, leases, waiters, more) = told.payload;
            let stats = CacheStats {
                entries,
                bytes,
                leases,
                waiters,
                ledger: Ledger::default(),
            };
            self.counted.lock().insert(root.clone(), stats);
            if more == 0 {
                return;
            }
        }
    }
}

/// A name as it was before it became part of a key.
pub(super) fn plain(escaped: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('%') {
        name.push_str(before);
        let digits = after.get(..2)?;
        name.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        rest = &after[2..];
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_again_in_its_key() {
        assert_eq!(plain("a%3Ab%25c").unwrap(), "a:b%c");
        assert_eq!(plain("plain").unwrap(), "plain");
        assert_eq!(plain("cut%2"), None);
    }
}
