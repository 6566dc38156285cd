//! Every setting as data: its key, what it means, what is allowed and what applies when nobody sets it.
//!
//! This table is the one source of defaults and bounds. The checks, the hints, `--dump-config` and
//! `deploy/trellis.toml` come from it; [`super::Settings`] has a field for each setting in use.

use super::allowed::Allowed::{
    self, Address, Choice, Count, Filter, Flag, Host, Secret, SecretUrl, Server, Servers, Text,
    Word,
};
use super::cache::CACHE;
use super::events::EVENTS;
use super::jobs::JOBS;
use super::locks::LOCKS;
use super::pipelines::PIPELINES;
use super::span::Span;

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its name, `group.name` or `name`.
    pub key: &'static str,
    /// What applies when nobody sets it, as a variable would spell it.
    pub default: &'static str,
    /// What it may be.
    pub allowed: Allowed,
    /// What it means, in one or two sentences.
    pub about: &'static str,
}

pub(super) const fn setting(
    key: &'static str,
    default: &'static str,
    allowed: Allowed,
    about: &'static str,
) -> Setting {
    Setting {
        key,
        default,
        allowed,
        about,
    }
}

pub(super) const fn span(min: Span, max: Span) -> Allowed {
    Allowed::Span(min, max)
}

pub(super) const MS: Span = Span::millis(1);
pub(super) const SECOND: Span = Span::secs(1);
pub(super) const HOUR: Span = Span::secs(3_600);
pub(super) const DAY: Span = Span::days(1);
pub(super) const YEAR: Span = Span::days(366);
pub(super) const MILLION: u64 = 1_000_000;

/// The setting of a key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}

/// All settings, those of one group together. Not among them: the lists `limits.declared` and `pipelines.declared`.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    let groups = SETTINGS.iter().chain(CACHE).chain(LOCKS);
    groups.chain(PIPELINES).chain(EVENTS).chain(JOBS)
}

