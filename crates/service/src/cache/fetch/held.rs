//! The leases that a stream renews, and gives up when it ends.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use trellis_core::cache::{Cache, Lease, LeaseEnd, LeaseId};
use trellis_core::{Micros, Namespace, Result};

/// A lease is renewed when a third of its TTL is over: two renewals may be lost.
const SHARE: u64 = 3;

struct One {
    namespace: Arc<Namespace>,
    ttl: Micros,
    renewal: Instant,
    fetch: u64,
    indexes: Vec<u32>,
}

/// Leases of one stream.
pub(super) struct Held {
    cache: Arc<dyn Cache>,
    leases: HashMap<LeaseId, One>,
    renewals: BTreeSet<(Instant, LeaseId)>,
    /// Leases of each fetch.
    fetches: HashMap<u64, usize>,
}

impl Held {
    pub fn new(cache: Arc<dyn Cache>) -> Self {
        Self {
            cache,
            leases: HashMap::new(),
            renewals: BTreeSet::new(),
            fetches: HashMap::new(),
        }
    }

    pub fn count(&self) -> usize {
        self.leases.len()
    }

    pub fn has_any_of(&self, fetch: u64) -> bool {
        self.fetches.contains_key(&fetch)
    }

    /// Takes a lease over for a fetch and the keys that it is for.
    pub fn take(
        &mut self,
        namespace: Arc<Namespace>,
        lease: Lease,
        (fetch, indexes): (u64, Vec<u32>),
    ) {
        let renewal = after(lease.ttl);
        self.renewals.insert((renewal, lease.id));
        *self.fetches.entry(fetch).or_default() += 1;
        let one = One {
            namespace,
            ttl: lease.ttl,
            renewal,
            fetch,
            indexes,
        };
        self.leases.insert(lease.id, one);
    }

    /// Lets go of a lease that has ended; tells its fetch.
    pub fn end(&mut self, lease: LeaseId) -> Option<u64> {
        self.remove(lease).map(|one| one.fetch)
    }

    fn remove(&mut self, lease: LeaseId) -> Option<One> {
        let one = self.leases.remove(&lease)?;
        self.renewals.remove(&(one.renewal, lease));
        if let Some(count) = self.fetches.get_mut(&one.fetch) {
            *count -= 1;
            if *count == 0 {
                self.fetches.remove(&one.fetch);
            }
        }
        Some(one)
    }

    pub fn next_renewal(&self) -> Option<Instant> {
        self.renewals.first().map(|(at, _)| *at)
    }

    /// The leases to renew now; each is due again later, whatever becomes of its renewal.
    pub fn due(&mut self) -> Vec<(LeaseId, Arc<Namespace>)> {
        let now = Instant::now();
        let mut due = Vec::new();
        while let Some((at, lease)) = self.renewals.first().copied()
            && at <= now
        {
            self.renewals.pop_first();
            if let Some(one) = self.leases.get_mut(&lease) {
                one.renewal = after(one.ttl);
                self.renewals.insert((one.renewal, lease));
                due.push((lease, Arc::clone(&one.namespace)));
            }
        }
        due
    }

    /// Notes a renewal; tells whose lease has ended.
    pub fn renewed(
        &mut self,
        lease: LeaseId,
        renewed: Result<std::result::Result<Lease, LeaseEnd>>,
    ) -> Option<(u64, Vec<u32>, LeaseEnd)> {
        match renewed {
            // Tried again when the next one is due; the lease's TTL bounds that.
            Err(error) => {
                tracing::debug!(%error, lease = lease.0, "a lease could not be renewed");
                None
            }
            Ok(Ok(_)) => None,
            Ok(Err(end)) => {
                let one = self.remove(lease)?;
                Some((one.fetch, one.indexes, end))
            }
        }
    }

    /// Gives up the leases of one fetch.
    pub fn give_up_of(&mut self, fetch: u64) {
        let of = |(lease, one): (&LeaseId, &One)| (one.fetch == fetch).then_some(*lease);
        let leases: Vec<_> = self.leases.iter().filter_map(of).collect();
        self.give_up(leases);
    }

    /// Gives up every lease.
    pub fn give_up_all(&mut self) {
        let leases = self.leases.keys().copied().collect();
        self.give_up(leases);
    }

    fn give_up(&mut self, mut leases: Vec<LeaseId>) {
        leases.sort_unstable();
        for lease in leases {
            if let Some(one) = self.remove(lease) {
                self.cache.abandon(&one.namespace, &[lease]);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_up_all();
    }
}

fn after(ttl: Micros) -> Instant {
    Instant::now() + Duration::from_micros(ttl.0 / SHARE)
}
