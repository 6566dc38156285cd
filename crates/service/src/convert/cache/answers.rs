//! The port's answers as the contract spells them.

use super::PART_BYTES;
use crate::convert::{count, duration, scope as told_scope};
use prost::bytes::Bytes;
use trellis_core::Micros;
use trellis_core::Scope;
use trellis_core::cache::{
    CacheStats, Cost, Deleted, Failure, Hit, Lease, LeaseEnd, NearStatus, Source, Version, Written,
};
use trellis_proto::v1;

/// What an entry takes in an answer above its value and content type, rounded up.
const ENTRY_BYTES: usize = 160;

pub(crate) fn number(Version(version): Version) -> i64 {
    count(version)
}

pub(crate) fn cost(cost: Cost) -> Option<v1::Cost> {
    (cost != Cost::default()).then_some(v1::Cost {
        calls: cost.calls,
        tokens: cost.tokens,
        money_micros: cost.money_micros,
    })
}

/// An entry with the part of its value that begins at `offset`.
pub(crate) fn entry(hit: &Hit, offset: usize) -> v1::Entry {
    let value = hit.content.value().cloned().unwrap_or_default();
    let (size, from) = (value.len(), offset.min(value.len()));
    let source = match hit.source {
        Source::Local => v1::Source::Local,
        Source::Shared => v1::Source::Shared,
        Source::Near => v1::Source::Near,
        Source::Coalesced => v1::Source::Coalesced,
        Source::Stale => v1::Source::Stale,
        Source::Negative => v1::Source::Negative,
    };
    v1::Entry {
        value: value.slice(from..size.min(from + PART_BYTES)),
        size: count(size),
        content_type: hit.content_type.to_string(),
        version: number(hit.version),
        source: source.into(),
        age: Some(duration(hit.age)),
        ttl: Some(duration(hit.ttl)),
        cost: cost(hit.cost),
    }
}

/// An entry as its parts, and the message that ends them; the first `told` bytes are told already.
pub(crate) fn hit_parts(hit: &Hit, told: usize) -> (Vec<Bytes>, v1::Entry) {
    let value = hit.content.value().cloned().unwrap_or_default();
    let mut from = told.min(value.len());
    let mut parts = Vec::new();
    while value.len() - from > PART_BYTES {
        parts.push(value.slice(from..from + PART_BYTES));
        from += PART_BYTES;
    }
    (parts, entry(hit, from))
}

/// Bytes of an entry in a batch's answer.
pub(crate) fn answer_bytes(entry: &v1::Entry) -> usize {
    entry.value.len() + entry.content_type.len() + ENTRY_BYTES
}

pub(crate) fn lease(lease: Lease) -> v1::Lease {
    v1::Lease {
        lease: count(lease.id.0),
        lease_ttl: Some(duration(lease.ttl)),
        compute_deadline: Some(duration(lease.deadline)),
    }
}

pub(crate) fn end(end: LeaseEnd) -> v1::LeaseEnd {
    match end {
        LeaseEnd::Expired => v1::LeaseEnd::Expired,
        LeaseEnd::Deadline => v1::LeaseEnd::Deadline,
        LeaseEnd::GivenUp => v1::LeaseEnd::GivenUp,
        LeaseEnd::Deleted => v1::LeaseEnd::Deleted,
        LeaseEnd::Cleared => v1::LeaseEnd::Cleared,
        LeaseEnd::Replaced => v1::LeaseEnd::Replaced,
        LeaseEnd::Unknown => v1::LeaseEnd::Unknown,
    }
}

pub(crate) fn failure(failure: &Failure) -> v1::FillFailure {
    let remembered = failure.remembered_for;
    v1::FillFailure {
        code: failure.code,
        message: failure.message.to_string(),
        retry_after: (remembered > Micros::ZERO).then(|| duration(remembered)),
    }
}

pub(crate) fn written(written: Written, scope: &Scope) -> v1::SetResponse {
    let (stored, version) = match written {
        Written::Stored(version) => (true, Some(version)),
        Written::Mismatch(version) => (false, version),
    };
    v1::SetResponse {
        stored,
        version: version.map_or(0, number),
        scope: Some(told_scope(scope)),
    }
}

pub(crate) fn deleted(deleted: Deleted, scope: &Scope) -> v1::DeleteResponse {
    let (deleted, version, held) = match deleted {
        Deleted::Gone => (true, None, true),
        Deleted::Absent => (false, None, true),
        Deleted::Mismatch(version) => (false, version, false),
    };
    v1::DeleteResponse {
        deleted,
        mismatch: !held,
        version: version.map_or(0, number),
        scope: Some(told_scope(scope)),
    }
}

pub(crate) fn stats(stats: &CacheStats) -> v1::CacheStats {
    let ledger = &stats.ledger;
    v1::CacheStats {
        entries: count(stats.entries),
        bytes: count(stats.bytes),
        leases: count(stats.leases),
        waiters: count(stats.waiters),
        hits: count(ledger.hits),
        stale_hits: count(ledger.stale_hits),
        negative_hits: count(ledger.negative_hits),
        coalesced: count(ledger.coalesced),
        misses: count(ledger.misses),
        failed: count(ledger.failed),
        sets: count(ledger.sets),
        fills: count(ledger.fills),
        fills_refused: count(ledger.fills_refused),
        saved_by_hits: cost(ledger.saved_by_hits),
        saved_by_coalescing: cost(ledger.saved_by_coalescing),
        near_hits: count(ledger.near_hits),
    }
}

pub(crate) fn near(near: &NearStatus) -> v1::NearStats {
    v1::NearStats {
        serving: near.serving,
        entries: count(near.entries),
        bytes: count(near.bytes),
        hits: count(near.hits),
        misses: count(near.misses),
        invalidations: count(near.invalidations),
        evictions: count(near.evictions),
        resets: count(near.resets.iter().sum::<u64>()),
    }
}
