//! What is kept, how, and how it is told.

use crate::convert;
use crate::error::{Error, Result};
use crate::scope::Scope;
use bytes::Bytes;
use std::time::Duration;
use trellis_proto::v1 as proto;

/// What a value cost to compute, which is what each hit saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Calls of a provider.
    pub calls: i64,
    /// Tokens of a model.
    pub tokens: i64,
    /// Millionths of the currency that you count in.
    pub money_micros: i64,
}

impl From<proto::Cost> for Cost {
    fn from(cost: proto::Cost) -> Self {
        Self {
            calls: cost.calls,
            tokens: cost.tokens,
            money_micros: cost.money_micros,
        }
    }
}

/// Whether an entry past its TTL may be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleMode {
    /// It may not.
    #[default]
    Never,
    /// At once, while one caller computes it anew.
    WhileRevalidate,
    /// When the computation fails.
    OnError,
}

/// How a value is kept, and what is asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    ttl: Option<Duration>,
    jitter: Option<Duration>,
    stale_for: Option<Duration>,
    refresh_after: Option<Duration>,
    tags: Vec<String>,
    pipeline: String,
    fence: Option<(String, u64)>,
    stale: StaleMode,
    cost: Cost,
    pub(super) content_type: String,
}

impl Keep {
    /// Fresh for so long. [`Keep::default`] leaves that to the daemon.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl: Some(ttl),
            ..Self::default()
        }
    }

    /// Shortens the TTL by a random span of at most this.
    #[must_use]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.jitter = Some(most);
        self
    }

    /// Keeps it for so long after its TTL, and says when it may be served then.
    #[must_use]
    pub fn stale(mut self, stale_for: Duration, mode: StaleMode) -> Self {
        self.stale_for = Some(stale_for);
        self.stale = mode;
        self
    }

    /// Has it computed anew from this age on, while it is fresh.
    #[must_use]
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.refresh_after = Some(age);
        self
    }

    /// A name by which it is cleared together with others.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// The step of a pipeline whose cache TTL it gets, for example `vision_rag.embedding`; that wins over the one given
    /// here, which counts where the pipeline sets none.
    #[must_use]
    pub fn pipeline(mut self, step: impl Into<String>) -> Self {
        self.pipeline = step.into();
        self
    }

    /// The lock of the same namespace under which it is written, and the token of its grant
    /// ([`LockGuard::token`](crate::LockGuard::token)): refused as `STALE_FENCE` once the cache has seen a higher one.
    #[must_use]
    pub fn fence(mut self, lock: impl Into<String>, token: u64) -> Self {
        self.fence = Some((lock.into(), token));
        self
    }

    /// What the value is, for example `application/json`.
    #[must_use]
    pub fn content_type(mut self, name: impl Into<String>) -> Self {
        self.content_type = name.into();
        self
    }

    /// What it cost.
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// Whether a plain get does not know what a fetch does.
    pub(super) fn needs_a_fetch(&self) -> bool {
        self.refresh_after.is_some() || self.stale != StaleMode::Never
    }

    pub(super) fn policy(&self) -> Result<proto::EntryPolicy> {
        let span = |value: Option<Duration>, field| {
            let value = value.map(|value| convert::to_proto(value, field));
            value.transpose()
        };
        Ok(proto::EntryPolicy {
            ttl: span(self.ttl, "ttl")?,
            jitter: span(self.jitter, "jitter")?,
            stale_for: span(self.stale_for, "stale_for")?,
            refresh_after: span(self.refresh_after, "refresh_after")?,
            tags: self.tags.clone(),
            pipeline: self.pipeline.clone(),
        })
    }

    pub(super) fn wire_fence(&self) -> Option<proto::Fence> {
        let fence = self.fence.clone();
        fence.map(|(lock, token)| proto::Fence {
            lock,
            // One that is too high is refused by its field.
            token: i64::try_from(token).unwrap_or(i64::MAX),
        })
    }

    pub(super) fn wire_cost(&self) -> proto::Cost {
        proto::Cost {
            calls: self.cost.calls,
            tokens: self.cost.tokens,
            money_micros: self.cost.money_micros,
        }
    }

    pub(super) fn options(&self, read: proto::Read) -> proto::FetchOptions {
        let stale = match self.stale {
            StaleMode::Never => proto::StaleMode::Never,
            StaleMode::WhileRevalidate => proto::StaleMode::WhileRevalidate,
            StaleMode::OnError => proto::StaleMode::OnError,
        };
        proto::FetchOptions {
            stale: stale.into(),
            read: read.into(),
            ..proto::FetchOptions::default()
        }
    }
}

/// Where an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The daemon's memory, which is the only one.
    Local,
    /// The store that all daemons share.
    Shared,
    /// The daemon's copy of the shared store.
    Near,
    /// Another caller's computation.
    Coalesced,
    /// An entry past its TTL.
    Stale,
    /// An entry that says that there is no value.
    Negative,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its value; `None` for a negative entry.
    pub value: Option<Bytes>,
    /// What the value is.
    pub content_type: String,
    /// Rises with every write of the namespace.
    pub version: i64,
    /// Where it came from.
    pub source: Source,
    /// How long ago it was written.
    pub age: Duration,
    /// How long it stays fresh.
    pub ttl: Duration,
    /// What it cost.
    pub cost: Cost,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

impl Entry {
    /// Reads an entry whose value is `parts` followed by what the message brings.
    pub(super) fn read(
        parts: &[u8],
        entry: proto::Entry,
        scope: Option<proto::Scope>,
    ) -> Result<Self> {
        use proto::Source as Wire;
        let source = match Wire::try_from(entry.source) {
            Ok(Wire::Local) => Source::Local,
            Ok(Wire::Shared) => Source::Shared,
            Ok(Wire::Near) => Source::Near,
            Ok(Wire::Coalesced) => Source::Coalesced,
            Ok(Wire::Stale) => Source::Stale,
            Ok(Wire::Negative) => Source::Negative,
            Ok(Wire::Unspecified) | Err(_) => return Err(convert::unknown(entry.source, "source")),
        };
        let value = if parts.is_empty() {
            entry.value
        } else {
            Bytes::from([parts, &entry.value].concat())
        };
        if usize::try_from(entry.size).ok() != Some(value.len()) {
            return Err(Error::invalid_answer("a part of the value is missing"));
        }
        Ok(Self {
            value: (source != Source::Negative).then_some(value),
            content_type: entry.content_type,
            version: entry.version,
            source,
            age: convert::duration(entry.age, "age")?,
            ttl: convert::duration(entry.ttl, "ttl")?,
            cost: entry.cost.map(Cost::from).unwrap_or_default(),
            scope: scope.try_into()?,
        })
    }
}
