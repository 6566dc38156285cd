//! The ledger of a namespace's cache: [`CacheStats`].

use super::entry::Cost;
use crate::convert;
use crate::error::{Error, Result};
use crate::scope::Scope;
use trellis_proto::v1 as proto;

/// What is kept, and what happened since the namespace came into use. Keys are counted, each time that one is
/// asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// Entries kept, those included that are past their time and not yet thrown out.
    pub entries: i64,
    /// Bytes of their keys and values, and what keeping them takes.
    pub bytes: i64,
    /// Leases held now.
    pub leases: i64,
    /// Calls waiting for a computation now.
    pub waiters: i64,
    /// Keys answered with a fresh value.
    pub hits: i64,
    /// Keys answered with a stale value.
    pub stale_hits: i64,
    /// Keys answered with a negative entry.
    pub negative_hits: i64,
    /// Keys answered with the computation of another caller.
    pub coalesced: i64,
    /// Keys answered with nothing, or with a lease to compute what was not there.
    pub misses: i64,
    /// Keys answered with a failure of a computation.
    pub failed: i64,
    /// Values kept by a plain set.
    pub sets: i64,
    /// Values kept by filling a lease.
    pub fills: i64,
    /// Fills that came too late.
    pub fills_refused: i64,
    /// What the values had cost that hits served, stale and negative ones included.
    pub saved_by_hits: Cost,
    /// What the values had cost that came from another caller's computation.
    pub saved_by_coalescing: Cost,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

impl CacheStats {
    /// Of all keys answered, the share that nobody had to compute for the caller: fresh, stale and negative
    /// entries and others' computations. `None` before the first.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        let served = self.hits + self.stale_hits + self.negative_hits + self.coalesced;
        let all = served + self.misses + self.failed;
        #[expect(clippy::cast_precision_loss, reason = "a share, and counts below 2^53")]
        (all > 0).then(|| served as f64 / all as f64)
    }
}

impl TryFrom<proto::StatsResponse> for CacheStats {
    type Error = Error;

    fn try_from(answer: proto::StatsResponse) -> Result<Self> {
        let stats = convert::required(answer.stats, "stats")?;
        let cost = |cost: Option<proto::Cost>| cost.map(Cost::from).unwrap_or_default();
        Ok(Self {
            entries: stats.entries,
            bytes: stats.bytes,
            leases: stats.leases,
            waiters: stats.waiters,
            hits: stats.hits,
            stale_hits: stats.stale_hits,
            negative_hits: stats.negative_hits,
            coalesced: stats.coalesced,
            misses: stats.misses,
            failed: stats.failed,
            sets: stats.sets,
            fills: stats.fills,
            fills_refused: stats.fills_refused,
            saved_by_hits: cost(stats.saved_by_hits),
            saved_by_coalescing: cost(stats.saved_by_coalescing),
            scope: answer.scope.try_into()?,
        })
    }
}
