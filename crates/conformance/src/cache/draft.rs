//! An entry to be kept, said in few words.

use bytes::Bytes;
use std::sync::Arc;
use trellis_core::cache::{Content, Cost, Fence, NewEntry, Policy};
use trellis_core::{Micros, Name, Tag};

/// How long an entry is fresh when a case does not say.
const TTL: Micros = Micros::from_secs(3_600);

/// An entry to be kept.
#[derive(Clone, Debug)]
pub(super) struct Draft(NewEntry);

/// An entry with this value, fresh for an hour.
pub(super) fn entry(value: impl Into<Bytes>) -> Draft {
    Draft::new(Content::Value(value.into()))
}

/// An entry that says that there is no value.
pub(super) fn negative() -> Draft {
    Draft::new(Content::Negative)
}

impl Draft {
    fn new(content: Content) -> Self {
        Self(NewEntry {
            content,
            content_type: Arc::default(),
            policy: Policy::fresh_for(TTL),
            cost: Cost::default(),
            fence: None,
        })
    }

    pub fn ttl(mut self, ttl: Micros) -> Self {
        self.0.policy.ttl = ttl;
        self
    }

    pub fn jitter(mut self, jitter: Micros) -> Self {
        self.0.policy.jitter = jitter;
        self
    }

    pub fn stale_for(mut self, span: Micros) -> Self {
        self.0.policy.stale_for = span;
        self
    }

    pub fn refresh_after(mut self, age: Micros) -> Self {
        self.0.policy.refresh_after = Some(age);
        self
    }

    pub fn tags(mut self, tags: &[&str]) -> Self {
        let tags = tags.iter().map(|tag| Tag::new(*tag, "tag").unwrap());
        self.0.policy.tags = tags.collect();
        self
    }

    pub fn content_type(mut self, name: &str) -> Self {
        self.0.content_type = name.into();
        self
    }

    pub fn cost(mut self, calls: i64, tokens: i64, money_micros: i64) -> Self {
        self.0.cost = Cost {
            calls,
            tokens,
            money_micros,
        };
        self
    }

    /// Written under a lock.
    pub fn under(mut self, lock: &str, token: u64) -> Self {
        let lock = Name::new(lock, "lock").unwrap();
        self.0.fence = Some(Fence { lock, token });
        self
    }

    pub fn into_entry(self) -> NewEntry {
        self.0
    }
}

impl From<&'static str> for Draft {
    fn from(value: &'static str) -> Self {
        entry(value)
    }
}
