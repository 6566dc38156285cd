//! What scripts are given and answer, as msgpack.

use crate::packed::{Maybe, span};
use serde::{Deserialize, Serialize};
use trellis_core::Micros;
use trellis_core::cache::{
    Content, FetchOptions, Lease, LeaseEnd, LeaseId, NewEntry, Precondition, StaleMode,
};

/// The largest whole number that Lua counts to exactly; never a version.
const MAX_WHOLE: i64 = (1 << 53) - 1;

/// Bounds and names, in the order of `call.lua`.
pub(super) type Env<'a> = (
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    /* namespace */ &'a str,
    /* before the name of a mailbox */ &'a str,
    /* locks whose tokens are remembered */ u64,
);

/// A reply's first part.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply<P> {
    /// The store's time, and what was asked for.
    Ok(u64, P),
    /// A code, and the bound that it speaks of.
    Error(String, u64),
}

/// Number, time to live, time to its deadline.
pub(super) type LeaseTold = (u64, u64, u64);

pub(super) fn lease((id, ttl, deadline): LeaseTold) -> Lease {
    Lease {
        id: LeaseId(id),
        ttl: Micros(ttl),
        deadline: Micros(deadline),
    }
}

/// What became of a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Version, and which of the values sent it is; 0: the one that is known.
    Hit(u64, usize),
    Refresh(u64, usize, LeaseTold),
    Lease((u64, u64, u64)),
    /// Flight, round, time until it is to be looked at.
    Wait(u64, u64, u64),
    Busy,
    /// The values sent are enough.
    Deferred,
    /// Code, message, time left.
    Failed(i32, String, u64),
    Error(String, u64),
}

/// What became of a part.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AppendTold {
    Ended(u8),
    Have(usize, u32),
    Added(usize),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FillTold {
    Ended(u8),
    Have(usize, u32),
    /// Version, calls that waited, the key.
    Filled(u64, usize, String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailTold {
    Ended(u8),
    Done,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RenewTold {
    Ended(u8),
    Held(u64, u64, u64),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SetTold {
    Stored(u64),
    Mismatch(u64),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeleteTold {
    Gone,
    Absent,
    Mismatch(u64),
}

/// What became of a flight. Each but the first two begins with its round and why that began.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LookTold {
    Gone,
    Landed,
    /// Time until it is this daemon's turn.
    Open(u64, u8, u64),
    Taken(u64, u8, LeaseTold),
    /// Time until its lease ends, bytes so far.
    Flying(u64, u8, u64, usize),
}

/// Entries, bytes, leases, waiters, the ledger.
pub(super) type StatsTold = (u64, u64, usize, usize, Vec<String>);

/// Entries, bytes, leases, waiters, whether there is more to sweep.
pub(super) type SweepTold = (u64, u64, usize, usize, u8);

/// A message in a daemon's mailbox; anything else is of another primitive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Namespace, key and flight of which there is something to see.
    Flight(String, String, u64),
    /// A namespace that was cleared.
    Cleared(String),
}

impl Message {
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if let Ok((kind, namespace, key, flight)) =
            rmp_serde::from_slice::<(String, String, String, u64)>(bytes)
        {
            return (kind == "flight").then_some(Self::Flight(namespace, key, flight));
        }
        let (kind, namespace) = rmp_serde::from_slice::<(String, String)>(bytes).ok()?;
        (kind == "cleared").then_some(Self::Cleared(namespace))
    }
}

pub(super) fn end(code: u8) -> LeaseEnd {
    match code {
        0 => LeaseEnd::Expired,
        1 => LeaseEnd::Deadline,
        2 => LeaseEnd::GivenUp,
        3 => LeaseEnd::Deleted,
        4 => LeaseEnd::Cleared,
        5 => LeaseEnd::Replaced,
        _ => LeaseEnd::Unknown,
    }
}

/// TTL, deadline, stale mode.
pub(super) type OptionsTold = (u64, u64, u8);

pub(super) fn options(options: &FetchOptions) -> OptionsTold {
    let stale = match options.stale {
        StaleMode::Never => 0,
        StaleMode::WhileRevalidate => 1,
        StaleMode::OnError => 2,
    };
    (
        span(options.lease_ttl),
        span(options.compute_deadline),
        stale,
    )
}

/// The version that must be in force: none is 0, any is -1.
pub(super) fn condition(precondition: Precondition) -> i64 {
    match precondition {
        Precondition::Always => -1,
        Precondition::Absent => 0,
        Precondition::Is(version) => match i64::try_from(version.0) {
            Ok(version @ 1..) => version,
            _ => MAX_WHOLE,
        },
    }
}

/// An entry to be kept, in the order of `header` in `entry.lua`.
#[derive(Serialize)]
pub(super) struct EntryArgs<'a>(
    u64,
    u64,
    i64,
    u8,
    u32,
    usize,
    &'a str,
    (i64, i64, i64),
    Vec<&'a str>,
    Maybe<(&'a str, u64)>,
);

/// An entry, its TTL jittered, whose whole content has this checksum and size.
pub(super) fn entry_args(new: &NewEntry, ttl: Micros, (crc, size): (u32, usize)) -> EntryArgs<'_> {
    let (policy, fence) = (&new.policy, new.fence.as_ref());
    let refresh = policy
        .refresh_after
        .map_or(-1, |age| i64::try_from(span(age)).unwrap_or(MAX_WHOLE));
    EntryArgs(
        span(ttl),
        span(policy.stale_for),
        refresh,
        u8::from(new.content == Content::Negative),
        crc,
        size,
        &new.content_type,
        (new.cost.calls, new.cost.tokens, new.cost.money_micros),
        policy.tags.iter().map(trellis_core::Tag::as_str).collect(),
        Maybe(fence.map(|fence| (fence.lock.as_str(), fence.token))),
    )
}
