//! The configuration: settings in layers, checked as a whole before anything starts.
//!
//! A [`Config`] that exists is valid: each setting is within its bounds and all of them fit together.
//! What is refused is told in the user's own words, all at once ([`ConfigError`]).
//!
//! Files: `settings` every setting as data (`cache` those of that group); `sources` reading files and variables; `layer` one place's
//! values; `allowed` the checks, which make `checked` values (`span`, `filter`, `endpoint` and `secret`
//! know their own kinds); `effective` the layers over each other; `rules` what settings mean for each
//! other; `declared` limits and `pipelines` pipelines that exist from the start; `dump` printing.

mod allowed;
mod cache;
mod checked;
mod declared;
mod dump;
mod effective;
mod endpoint;
mod error;
mod events;
mod filter;
mod jobs;
mod layer;
mod locks;
mod pipelines;
mod rules;
mod secret;
mod settings;
mod sources;
mod span;
mod store;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, Problem};
pub use sources::Sources;

use cache::CacheSettings;
use declared::Declared;
use effective::Effective;
use events::{DiskSettings, EventsSettings};
use jobs::JobsSettings;
use layer::Layer;
use locks::LocksSettings;
use pipelines::{DeclaredPipeline, PipelinesSettings};
use serde::Deserialize;
use span::Span;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use trellis_core::Now;
use trellis_core::jobs::JobState;
use trellis_core::limits::{MachineConfig, SetLimit};
use trellis_core::pipelines::Base;
use trellis_engine::{EventsConfig, JobsConfig};
use trellis_local::log::{DiskLogOptions, MemoryLogOptions};
use trellis_local::{
    MemoryCacheConfig, MemoryLimitsConfig, MemoryLocksConfig, MemoryPipelinesConfig,
};
use trellis_redis::{AfterLoss, Identity, NearConfig, RedisConfig};
use trellis_resilience::{FallbackPolicy, Level, LocksWhileAway};
use trellis_service::ServiceConfig;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) settings: Settings,
    /// Limits that exist from the start.
    pub(crate) limits: Vec<SetLimit>,
    effective: Effective,
    declared: Vec<Declared>,
    /// Pipelines that no update has changed.
    pub(crate) pipelines: Base,
    declared_pipelines: Vec<DeclaredPipeline>,
}

/// The settings in use, typed. The table in `settings` tells what each means.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Settings {
    pub listen: SocketAddr,
    pub http_listen: SocketAddr,
    pub insecure: bool,
    pub workers: usize,
    pub shutdown_timeout: Span,
    pub log: LogSettings,
    pub grpc: GrpcSettings,
    limits: LimitsSettings,
    locks: LocksSettings,
    pipelines: PipelinesSettings,
    cache: CacheSettings,
    events: EventsSettings,
    jobs: JobsSettings,
    disk: DiskSettings,
    redis: RedisSettings,
    use_distributed: bool,
    daemon_id: String,
    advertise: String,
    data_dir: String,
}

/// The group `redis`.
#[derive(Clone, Debug, Deserialize)]
struct RedisSettings {
    host: String,
    port: u16,
    db: u8,
    username: String,
    key_prefix: String,
    tls: bool,
    connect_timeout: Span,
    store_timeout: Span,
    max_in_flight: usize,
    heartbeat_interval: Span,
    death_after: Span,
}

/// The group `log`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LogSettings {
    pub format: LogFormat,
    pub level: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The group `grpc`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GrpcSettings {
    max_message_bytes: usize,
    pub max_connections: usize,
    pub max_concurrent_streams: u32,
    pub max_calls: usize,
    max_streams: usize,
    pub keepalive_interval: Span,
    pub keepalive_timeout: Span,
}

impl GrpcSettings {
    /// How long a connection may be silent: one that answers its probes never is for so long.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from(self.keepalive_interval).saturating_add(self.keepalive_timeout.into())
    }
}

