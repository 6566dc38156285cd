//! The group `cache`: its settings as data, and what they make of the cache.

use super::allowed::Allowed::{Choice, Count, Flag};
use super::settings::{DAY, HOUR, MILLION, MS, SECOND, Setting, YEAR, setting, span};
use super::span::Span;
use serde::Deserialize;
use trellis_core::cache::MachineConfig;
use trellis_local::MemoryCacheConfig;
use trellis_redis::NearConfig;
use trellis_service::CacheServiceConfig;

const MIB: u64 = 1_024 * 1_024;

/// The settings of the group.
pub(super) static CACHE: &[Setting] = &[
    setting(
        "cache.max_bytes",
        "268435456",
        Count(MIB, 1_024 * 1_024 * MIB),
        "Bytes of all entries in memory, with what keeping them takes: at least four times \
         cache.max_value_bytes. What is used least is thrown out. (In distributed mode: of what is cached while \
         Redis is away; Redis' own maxmemory bounds the shared entries.)",
    ),
    setting(
        "cache.max_entries",
        "1000000",
        Count(1_000, 1_000 * MILLION),
        "Entries in memory. What is used least is thrown out.",
    ),
    setting(
        "cache.max_namespaces",
        "1024",
        Count(1, MILLION),
        "Namespaces in use at a time. Further ones fail with TOO_MANY_NAMESPACES unless one is empty.",
    ),
    setting(
        "cache.max_value_bytes",
        "8388608",
        Count(1_024, 64 * MIB),
        "Bytes of a value.",
    ),
    setting(
        "cache.max_fill_bytes",
        "67108864",
        Count(MIB, 1_024 * 1_024 * MIB),
        "Bytes of unfinished values in one namespace, at least cache.max_value_bytes. Further ones fail with \
         TOO_MANY_BYTES.",
    ),
    setting(
        "cache.max_leases",
        "10000",
        Count(1, 10 * MILLION),
        "Keys being computed in one namespace. Further ones fail with TOO_MANY_LEASES.",
    ),
    setting(
        "cache.max_waiters",
        "10000",
        Count(1, 10 * MILLION),
        "Calls waiting in one namespace. Further ones fail with TOO_MANY_WAITERS.",
    ),
    setting(
        "cache.max_failures",
        "1024",
        Count(1, MILLION),
        "Failures remembered in one namespace. Further ones are told to those who wait and not remembered.",
    ),
    setting(
        "cache.max_tags",
        "10000",
        Count(1, MILLION),
        "Clears of tags remembered in one namespace. When the oldest is forgotten, all older entries with tags go.",
    ),
    setting(
        "cache.max_fences",
        "10000",
        Count(1, MILLION),
        "Locks whose highest fencing token one namespace remembers. Above it the lowest token becomes the least that any other lock needs.",
    ),
    setting(
        "cache.max_batch",
        "1000",
        Count(1, 2_000),
        "Keys or items in one batch or fetch.",
    ),
    setting(
        "cache.max_streams",
        "4096",
        Count(1, MILLION),
        "Open Fetch streams in this daemon. Further ones fail with TOO_MANY_STREAMS.",
    ),
    setting(
        "cache.max_stream_keys",
        "10000",
        Count(1, MILLION),
        "Keys waiting or leased on one Fetch stream. Further ones fail with TOO_MANY_WAITERS.",
    ),
    setting(
        "cache.default_ttl",
        "1h",
        span(MS, YEAR),
        "How long an entry is fresh when its writer does not say. At most max_ttl.",
    ),
    setting(
        "cache.default_negative_ttl",
        "30s",
        span(MS, YEAR),
        "The same for an entry that says that there is no value.",
    ),
    setting(
        "cache.max_ttl",
        "366d",
        span(SECOND, YEAR),
        "The longest TTL, and the longest time after it in which an entry may be served stale.",
    ),
    setting(
        "cache.default_lease_ttl",
        "10s",
        span(Span::millis(100), Span::secs(60)),
        "How long a lease lives unless it is renewed, when its caller does not say.",
    ),
    setting(
        "cache.default_compute",
        "1m",
        span(MS, HOUR),
        "When a lease ends for good, when its caller does not say. At most max_compute.",
    ),
    setting(
        "cache.max_compute",
        "1h",
        span(SECOND, DAY),
        "The latest that a lease may end for good.",
    ),
    setting(
        "cache.default_wait",
        "1m",
        span(MS, HOUR),
        "How long AwaitFill waits when its caller does not say.",
    ),
    setting(
        "cache.max_wait",
        "1h",
        span(MS, DAY),
        "The longest `max_wait` of a fetch.",
    ),
    setting(
        "cache.max_failure_ttl",
        "1m",
        span(MS, HOUR),
        "How long a failed computation may be remembered.",
    ),
    setting(
        "cache.fallback",
        "local",
        Choice(&["local", "fail"]),
        "While the shared store is away: cache in this daemon alone, or fail with STORE_UNAVAILABLE.",
    ),
    setting(
        "cache.near",
        "true",
        Flag,
        "In distributed mode: keep copies of shared entries in this daemon, and answer from them. Redis tells of \
         changes, so a copy is behind by as long as a message takes. A request with read = SHARED passes them by.",
    ),
    setting(
        "cache.near_max_bytes",
        "67108864",
        Count(MIB, 1_024 * 1_024 * MIB),
        "Bytes of all near copies, with what keeping them takes. What is used least is thrown out; a value above \
         an eighth of this is not copied.",
    ),
    setting(
        "cache.near_max_entries",
        "100000",
        Count(1_000, 1_000 * MILLION),
        "Near copies. Redis notes up to tracking-table-max-keys (a million) keys that its daemons have read.",
    ),
    setting(
        "cache.near_max_staleness",
        "10s",
        span(MS, HOUR),
        "For how long after it was read from Redis a near copy is served at most, even if word of its change were \
         lost.",
    ),
];

