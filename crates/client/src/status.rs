//! What a daemon is and how it does.

use std::time::{Duration, SystemTime};

use trellis_proto::v1 as proto;

use crate::convert;
use crate::error::{Error, Result};
use crate::scope::Scope;

/// The state of the daemon that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonStatus {
    /// Version of the daemon, as in semver.org.
    pub version: String,
    /// Where the daemon keeps what it shares.
    pub mode: Mode,
    /// When the daemon started.
    pub started: SystemTime,
    /// How long the daemon has run.
    pub uptime: Duration,
    /// The guarantee that limits carry now.
    pub limits_scope: Scope,
    /// How much state limits keep now.
    pub limits: LimitsStatus,
    /// The guarantee that locks carry now; `None` where the daemon has none.
    pub locks_scope: Option<Scope>,
    /// How much state locks keep now; `None` where the daemon has none.
    pub locks: Option<LocksStatus>,
    /// Latency of every RPC called since the start, by name.
    pub rpcs: Vec<RpcStatus>,
    /// The store that daemons share; `None` in embedded mode.
    pub store: Option<StoreStatus>,
    /// The daemons that share it, by id.
    pub members: Vec<Member>,
    /// How limits do, or would do, while the store is away; `None` in embedded mode.
    pub fallback: Option<FallbackStatus>,
}

/// How limits go on while the shared store is away: with the daemon's share of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackStatus {
    /// Since when calls go to the daemon's own limits; `None` while they are shared.
    pub since: Option<SystemTime>,
    /// Why; empty while they are shared.
    pub reason: String,
    /// How many equal shares a limit has, of which the daemon spends one; 0: it spends nothing.
    pub shares: i64,
    /// How often calls have begun to go to its own limits.
    pub outages: i64,
    /// Acquires decided there.
    pub decisions: i64,
    /// Buckets of which the store does not know yet what was spent.
    pub unmerged_buckets: i64,
    /// Units spent of them.
    pub unmerged_units: i64,
}

/// How a daemon sees the shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// What it is, for example `redis`.
    pub kind: String,
    /// Host and port.
    pub address: String,
    /// Whether it can be used now.
    pub up: bool,
    /// Its condition in one word.
    pub condition: String,
    /// Since when it has been so.
    pub since: SystemTime,
    /// What was seen; empty while it is up.
    pub reason: String,
    /// The store's history; 0 before the first attach.
    pub generation: i64,
    /// The daemon's life in the store; 0 before the first attach.
    pub incarnation: i64,
    /// Calls of the store in flight.
    pub calls_in_flight: i64,
}

/// A daemon that shares the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub daemon: String,
    /// Its life in the store.
    pub incarnation: i64,
    /// Version of its program.
    pub version: String,
    /// Version of its protocol between daemons.
    pub protocol: i32,
    /// Address under which the others reach it.
    pub address: String,
    /// How long its heart has stood still.
    pub silence: Duration,
    /// Whether it has attached to the store's present history.
    pub attached: bool,
    /// Whether it is the daemon that answered.
    pub this_daemon: bool,
}

/// Where a daemon keeps what it shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In its process, for one server.
    Embedded,
    /// In Redis and Kafka, for many servers.
    Distributed,
}

/// How much state limits keep, over all namespaces, and what was decided since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsStatus {
    /// Namespaces in use.
    pub namespaces: i64,
    /// Limits, declared and inline.
    pub limits: i64,
    /// Buckets that are not idle and full.
    pub buckets: i64,
    /// Calls waiting for their charges.
    pub waiters: i64,
    /// Reservations open or remembered.
    pub reservations: i64,
    /// Request ids remembered.
    pub request_ids: i64,
    /// Acquires admitted, dry runs apart.
    pub granted: i64,
    /// Acquires denied, dry runs apart.
    pub denied: i64,
    /// Acquires that could never be admitted.
    pub never: i64,
    /// Acquires that waited in vain.
    pub timed_out: i64,
    /// Of those admitted and denied, how many were decided out of slices, without asking the shared store.
    pub leased: i64,
    /// Slices of hot limits that the daemon holds now.
    pub slices: i64,
    /// Units left in those slices.
    pub slice_units: i64,
    /// Units that the daemon has admitted above a limit, as merges have shown.
    pub overshoot: i64,
}

/// Latency of one RPC, waiting included; within 1 %.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcStatus {
    /// Full name, for example `trellis.v1.LimitService/Acquire`.
    pub name: String,
    /// Calls answered.
    pub calls: i64,
    /// Calls answered with an error.
    pub errors: i64,
    /// Half of the calls took at most this long.
    pub p50: Duration,
    /// 90 % of the calls took at most this long.
    pub p90: Duration,
    /// 99 % of the calls took at most this long.
    pub p99: Duration,
    /// 99.9 % of the calls took at most this long.
    pub p999: Duration,
    /// No call took longer than this.
    pub max: Duration,
}

impl TryFrom<proto::GetStatusResponse> for DaemonStatus {
    type Error = Error;

