//! The group `locks`: its table, its typed values, and what becomes of them.

use super::allowed::Allowed::{Choice, Count};
use super::settings::{DAY, HOUR, MILLION, MS, SECOND, Setting, setting, span};
use super::span::Span;
use serde::Deserialize;
use trellis_core::locks::{MachineConfig, Start, Token};
use trellis_core::{Micros, Now};
use trellis_local::MemoryLocksConfig;
use trellis_resilience::LocksWhileAway;
use trellis_service::LockBounds;

/// The group `locks`. The table below tells what each means.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LocksSettings {
    max_namespaces: usize,
    max_locks: usize,
    max_leases: usize,
    max_waiters: usize,
    max_watchers: usize,
    max_request_ids: usize,
    max_targets: usize,
    max_value_bytes: usize,
    max_stream_in_flight: usize,
    pub default_ttl: Span,
    pub max_ttl: Span,
    max_wait: Span,
    request_window: Span,
    position_every: Span,
    start_grace: Span,
    fallback: WhileAway,
}

/// What becomes of new calls while the shared store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhileAway {
    Fail,
    SoleDaemon,
    Local,
}

impl LocksSettings {
    /// Bounds on requests.
    pub(super) fn bounds(&self) -> LockBounds {
        LockBounds {
            max_targets: self.max_targets,
            max_value_bytes: self.max_value_bytes,
            default_ttl: self.default_ttl.into(),
            max_ttl: self.max_ttl.into(),
            max_wait: self.max_wait.into(),
            max_stream_in_flight: self.max_stream_in_flight,
        }
    }

    /// Where this daemon grants locks alone while the shared store is away.
    pub(super) fn while_away(&self) -> LocksWhileAway {
        match self.fallback {
            WhileAway::Fail => LocksWhileAway::Fail,
            WhileAway::SoleDaemon => LocksWhileAway::SoleDaemon,
            WhileAway::Local => LocksWhileAway::Local,
        }
    }

    /// Locks in memory that begin now. The time of the start names their history.
    pub(super) fn memory(&self, now: Now) -> MemoryLocksConfig {
        MemoryLocksConfig {
            max_namespaces: self.max_namespaces,
            max_watchers: self.max_watchers,
            machine: MachineConfig {
                max_locks: self.max_locks,
                max_leases: self.max_leases,
                max_waiters: self.max_waiters,
                max_request_ids: self.max_request_ids,
                request_window: self.request_window.into(),
                position_every: self.position_every.into(),
            },
            start: Start {
                generation: now.wall.0,
                floor: Token::NONE,
                grants_from: now.mono + Micros::from(self.start_grace),
            },
        }
    }
}

/// The table of the group.
pub(super) static LOCKS: &[Setting] = &[
    setting(
        "locks.max_namespaces",
        "1024",
        Count(1, MILLION),
        "Namespaces with locks, or remembered ones. Further ones fail with TOO_MANY_NAMESPACES.",
    ),
    setting(
        "locks.max_locks",
        "1000000",
        Count(1, 100 * MILLION),
        "Locks held or waited for in one namespace. Further ones fail with TOO_MANY_LOCKS.",
    ),
    setting(
        "locks.max_leases",
        "1000000",
        Count(1, 100 * MILLION),
        "Leases, sessions and waiting calls in one namespace. Further ones fail with TOO_MANY_LEASES.",
    ),
    setting(
        "locks.max_waiters",
        "16384",
        Count(1, 10 * MILLION),
        "Calls waiting in one namespace. Further ones fail with TOO_MANY_WAITERS.",
    ),
    setting(
        "locks.max_watchers",
        "4096",
        Count(1, MILLION),
        "Watches in one namespace. Further ones fail with TOO_MANY_STREAMS.",
    ),
    setting(
        "locks.max_request_ids",
        "100000",
        Count(1, 100 * MILLION),
        "Request ids remembered in one namespace; further ones fail with TOO_MANY_REQUEST_IDS. As many ended \
         leases, of which the oldest is forgotten.",
    ),
    setting(
        "locks.max_targets",
        "32",
        Count(1, 1_000),
        "Locks in one acquire.",
    ),
    setting(
        "locks.max_value_bytes",
        "4096",
        Count(0, 32_768),
        "The largest value of a holder, in bytes.",
    ),
    setting(
        "locks.max_stream_in_flight",
        "1024",
        Count(1, MILLION),
        "Requests in hand on one session; then it is not read further.",
    ),
    setting(
        "locks.default_ttl",
        "30s",
        span(Span::millis(100), DAY),
        "How long a lease or session lasts when the caller does not say. At most max_ttl.",
    ),
    setting(
        "locks.max_ttl",
        "1h",
        span(Span::millis(100), DAY),
        "The longest time of a lease or session.",
    ),
    setting(
        "locks.max_wait",
        "1h",
        span(MS, DAY),
        "The longest `max_wait` of an acquire.",
    ),
    setting(
        "locks.request_window",
        "10m",
        span(SECOND, DAY),
        "How long an answer is remembered under its request id, and a lease that has ended.",
    ),
    setting(
        "locks.position_every",
        "1s",
        span(Span::millis(10), HOUR),
        "How often a waiting call of a session is told its place, when it has changed.",
    ),
    setting(
        "locks.start_grace",
        "0s",
        span(Span::millis(0), DAY),
        "For how long after its start the daemon grants nothing. With the longest TTL in use, a restart never \
         lets anybody in beside a holder of before.",
    ),
    setting(
        "locks.fallback",
        "fail",
        Choice(&["fail", "sole_daemon", "local"]),
        "While the shared store is away: a new call waits for it, then fails with STORE_UNAVAILABLE; or locks \
         are granted by this daemon alone, where no other was seen, or always. Two daemons may then have a holder each. \
         Calls with `purpose = EFFICIENCY` are always granted so.",
    ),
];
