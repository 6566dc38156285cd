//! A value as it is kept and as it is told, and what is kept with it.

use super::fence::Fence;
use crate::{Micros, Tag, Time};
use bytes::Bytes;
use std::sync::Arc;

/// The most that one figure of a [`Cost`] may be.
pub const MAX_COST: i64 = 1_000_000_000_000;

/// A number of a namespace's one sequence, which only rises; below 2^53. Names a write or a clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// What a value cost to compute, which is what a hit saves. Sums stop at the largest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Calls of a provider.
    pub calls: i64,
    /// Tokens of a model.
    pub tokens: i64,
    /// Millionths of the caller's currency.
    pub money_micros: i64,
}

impl Cost {
    /// Adds another cost `times` over.
    pub fn add(&mut self, other: Self, times: usize) {
        let times = i64::try_from(times).unwrap_or(i64::MAX);
        let plus = |sum: i64, each: i64| sum.saturating_add(each.saturating_mul(times));
        self.calls = plus(self.calls, other.calls);
        self.tokens = plus(self.tokens, other.tokens);
        self.money_micros = plus(self.money_micros, other.money_micros);
    }
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A value, which may be empty.
    Value(Bytes),
    /// That there is no value.
    Negative,
}

impl Content {
    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Negative => 0,
        }
    }

    /// Whether there is no byte of a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Value(value) => Some(value),
            Self::Negative => None,
        }
    }
}

/// How an entry is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long it is fresh.
    pub ttl: Micros,
    /// By how much at most the TTL is shortened, at random. At most the TTL.
    pub jitter: Micros,
    /// How long after its TTL it may be served stale.
    pub stale_for: Micros,
    /// The age at which it is computed anew while it is fresh; `None`: never.
    pub refresh_after: Option<Micros>,
    /// Names by which it is cleared, each once.
    pub tags: Arc<[Tag]>,
}

impl Policy {
    /// Fresh for so long, and nothing more.
    #[must_use]
    pub fn fresh_for(ttl: Micros) -> Self {
        Self {
            ttl,
            jitter: Micros::ZERO,
            stale_for: Micros::ZERO,
            refresh_after: None,
            tags: Arc::default(),
        }
    }
}

/// What is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The value, or that there is none.
    pub content: Content,
    /// What the value is, for its readers.
    pub content_type: Arc<str>,
    /// How it is kept.
    pub policy: Policy,
    /// What it cost.
    pub cost: Cost,
    /// The lock under which it is written, if it is.
    pub fence: Option<Fence>,
}

/// An entry as it is kept. Whether it has been cleared, only its namespace's generations tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value, or that there is none.
    pub content: Content,
    /// What the value is.
    pub content_type: Arc<str>,
    /// What it cost.
    pub cost: Cost,
    /// The write that made it.
    pub version: Version,
    /// The number as of which its value counts as made: that of its lease, or its own. A clear with a higher
    /// number hides it.
    pub as_of: Version,
    /// When it was written.
    pub written: Time,
    /// Until when it is fresh.
    pub fresh_until: Time,
    /// Until when it may be served stale.
    pub stale_until: Time,
    /// From when on it is computed anew; never: [`Time::NEVER`].
    pub refresh_at: Time,
    /// Names by which it is cleared.
    pub tags: Arc<[Tag]>,
}

impl Entry {
    /// The entry as it is told now.
    #[must_use]
    pub fn told(&self, fresh: Source, now: Time) -> Hit {
        let source = match (&self.content, now < self.fresh_until) {
            (Content::Negative, _) => Source::Negative,
            (Content::Value(_), true) => fresh,
            (Content::Value(_), false) => Source::Stale,
        };
        Hit {
            content: self.content.clone(),
            content_type: Arc::clone(&self.content_type),
            version: self.version,
            source,
            age: now - self.written,
            ttl: self.fresh_until - now,
            cost: self.cost,
        }
    }
}

/// Where an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The memory of the only daemon.
    Local,
    /// The store that all daemons share.
    Shared,
    /// This daemon's copy of the shared store.
    Near,
    /// Another caller's computation.
    Coalesced,
    /// An entry past its TTL.
    Stale,
    /// An entry that says that there is no value.
    Negative,
}

/// An entry as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The value, or that there is none.
    pub content: Content,
    /// What the value is.
    pub content_type: Arc<str>,
    /// The write that made it.
    pub version: Version,
    /// Where it came from.
    pub source: Source,
    /// How long ago it was written.
    pub age: Micros,
    /// How long it stays fresh.
    pub ttl: Micros,
    /// What it cost.
    pub cost: Cost,
}