/// The group, typed.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct CacheSettings {
    pub max_bytes: u64,
    max_entries: usize,
    max_namespaces: usize,
    pub max_value_bytes: usize,
    pub max_fill_bytes: usize,
    max_leases: usize,
    max_waiters: usize,
    max_failures: usize,
    max_tags: usize,
    max_fences: usize,
    max_batch: usize,
    max_streams: usize,
    max_stream_keys: usize,
    pub default_ttl: Span,
    pub default_negative_ttl: Span,
    pub max_ttl: Span,
    default_lease_ttl: Span,
    pub default_compute: Span,
    pub max_compute: Span,
    pub default_wait: Span,
    pub max_wait: Span,
    max_failure_ttl: Span,
    fallback: WhileAway,
    near: bool,
    near_max_bytes: u64,
    near_max_entries: usize,
    near_max_staleness: Span,
}

/// What becomes of calls while the shared store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WhileAway {
    Local,
    Fail,
}

impl CacheSettings {
    /// What the service is bound by.
    pub fn service(&self) -> CacheServiceConfig {
        CacheServiceConfig {
            max_batch: self.max_batch,
            max_streams: self.max_streams,
            max_stream_keys: self.max_stream_keys,
            default_ttl: self.default_ttl.into(),
            default_negative_ttl: self.default_negative_ttl.into(),
            max_ttl: self.max_ttl.into(),
            default_lease_ttl: self.default_lease_ttl.into(),
            default_compute: self.default_compute.into(),
            max_compute: self.max_compute.into(),
            default_wait: self.default_wait.into(),
            max_wait: self.max_wait.into(),
            max_failure_ttl: self.max_failure_ttl.into(),
        }
    }

    /// Whether this daemon caches alone while the shared store is away.
    pub fn falls_back(&self) -> bool {
        self.fallback == WhileAway::Local
    }

