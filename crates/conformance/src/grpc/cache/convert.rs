//! The contract's messages of the cache as the port has them, and back.

use crate::grpc::convert;
use prost::Message as _;
use std::time::Duration;
use tonic::{Code, Response, Status};
use trellis_core::cache::{
    CacheStats, Content, Cost, Failure, Fence, FetchOptions, Hit, Lease, LeaseEnd, LeaseId, Ledger,
    Policy, ReadFrom, Source, StaleMode, Version,
};
use trellis_core::{Error, Micros, Result, Scope};
use trellis_proto::v1;

pub(super) fn answer<T>(result: std::result::Result<Response<T>, Status>) -> Result<T> {
    received(result).map(Response::into_inner)
}

pub(super) fn received<T>(result: std::result::Result<T, Status>) -> Result<T> {
    convert::answer(result.map_err(trellis_client::Error::from))
}

/// The error of one key.
pub(super) fn item(status: &tonic_types::Status) -> Error {
    let (code, details) = (Code::from_i32(status.code), status.encode_to_vec());
    let status = Status::with_details(code, status.message.as_str(), details.into());
    received::<()>(Err(status)).unwrap_err()
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap()
}

pub(super) fn size(number: i64) -> usize {
    usize::try_from(number).unwrap()
}

pub(super) fn version(version: i64) -> Option<Version> {
    (version != 0).then(|| Version(unsigned(version)))
}

pub(super) fn scope(scope: Option<v1::Scope>) -> Scope {
    match scope.unwrap().kind() {
        v1::ScopeKind::Shared => Scope::Shared,
        v1::ScopeKind::Local => Scope::Local,
        other => panic!("not expected in a suite: {other:?}"),
    }
}

fn span(duration: Option<prost_types::Duration>) -> Micros {
    Micros::from(Duration::try_from(duration.unwrap()).unwrap())
}

fn duration(span: Micros) -> prost_types::Duration {
    Duration::from(span).try_into().unwrap()
}

/// Unset for no time at all.
fn some(span: Micros) -> Option<prost_types::Duration> {
    (span > Micros::ZERO).then(|| duration(span))
}

pub(super) fn fence(fence: Fence) -> v1::Fence {
    v1::Fence {
        lock: fence.lock.into(),
        token: signed(fence.token),
    }
}

pub(super) fn policy(policy: &Policy) -> v1::EntryPolicy {
    v1::EntryPolicy {
        ttl: Some(duration(policy.ttl)),
        jitter: some(policy.jitter),
        stale_for: some(policy.stale_for),
        refresh_after: policy.refresh_after.map(duration),
        tags: policy.tags.iter().map(ToString::to_string).collect(),
        pipeline: String::new(),
    }
}

pub(super) fn read(read: ReadFrom) -> v1::Read {
    match read {
        ReadFrom::Near => v1::Read::Near,
        ReadFrom::Store => v1::Read::Shared,
    }
}

pub(super) fn options(options: &FetchOptions) -> v1::FetchOptions {
    let stale = match options.stale {
        StaleMode::Never => v1::StaleMode::Never,
        StaleMode::WhileRevalidate => v1::StaleMode::WhileRevalidate,
        StaleMode::OnError => v1::StaleMode::OnError,
    };
    v1::FetchOptions {
        stale: stale.into(),
        refresh: options.refresh,
        lease_ttl: Some(duration(options.lease_ttl)),
        compute_deadline: Some(duration(options.compute_deadline)),
        read: read(options.read).into(),
    }
}

pub(super) fn cost_out(cost: Cost) -> v1::Cost {
    v1::Cost {
        calls: cost.calls,
        tokens: cost.tokens,
        money_micros: cost.money_micros,
    }
}

fn cost(cost: Option<v1::Cost>) -> Cost {
    let cost = cost.unwrap_or_default();
    Cost {
        calls: cost.calls,
        tokens: cost.tokens,
        money_micros: cost.money_micros,
    }
}

/// An entry whose value came whole.
pub(super) fn hit(entry: v1::Entry) -> Hit {
    hit_after(&[], entry)
}

/// An entry whose value came in parts, the last of them with it.
pub(super) fn hit_after(parts: &[u8], entry: v1::Entry) -> Hit {
    let source = match entry.source() {
        v1::Source::Local => Source::Local,
        v1::Source::Shared => Source::Shared,
        v1::Source::Near => Source::Near,
        v1::Source::Coalesced => Source::Coalesced,
        v1::Source::Stale => Source::Stale,
        v1::Source::Negative => Source::Negative,
        v1::Source::Unspecified => panic!("an entry without a source"),
    };
    let value = [parts, &entry.value].concat();
    assert_eq!(value.len(), size(entry.size), "a value in parts is whole");
    Hit {
        content: if source == Source::Negative {
            Content::Negative
        } else {
            Content::Value(value.into())
        },
        content_type: entry.content_type.into(),
        version: Version(unsigned(entry.version)),
        source,
        age: span(entry.age),
        ttl: span(entry.ttl),
        cost: cost(entry.cost),
    }
}

pub(super) fn lease(lease: v1::Lease) -> Lease {
    Lease {
        id: LeaseId(unsigned(lease.lease)),
        ttl: span(lease.lease_ttl),
        deadline: span(lease.compute_deadline),
    }
}

pub(super) fn end(end: i32) -> Option<LeaseEnd> {
    match v1::LeaseEnd::try_from(end).unwrap() {
        v1::LeaseEnd::Unspecified => None,
        v1::LeaseEnd::Expired => Some(LeaseEnd::Expired),
        v1::LeaseEnd::Deadline => Some(LeaseEnd::Deadline),
        v1::LeaseEnd::GivenUp => Some(LeaseEnd::GivenUp),
        v1::LeaseEnd::Deleted => Some(LeaseEnd::Deleted),
        v1::LeaseEnd::Cleared => Some(LeaseEnd::Cleared),
        v1::LeaseEnd::Replaced => Some(LeaseEnd::Replaced),
        v1::LeaseEnd::Unknown => Some(LeaseEnd::Unknown),
    }
}

pub(super) fn held<T>(lease_end: i32, answer: T) -> std::result::Result<T, LeaseEnd> {
    end(lease_end).map_or(Ok(answer), Err)
}

pub(super) fn failure_out(failure: &Failure) -> v1::FillFailure {
    v1::FillFailure {
        code: failure.code,
        message: failure.message.to_string(),
        retry_after: some(failure.remembered_for),
    }
}

pub(super) fn failure(failure: &v1::FillFailure) -> Failure {
    Failure {
        code: failure.code,
        message: failure.message.as_str().into(),
        remembered_for: failure
            .retry_after
            .map_or(Micros::ZERO, |wait| span(Some(wait))),
    }
}

pub(super) fn stats(stats: &v1::CacheStats) -> CacheStats {
    CacheStats {
        entries: unsigned(stats.entries),
        bytes: unsigned(stats.bytes),
        leases: size(stats.leases),
        waiters: size(stats.waiters),
        ledger: Ledger {
            hits: unsigned(stats.hits),
            stale_hits: unsigned(stats.stale_hits),
            negative_hits: unsigned(stats.negative_hits),
            coalesced: unsigned(stats.coalesced),
            misses: unsigned(stats.misses),
            failed: unsigned(stats.failed),
            sets: unsigned(stats.sets),
            fills: unsigned(stats.fills),
            fills_refused: unsigned(stats.fills_refused),
            saved_by_hits: cost(stats.saved_by_hits),
            saved_by_coalescing: cost(stats.saved_by_coalescing),
            near_hits: unsigned(stats.near_hits),
        },
    }
}