    fn try_from(status: proto::GetStatusResponse) -> Result<Self> {
        Ok(Self {
            version: status.version,
            mode: Mode::decode(status.mode)?,
            started: convert::time(status.started, "started")?,
            uptime: convert::duration(status.uptime, "uptime")?,
            limits_scope: status.limits_scope.try_into()?,
            locks_scope: match status.locks_scope {
                None => None,
                scope => Some(scope.try_into()?),
            },
            locks: status.locks.map(Into::into),
            limits: convert::required(status.limits, "limits")?.into(),
            rpcs: convert::all(status.rpcs)?,
            store: status.store.map(TryInto::try_into).transpose()?,
            members: convert::all(status.members)?,
            fallback: status.fallback.map(TryInto::try_into).transpose()?,
        })
    }
}

impl TryFrom<proto::FallbackStatus> for FallbackStatus {
    type Error = Error;

    fn try_from(status: proto::FallbackStatus) -> Result<Self> {
        let since = status.open.then_some(status.since);
        let time = |since| convert::time(since, "fallback.since");
        Ok(Self {
            since: since.map(time).transpose()?,
            reason: status.reason,
            shares: status.shares,
            outages: status.outages,
            decisions: status.decisions,
            unmerged_buckets: status.unmerged_buckets,
            unmerged_units: status.unmerged_units,
        })
    }
}

impl Mode {
    fn decode(value: i32) -> Result<Self> {
        match proto::Mode::try_from(value) {
            Ok(proto::Mode::Embedded) => Ok(Self::Embedded),
            Ok(proto::Mode::Distributed) => Ok(Self::Distributed),
            Ok(proto::Mode::Unspecified) | Err(_) => Err(convert::unknown(value, "mode")),
        }
    }
}

/// How much state locks keep, and what was decided since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocksStatus {
    /// Namespaces with locks, or remembered ones.
    pub namespaces: i64,
    /// Locks held or waited for.
    pub locks: i64,
    /// Leases that stand.
    pub leases: i64,
    /// Sessions that stand.
    pub sessions: i64,
    /// Calls waiting.
    pub waiters: i64,
    /// Request ids remembered.
    pub request_ids: i64,
    /// Acquires granted.
    pub granted: i64,
    /// Tries refused.
    pub held: i64,
    /// Acquires that waited in vain.
    pub timed_out: i64,
    /// Leases that were not kept alive.
    pub expired: i64,
    /// Leases that operators ended.
    pub forced: i64,
}

impl From<proto::LocksStatus> for LocksStatus {
    fn from(status: proto::LocksStatus) -> Self {
        Self {
            namespaces: status.namespaces,
            locks: status.locks,
            leases: status.leases,
            sessions: status.sessions,
            waiters: status.waiters,
            request_ids: status.request_ids,
            granted: status.granted,
            held: status.held,
            timed_out: status.timed_out,
            expired: status.expired,
            forced: status.forced,
        }
    }
}

impl From<proto::LimitsStatus> for LimitsStatus {
    fn from(status: proto::LimitsStatus) -> Self {
        Self {
            namespaces: status.namespaces,
            limits: status.limits,
            buckets: status.buckets,
            waiters: status.waiters,
            reservations: status.reservations,
            request_ids: status.request_ids,
            granted: status.granted,
            denied: status.denied,
            never: status.never,
            timed_out: status.timed_out,
            leased: status.leased,
            slices: status.slices,
            slice_units: status.slice_units,
            overshoot: status.overshoot,
        }
    }
}

impl TryFrom<proto::StoreStatus> for StoreStatus {
    type Error = Error;

    fn try_from(store: proto::StoreStatus) -> Result<Self> {
        Ok(Self {
            kind: store.kind,
            address: store.address,
            up: store.up,
            condition: store.condition,
            since: convert::time(store.since, "store.since")?,
            reason: store.reason,
            generation: store.generation,
            incarnation: store.incarnation,
            calls_in_flight: store.calls_in_flight,
        })
    }
}

impl TryFrom<proto::Member> for Member {
    type Error = Error;

    fn try_from(member: proto::Member) -> Result<Self> {
        Ok(Self {
            daemon: member.daemon,
            incarnation: member.incarnation,
            version: member.version,
            protocol: member.protocol,
            address: member.address,
            silence: convert::duration(member.silence, "member.silence")?,
            attached: member.attached,
            this_daemon: member.this_daemon,
        })
    }
}

impl TryFrom<proto::RpcStatus> for RpcStatus {
    type Error = Error;

    fn try_from(rpc: proto::RpcStatus) -> Result<Self> {
        Ok(Self {
            name: rpc.name,
            calls: rpc.calls,
            errors: rpc.errors,
            p50: convert::duration(rpc.p50, "rpc.p50")?,
            p90: convert::duration(rpc.p90, "rpc.p90")?,
            p99: convert::duration(rpc.p99, "rpc.p99")?,
            p999: convert::duration(rpc.p999, "rpc.p999")?,
            max: convert::duration(rpc.max, "rpc.max")?,
        })
    }
}