/// All settings but those of groups with a file of their own.
static SETTINGS: &[Setting] = &[
    setting(
        "listen",
        "127.0.0.1:7117",
        Address,
        "Where gRPC is served. Port 0 takes a free port, which the log tells. \
         An address that is not loopback needs `insecure`.",
    ),
    setting(
        "http_listen",
        "127.0.0.1:7118",
        Address,
        "Where /metrics, /healthz and /readyz are served, under the same rule.",
    ),
    setting(
        "insecure",
        "false",
        Flag,
        "Serve on addresses that are not loopback, although callers are neither authenticated nor \
         encrypted.",
    ),
    setting(
        "workers",
        "0",
        Count(0, 1_024),
        "Threads that serve calls; 0 means one for each core.",
    ),
    setting(
        "shutdown_timeout",
        "10s",
        span(Span::millis(100), HOUR),
        "How long calls in flight may take to end after SIGTERM or SIGINT before they are cut.",
    ),
    setting(
        "use_distributed",
        "false",
        Flag,
        "Share limits, the cache, locks and pipelines through Redis with every daemon on it. Needs to be told \
         where Redis is: `redis.host`, `redis.port` or `redis.url`.",
    ),
    setting(
        "daemon_id",
        "",
        Text,
        "What the other daemons call this one: letters, digits, `_`, `-`, `.`; no two running ones share \
         it. None: the host's name and a random number.",
    ),
    setting(
        "advertise",
        "",
        Server,
        "Address under which the other daemons reach this one. None: the address that is listened on. One \
         that names no host, such as 0.0.0.0, is refused in distributed mode.",
    ),
    setting(
        "data_dir",
        "",
        Text,
        "Directory in which events and jobs are kept, so that they survive a restart; made if need be. One daemon at a time. \
         None: in memory.",
    ),
    setting(
        "log.format",
        "text",
        Choice(&["text", "json"]),
        "How log lines are written to stderr.",
    ),
    setting(
        "log.level",
        "info",
        Filter,
        "Which events are logged: a level, or a filter by module.",
    ),
    setting(
        "grpc.max_message_bytes",
        "4194304",
        Count(65_536, 64 * 1_024 * 1_024),
        "The largest message accepted, in bytes.",
    ),
    setting(
        "grpc.max_connections",
        "4096",
        Count(1, MILLION),
        "Connections open at a time. Further ones wait until one closes.",
    ),
    setting(
        "grpc.max_concurrent_streams",
        "4096",
        Count(1, MILLION),
        "Calls and streams in flight on one connection. Further ones wait in the client.",
    ),
    setting(
        "grpc.max_calls",
        "65536",
        Count(1, 10 * MILLION),
        "Calls in flight in this daemon. Further ones fail with TOO_MANY_CALLS.",
    ),
    setting(
        "grpc.max_streams",
        "1024",
        Count(1, MILLION),
        "Open streams in this daemon. Further ones fail with TOO_MANY_STREAMS.",
    ),
    setting(
        "grpc.keepalive_interval",
        "15s",
        span(SECOND, HOUR),
        "How often a connection without traffic is probed.",
    ),
    setting(
        "grpc.keepalive_timeout",
        "20s",
        span(SECOND, HOUR),
        "How long a probe may stay unanswered before the connection is closed.",
    ),
    setting(
        "limits.max_namespaces",
        "1024",
        Count(1, MILLION),
        "Namespaces in use at a time. Further ones fail with TOO_MANY_NAMESPACES.",
    ),
    setting(
        "limits.max_limits",
        "100000",
        Count(1, 100 * MILLION),
        "Limits in one namespace, declared and inline. Further ones fail with TOO_MANY_LIMITS.",
    ),
    setting(
        "limits.max_buckets",
        "1000000",
        Count(1, 100 * MILLION),
        "Buckets in use in one namespace. Further ones fail with TOO_MANY_BUCKETS.",
    ),
    setting(
        "limits.max_waiters",
        "16384",
        Count(1, 10 * MILLION),
        "Calls waiting in one namespace. Further ones fail with TOO_MANY_WAITERS.",
    ),
    setting(
        "limits.max_reservations",
        "1000000",
        Count(1, 100 * MILLION),
        "Reservations open or remembered in one namespace. Further ones fail with \
         TOO_MANY_RESERVATIONS.",
    ),
    setting(
        "limits.max_request_ids",
        "100000",
        Count(1, 100 * MILLION),
        "Request ids remembered in one namespace. Further ones fail with TOO_MANY_REQUEST_IDS.",
    ),
    setting(
        "limits.max_charges",
        "32",
        Count(1, 1_000),
        "Charges in one acquire.",
    ),
    setting(
        "limits.max_batch",
        "1000",
        Count(1, 100_000),
        "Acquires in one batch. With limits.max_charges it must keep an answer below 3.5 MiB.",
    ),
    setting(
        "limits.max_stream_in_flight",
        "1024",
        Count(1, MILLION),
        "Requests in hand on one stream; then it is not read further.",
    ),
    setting(
        "limits.max_wait",
        "1h",
        span(MS, DAY),
        "The longest `max_wait` of an acquire.",
    ),
    setting(
        "limits.default_reservation_ttl",
        "1m",
        span(MS, YEAR),
        "How long a reservation lasts when the caller does not say. At most max_reservation_ttl.",
    ),
    setting(
        "limits.max_reservation_ttl",
        "1d",
        span(MS, YEAR),
        "The longest time of a reservation.",
    ),
    setting(
        "limits.max_pause",
        "1d",
        span(MS, YEAR),
        "The longest pause that ReportThrottled may ask for.",
    ),
    setting(
        "limits.hold_after",
        "100ms",
        span(MS, HOUR),
        "How long a waiting call that is short of one limit lets others pass on its other limits.",
    ),
    setting(
        "limits.request_window",
        "10m",
        span(SECOND, DAY),
        "How long an answer is remembered under its request id.",
    ),
    setting(
        "limits.settle_window",
        "10m",
        span(SECOND, DAY),
        "How long a settled or expired reservation is remembered.",
    ),
    setting(
        "limits.sweep_every",
        "1s",
        span(Span::millis(10), HOUR),
        "How often idle full buckets are looked for, to be dropped.",
    ),
    setting(
        "limits.fallback",
        "share",
        Choice(&["share", "fail"]),
        "While the shared store is away for longer than fallback_hold: go on with this daemon's share of each \
         limit, or fail with STORE_UNAVAILABLE.",
    ),
    setting(
        "limits.fallback_hold",
        "1m",
        span(Span::millis(0), DAY),
        "For how long a daemon spends its share in any case, counted from the last beat that the store has \
         acknowledged. With `fail` and 0s nothing is ever admitted apart from the store.",
    ),
    setting(
        "limits.fallback_share",
        "0",
        Count(0, 1_000),
        "The share, in thousandths, of a daemon that has never seen the others. 0: it fails with \
         STORE_UNAVAILABLE until the store is there.",
    ),
    setting(
        "limits.fallback_level",
        "seen",
        Choice(&["seen", "empty"]),
        "From where a share is spent: from its part of what was last seen left, or from nothing, so that all \
         daemons together never exceed a limit however the store is lost.",
    ),
    setting(
        "limits.after_loss",
        "full",
        Choice(&["full", "known", "empty"]),
        "What a bucket counts as that neither the store nor any daemon knows after the store may have lost data: \
         full at once; full after redis.death_after, in which nothing of it is admitted and the daemons tell what \
         they know; or empty at that moment.",
    ),
    setting(
        "redis.host",
        "127.0.0.1",
        Host,
        "Redis of the distributed mode. (The kafka settings are not used yet.)",
    ),
    setting("redis.port", "6379", Count(1, 65_535), "Its port."),
    setting("redis.db", "0", Count(0, 255), "Its database."),
    setting("redis.username", "", Text, "The user to log in as."),
    setting("redis.password", "", Secret, "The user's password."),
    setting(
        "redis.url",
        "",
        SecretUrl(&["redis", "rediss"]),
        "Stands for host and port, and for the database, user and password that it names. What is set beside \
         it must not contradict it.",
    ),
    setting(
        "redis.key_prefix",
        "trellis",
        Word("._-"),
        "What every key starts with. Deployments that share a Redis differ here.",
    ),
    setting(
        "redis.tls",
        "false",
        Flag,
        "Whether the connection is encrypted, by the system's certificates. rediss:// says so as well.",
    ),
    setting(
        "redis.connect_timeout",
        "2s",
        span(Span::millis(10), Span::secs(60)),
        "How long a connection may take to become usable. A start waits no longer, then goes on degraded.",
    ),
    setting(
        "redis.store_timeout",
        "500ms",
        span(Span::millis(10), Span::secs(10)),
        "How long a call of the store may take, its wait for a place in flight included.",
    ),
    setting(
        "redis.max_in_flight",
        "1024",
        Count(1, 65_536),
        "Calls of the store in flight. Further ones wait for half of store_timeout, then fail with \
         TOO_MANY_CALLS.",
    ),
    setting(
        "redis.heartbeat_interval",
        "1s",
        span(Span::millis(10), Span::secs(10)),
        "Time between two beats of this daemon's heart.",
    ),
    setting(
        "redis.death_after",
        "5s",
        span(Span::millis(30), Span::secs(600)),
        "How long a daemon's heart must stand still before it is declared dead: at least 3 \
         heartbeat_interval and more than 2 store_timeout. Equal on all daemons.",
    ),
    setting(
        "kafka.bootstrap_servers",
        "",
        Servers,
        "Brokers to ask first.",
    ),
    setting(
        "kafka.client_id",
        "trellis",
        Word("._-"),
        "The name that the brokers' logs show.",
    ),
    setting(
        "kafka.topic_prefix",
        "trellis",
        Word("._-"),
        "What every topic starts with.",
    ),
    setting(
        "kafka.security_protocol",
        "PLAINTEXT",
        Choice(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
        "How to connect to the brokers.",
    ),
    setting(
        "kafka.sasl_mechanism",
        "PLAIN",
        Choice(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        "How to log in, with a SASL protocol.",
    ),
    setting("kafka.sasl_username", "", Text, "The user to log in as."),
    setting("kafka.sasl_password", "", Secret, "The user's password."),
];