/// The group `limits`.
#[derive(Clone, Debug, Deserialize)]
struct LimitsSettings {
    max_namespaces: usize,
    max_limits: usize,
    max_buckets: usize,
    max_waiters: usize,
    max_reservations: usize,
    max_request_ids: usize,
    max_charges: usize,
    max_batch: usize,
    max_stream_in_flight: usize,
    max_wait: Span,
    default_reservation_ttl: Span,
    max_reservation_ttl: Span,
    max_pause: Span,
    hold_after: Span,
    request_window: Span,
    settle_window: Span,
    sweep_every: Span,
    fallback: AfterHold,
    fallback_hold: Span,
    fallback_share: u32,
    fallback_level: FallbackLevel,
    after_loss: UnknownBuckets,
}

/// What becomes of calls when the store is away for longer than the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AfterHold {
    Share,
    Fail,
}

/// What a bucket counts as that nobody knows after the store may have lost data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnknownBuckets {
    Full,
    Known,
    Empty,
}

/// From where a share is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FallbackLevel {
    Seen,
    Empty,
}

impl Config {
    /// Reads and checks the settings of all sources.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        Self::from_layers(sources.layers()?)
    }

    /// The configuration of this `trellis.toml` and nothing else. Empty text means the defaults.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file = sources::parse("trellis.toml", text)?;
        Self::from_layers(vec![Layer::defaults(), file])
    }

    fn from_layers(layers: Vec<Layer>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let (effective, written) = Effective::merge(layers, &mut problems);
        let (declared, limits) = declared::read(&written.limits, &mut problems);
        // Checked values fit their types; a test holds the table and the struct together.
        let settings: Settings = effective.tree().deserialize().map_err(|error| {
            let problem = effective.problem(&error.path.join("."), &error.kind.to_string());
            ConfigError {
                problems: vec![problem],
            }
        })?;
        let (cache, locks) = (settings.cache.service(), settings.locks.bounds());
        let bounds = settings.pipelines.bounds(cache.max_ttl, locks.max_ttl);
        let (declared_pipelines, base) = pipelines::read(&written.pipelines, bounds, &mut problems);
        problems.extend(rules::broken(&settings, &effective));
        ConfigError::unless_empty(problems)?;
        let Some(pipelines) = base else {
            return Err(ConfigError {
                problems: vec![effective.problem("pipelines.max_steps", "is too small")],
            });
        };
        Ok(Self {
            settings,
            limits,
            effective,
            declared,
            pipelines,
            declared_pipelines,
        })
    }

    /// The settings in force as a `trellis.toml`, each with its meaning, default and bounds. Loading it
    /// gives the same configuration, except for secrets, which are left out.
    #[must_use]
    pub fn to_toml(&self) -> String {
        dump::dump(&self.effective, &self.declared, &self.declared_pipelines)
    }

    /// Threads that serve calls; `None` means one for each core.
    #[must_use]
    pub fn workers(&self) -> Option<usize> {
        Some(self.settings.workers).filter(|workers| *workers > 0)
    }

    pub(crate) fn service(&self) -> ServiceConfig {
        let Settings { grpc, limits, .. } = &self.settings;
        ServiceConfig {
            max_charges: limits.max_charges,
            max_batch: limits.max_batch,
            max_stream_in_flight: limits.max_stream_in_flight,
            max_streams: grpc.max_streams,
            max_wait: limits.max_wait.into(),
            default_reservation_ttl: limits.default_reservation_ttl.into(),
            max_reservation_ttl: limits.max_reservation_ttl.into(),
            max_pause: limits.max_pause.into(),
            max_message_bytes: grpc.max_message_bytes,
            locks: self.settings.locks.bounds(),
            cache: self.settings.cache.service(),
            events: self.settings.events.bounds(),
            jobs: self.settings.jobs.bounds(self.settings.shutdown_timeout),
        }
    }

    /// Where the shared store is, and who this daemon, which listens on this address, is to the others;
    /// `None` in embedded mode.
    pub(crate) fn store(&self, listens_on: SocketAddr) -> Option<(RedisConfig, Identity)> {
        if !self.settings.use_distributed {
            return None;
        }
        // Valid, or there would be no configuration.
        let redis = store::redis(&self.settings, &self.effective).ok()?;
        Some((redis, store::identity(&self.settings, listens_on)))
    }

    /// What to do while the shared store is away.
    pub(crate) fn fallback(&self) -> FallbackPolicy {
        let limits = &self.settings.limits;
        FallbackPolicy {
            hold: limits.fallback_hold.into(),
            fail_after_hold: limits.fallback == AfterHold::Fail,
            unjoined_permille: limits.fallback_share,
            level: match limits.fallback_level {
                FallbackLevel::Seen => Level::Seen,
                FallbackLevel::Empty => Level::Empty,
            },
        }
    }

    /// Whether this daemon caches alone while the shared store is away.
    pub(crate) fn cache_falls_back(&self) -> bool {
        self.settings.cache.falls_back()
    }

    /// Where this daemon grants locks alone while the shared store is away.
    pub(crate) fn locks_while_away(&self) -> LocksWhileAway {
        self.settings.locks.while_away()
    }

    /// Locks of this daemon alone, which starts now.
    pub(crate) fn memory_locks(&self, now: Now) -> MemoryLocksConfig {
        self.settings.locks.memory(now)
    }

    /// Pipelines of this daemon alone.
    pub(crate) fn memory_pipelines(&self) -> MemoryPipelinesConfig {
        self.settings.pipelines.memory()
    }

    /// Copies of the shared cache in this daemon.
    pub(crate) fn near_cache(&self) -> Option<NearConfig> {
        self.settings.cache.near()
    }

    pub(crate) fn memory_cache(&self) -> MemoryCacheConfig {
        self.settings.cache.memory()
    }

    /// Where state is kept that survives a restart; `None`: in memory.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        let folder = self.settings.data_dir.as_str();
        (!folder.is_empty()).then(|| folder.into())
    }

    /// Topics and groups.
    pub(crate) fn events(&self) -> EventsConfig {
        self.settings.events.engine()
    }

    /// The log of events in memory.
    pub(crate) fn memory_log(&self) -> MemoryLogOptions {
        self.settings.events.memory()
    }

    /// The log of events in a directory.
    pub(crate) fn disk_log(&self) -> DiskLogOptions {
        self.settings.events.disk(&self.settings.disk)
    }

    /// Queues and jobs.
    pub(crate) fn jobs(&self) -> JobsConfig {
        self.settings.jobs.engine()
    }

    /// The log of jobs in memory.
    pub(crate) fn memory_job_log(&self) -> MemoryLogOptions {
        self.settings.jobs.memory()
    }

    /// The log of jobs in a directory.
    pub(crate) fn disk_job_log(&self) -> DiskLogOptions {
        self.settings.jobs.disk(self.disk_log())
    }

    /// The ends of jobs that are told as events.
    pub(crate) fn announced_ends(&self) -> Vec<JobState> {
        self.settings.jobs.announced()
    }

    /// What a bucket counts as that nobody knows after the store may have lost data.
    pub(crate) fn after_loss(&self) -> AfterLoss {
        match self.settings.limits.after_loss {
            UnknownBuckets::Full => AfterLoss::Full,
            UnknownBuckets::Known => AfterLoss::Known,
            UnknownBuckets::Empty => AfterLoss::Empty,
        }
    }

    pub(crate) fn memory_limits(&self) -> MemoryLimitsConfig {
        let limits = &self.settings.limits;
        MemoryLimitsConfig {
            max_namespaces: limits.max_namespaces,
            machine: MachineConfig {
                max_limits: limits.max_limits,
                max_buckets: limits.max_buckets,
                max_waiters: limits.max_waiters,
                max_reservations: limits.max_reservations,
                max_request_ids: limits.max_request_ids,
                hold_after: limits.hold_after.into(),
                request_window: limits.request_window.into(),
                settle_window: limits.settle_window.into(),
                default_reservation_ttl: limits.default_reservation_ttl.into(),
                sweep_every: limits.sweep_every.into(),
            },
        }
    }
}
