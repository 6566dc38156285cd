//! A request for keys that may have to be computed.

use super::bench::{Bench, key};
use super::waiter::Waiter;
use trellis_core::cache::{Begin, Begun, FetchOptions, Hit, Lease, ReadFrom, StaleMode, Wait};
use trellis_core::{Micros, Result};

/// Not sent yet. Unless more is said: nothing stale, waiting for whole values, leases of a minute.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    bench: Bench,
    begin: Begin,
}

impl Ask {
    pub(super) fn new(bench: &Bench, keys: &[&str]) -> Self {
        let begin = Begin {
            namespace: bench.namespace.clone(),
            keys: keys.iter().copied().map(key).collect(),
            options: FetchOptions {
                stale: StaleMode::Never,
                refresh: false,
                lease_ttl: Micros::from_secs(60),
                compute_deadline: Micros::from_secs(3_600),
                read: ReadFrom::Near,
            },
            wait: Wait::Whole,
        };
        Self {
            bench: bench.clone(),
            begin,
        }
    }

    pub fn stale(mut self, mode: StaleMode) -> Self {
        self.begin.options.stale = mode;
        self
    }

    pub fn refresh(mut self) -> Self {
        self.begin.options.refresh = true;
        self
    }

    pub fn lease_ttl(mut self, ttl: Micros) -> Self {
        self.begin.options.lease_ttl = ttl;
        self
    }

    pub fn deadline(mut self, span: Micros) -> Self {
        self.begin.options.compute_deadline = span;
        self
    }

    pub fn parts(mut self) -> Self {
        self.begin.wait = Wait::Parts;
        self
    }

    pub fn without_waiting(mut self) -> Self {
        self.begin.wait = Wait::No;
        self
    }

    /// What became of each key.
    pub async fn all(self) -> Vec<Result<Begun>> {
        let keys = self.begin.keys.len();
        let (begun, _) = self.bench.port().begin(self.begin).await.unwrap();
        assert_eq!(begun.len(), keys);
        begun
    }

    /// What became of the only key.
    pub async fn one(self) -> Result<Begun> {
        self.all().await.pop().unwrap()
    }

    /// The lease of the only key.
    pub async fn lease(self) -> Lease {
        match self.one().await.unwrap() {
            Begun::Lease(lease) => lease,
            other => panic!("no lease but {other:?}"),
        }
    }

    /// The entry under the only key, and the lease to compute it anew.
    pub async fn hit(self) -> (Hit, Option<Lease>) {
        match self.one().await.unwrap() {
            Begun::Hit { hit, refresh } => (hit, refresh),
            other => panic!("no hit but {other:?}"),
        }
    }

    /// The place in line for the only key.
    pub async fn wait(self) -> Waiter {
        match self.one().await.unwrap() {
            Begun::Waiting(waiting) => Waiter(waiting),
            other => panic!("no place in line but {other:?}"),
        }
    }
}