    /// What near copies are bound by; `None`: there are none.
    pub fn near(&self) -> Option<NearConfig> {
        self.near.then(|| NearConfig {
            max_bytes: self.near_max_bytes,
            max_entries: self.near_max_entries,
            max_staleness: self.near_max_staleness.into(),
        })
    }

    /// What the memory backend is bound by.
    pub fn memory(&self) -> MemoryCacheConfig {
        MemoryCacheConfig {
            max_bytes: self.max_bytes,
            max_entries: self.max_entries,
            max_namespaces: self.max_namespaces,
            machine: MachineConfig {
                max_value_bytes: self.max_value_bytes,
                max_fill_bytes: self.max_fill_bytes,
                max_leases: self.max_leases,
                max_waiters: self.max_waiters,
                max_failures: self.max_failures,
                max_tags: self.max_tags,
                max_fences: self.max_fences,
                ..MachineConfig::default()
            },
        }
    }

    /// What the settings break together: the keys, the first one to blame, and what is allowed.
    pub fn broken(&self) -> Vec<([&'static str; 2], &'static str)> {
        let value = u64::try_from(self.max_value_bytes).unwrap_or(u64::MAX);
        let rules = [
            (
                self.max_bytes / 4 < value,
                ["cache.max_bytes", "cache.max_value_bytes"],
                "must be at least four times cache.max_value_bytes",
            ),
            (
                self.max_fill_bytes < self.max_value_bytes,
                ["cache.max_fill_bytes", "cache.max_value_bytes"],
                "must be at least cache.max_value_bytes",
            ),
            (
                self.default_ttl > self.max_ttl,
                ["cache.default_ttl", "cache.max_ttl"],
                "must be at most cache.max_ttl",
            ),
            (
                self.default_negative_ttl > self.max_ttl,
                ["cache.default_negative_ttl", "cache.max_ttl"],
                "must be at most cache.max_ttl",
            ),
            (
                self.default_compute > self.max_compute,
                ["cache.default_compute", "cache.max_compute"],
                "must be at most cache.max_compute",
            ),
            (
                self.default_wait > self.max_wait,
                ["cache.default_wait", "cache.max_wait"],
                "must be at most cache.max_wait",
            ),
        ];
        let broken = rules.into_iter().filter(|(broken, ..)| *broken);
        broken.map(|(_, keys, allowed)| (keys, allowed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn the_table_has_the_defaults_of_the_backend_and_the_service() {
        let config = Config::from_toml("").unwrap();
        let cache = &config.settings.cache;
        assert_eq!(cache.memory(), trellis_local::MemoryCacheConfig::default());
        let service = trellis_service::CacheServiceConfig::default();
        assert_eq!(cache.service(), service);
    }

    #[test]
    fn near_copies_are_kept_unless_they_are_switched_off() {
        let near = |text: &str| Config::from_toml(text).unwrap().near_cache();
        let kept = near("[cache]\nnear_max_staleness = \"2s\"").unwrap();
        assert_eq!(kept.max_staleness, trellis_core::Micros::from_secs(2));
        assert_eq!(near("[cache]\nnear = false"), None);
        for text in [
            "near_max_bytes = 1",
            "near_max_entries = 1",
            "near_max_staleness = \"2h\"",
        ] {
            let error = Config::from_toml(&format!("[cache]\n{text}")).unwrap_err();
            let key = text.split(' ').next().unwrap();
            assert!(
                error.to_string().contains(&format!("cache.{key}")),
                "{error}"
            );
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_by_name() {
        for (text, key) in [
            ("max_bytes = 8388608", "cache.max_bytes"),
            ("max_fill_bytes = 1048576", "cache.max_fill_bytes"),
            ("max_ttl = \"1m\"", "cache.default_ttl"),
            ("max_compute = \"30s\"", "cache.default_compute"),
            ("max_wait = \"30s\"", "cache.default_wait"),
        ] {
            let error = Config::from_toml(&format!("[cache]\n{text}")).unwrap_err();
            assert!(error.to_string().contains(key), "{text}: {error}");
        }
    }
}
