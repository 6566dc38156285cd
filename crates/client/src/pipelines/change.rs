//! What an update changes.

use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::convert;
use crate::definition::LevelPolicy;
use crate::error::Result;
use crate::spec::Spec;

/// The step that is meant where none is named.
const DEFAULT: &str = "default";

/// The values that an update sets and drops. Names are those of the contract: a step's map, or its alias.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PipelineChange {
    cache_ttls: Vec<(String, Duration)>,
    limits: Vec<(String, Spec)>,
    concurrency: Vec<(String, i64)>,
    lock_ttls: Vec<(String, Duration)>,
    dropped: Vec<String>,
    base_version: Option<i64>,
    create: bool,
    level_policy: LevelPolicy,
}

impl PipelineChange {
    /// How long values of a step are fresh in the cache, 1 ms to 366 days.
    pub fn cache_ttl(mut self, step: impl Into<String>, ttl: Duration) -> Self {
        self.cache_ttls.push((step.into(), ttl));
        self
    }

    /// `cache_ttl("embedding", ..)`.
    pub fn embedding_cache_ttl(self, ttl: Duration) -> Self {
        self.cache_ttl("embedding", ttl)
    }

    /// `cache_ttl("search", ..)`.
    pub fn search_cache_ttl(self, ttl: Duration) -> Self {
        self.cache_ttl("search", ttl)
    }

    /// `cache_ttl("agent", ..)`.
    pub fn agent_cache_ttl(self, ttl: Duration) -> Self {
        self.cache_ttl("agent", ttl)
    }

    /// `cache_ttl("chain", ..)`.
    pub fn chain_cache_ttl(self, ttl: Duration) -> Self {
        self.cache_ttl("chain", ttl)
    }

    /// How often a step may run: a rate or a window.
    pub fn limit(mut self, step: impl Into<String>, spec: impl Into<Spec>) -> Self {
        self.limits.push((step.into(), spec.into()));
        self
    }

    /// `limit("default", ..)`, in calls a second.
    pub fn rate_limit(self, per_second: i64) -> Self {
        self.limit(DEFAULT, Spec::rate(per_second, Duration::from_secs(1)))
    }

    /// `limit("embedding", ..)`, in calls a second.
    pub fn embedding_rate_limit(self, per_second: i64) -> Self {
        self.limit("embedding", Spec::rate(per_second, Duration::from_secs(1)))
    }

    /// `limit("llm", ..)`, in calls a second.
    pub fn llm_rate_limit(self, per_second: i64) -> Self {
        self.limit("llm", Spec::rate(per_second, Duration::from_secs(1)))
    }

    /// `limit("agent", ..)`, in calls a second.
    pub fn agent_rate_limit(self, per_second: i64) -> Self {
        self.limit("agent", Spec::rate(per_second, Duration::from_secs(1)))
    }

    /// How many of a step may run at a time, 1 to 10^12.
    pub fn concurrency(mut self, step: impl Into<String>, slots: i64) -> Self {
        self.concurrency.push((step.into(), slots));
        self
    }

    /// `concurrency("default", ..)`.
    pub fn max_concurrent(self, slots: i64) -> Self {
        self.concurrency(DEFAULT, slots)
    }

    /// `concurrency("images", ..)`.
    pub fn max_concurrent_images(self, slots: i64) -> Self {
        self.concurrency("images", slots)
    }

    /// How long a lock of a step lasts unless it is kept alive, 100 ms to 1 hour.
    pub fn lock_ttl(mut self, step: impl Into<String>, ttl: Duration) -> Self {
        self.lock_ttls.push((step.into(), ttl));
        self
    }

    /// Drops what updates have set: a value by its path (`cache_ttls.embedding`) or alias (`embedding_cache_ttl`), or a whole
    /// map (`cache_ttls`).
    pub fn unset(mut self, path: impl Into<String>) -> Self {
        self.dropped.push(path.into());
        self
    }

    /// Makes the pipeline if it does not exist.
    pub fn create(mut self) -> Self {
        self.create = true;
        self
    }

    /// Only if it has this version; 0: only if it was never changed, or does not exist.
    pub fn if_version(mut self, version: i64) -> Self {
        self.base_version = Some(version);
        self
    }

    /// What becomes of the level of limits that change. Default [`LevelPolicy::KeepAmount`].
    pub fn level_policy(mut self, policy: LevelPolicy) -> Self {
        self.level_policy = policy;
        self
    }

    /// As a message. Where something is dropped, the mask names what is set as well.
    pub(super) fn request(
        self,
        namespace: String,
        name: String,
    ) -> Result<proto::PipelineServiceUpdateRequest> {
        let update_mask = if self.dropped.is_empty() {
            None
        } else {
            let mut paths = self.dropped.clone();
            let mut named = |map: &str, step: &str| paths.push(format!("{map}.{step}"));
            for (step, _) in &self.cache_ttls {
                named("cache_ttls", step);
            }
            for (step, _) in &self.limits {
                named("limits", step);
            }
            for (step, _) in &self.concurrency {
                named("concurrency", step);
            }
            for (step, _) in &self.lock_ttls {
                named("lock_ttls", step);
            }
            Some(prost_types::FieldMask { paths })
        };
        let spans = |spans: Vec<(String, Duration)>, field: &str| {
            let spans = spans
                .into_iter()
                .map(|(step, ttl)| Ok((step, convert::to_proto(ttl, field)?)));
            spans.collect::<Result<_>>()
        };
        let limits = self.limits.into_iter();
        let limits = limits.map(|(step, spec)| Ok((step, spec.try_into()?)));
        let settings = proto::PipelineSettings {
            cache_ttls: spans(self.cache_ttls, "settings.cache_ttls")?,
            limits: limits.collect::<Result<_>>()?,
            concurrency: self.concurrency.into_iter().collect(),
            lock_ttls: spans(self.lock_ttls, "settings.lock_ttls")?,
        };
        Ok(proto::PipelineServiceUpdateRequest {
            namespace,
            name,
            settings: Some(settings),
            update_mask,
            base_version: self.base_version,
            allow_missing: self.create,
            level_policy: proto::LevelPolicy::from(self.level_policy).into(),
        })
    }
}
