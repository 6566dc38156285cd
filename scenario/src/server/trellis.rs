//! A server with a daemon: its cache and its limits, and with them those of every server whose daemon is on
//! the same store.

use super::commons::{AskError, Cache, Compute, Limits, Metered};
use crate::wire::Source;
use crate::workload::Endpoint;
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;
use trellis_client::cache::{ComputeError, Keep};
use trellis_client::{Acquired, Charge, Client, Spec};

/// How long a call waits for room, at least.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A call reaches the provider a little after it was admitted, sometimes later, sometimes sooner. So calls
/// that were admitted a period apart may arrive less than that apart; the limit's period is longer by this.
pub const TRAVEL: Duration = Duration::from_millis(100);

/// The cache of a daemon.
pub struct SharedCache(trellis_client::cache::Cache);

impl SharedCache {
    /// The cache of the daemon behind this client.
    pub fn new(client: &Client) -> Self {
        Self(client.cache("scenario"))
    }
}

#[async_trait]
impl Cache for SharedCache {
    async fn cached(
        &self,
        key: String,
        ttl: Duration,
        compute: Compute,
    ) -> Result<(Bytes, Source), AskError> {
        // Looked at here first, only to tell what was there from what was waited for.
        let known = self.0.get(key.as_str()).await?;
        if let Some(value) = known.and_then(|entry| entry.value) {
            return Ok((value, Source::Hit));
        }
        let mut from = Source::Coalesced;
        let value = self.0.get_or_compute(key, Keep::new(ttl), || {
            from = Source::Computed;
            compute
        });
        match value.await {
            Ok(value) => Ok((value, from)),
            Err(ComputeError::Compute(error)) => Err(error),
            Err(ComputeError::Call(error)) => Err(error.into()),
            Err(other) => Err(AskError::Value(other.to_string())),
        }
    }
}

/// The limits of a daemon.
pub struct SharedLimits {
    limits: trellis_client::Limits,
    embeddings: Spec,
    answers: Spec,
    max_wait: Duration,
}

impl SharedLimits {
    /// The limits of the daemon behind this client. They need no set-up: each call carries what they are.
    pub fn new(client: &Client, embeddings: &Endpoint, answers: &Endpoint) -> Self {
        let spec = |of: &Endpoint| Spec::window(of.limit.into(), of.period() + TRAVEL);
        let longest = embeddings.period().max(answers.period());
        Self {
            limits: client.limits(),
            embeddings: spec(embeddings),
            answers: spec(answers),
            max_wait: MAX_WAIT.max(longest * 3),
        }
    }

    fn limit(&self, what: Metered) -> (&'static str, &Spec) {
        match what {
            Metered::Embeddings => ("provider.embeddings", &self.embeddings),
            Metered::Answers => ("provider.answers", &self.answers),
        }
    }
}

#[async_trait]
impl Limits for SharedLimits {
    async fn admitted(&self, what: Metered) -> Result<(), AskError> {
        let (name, spec) = self.limit(what);
        let acquire = self
            .limits
            .acquire()
            .charge(Charge::new(name, 1).spec(spec.clone()))
            .max_wait(self.max_wait);
        match acquire.send().await? {
            Acquired::Granted(_) => Ok(()),
            _ => Err(AskError::NoRoom(self.max_wait)),
        }
    }

    async fn throttled(&self, what: Metered, retry_after: Duration) -> Result<(), AskError> {
        // Nobody is admitted before that time, on any server: the next acquire waits for it.
        let (name, _) = self.limit(what);
        self.limits.report_throttled(name, retry_after).await?;
        Ok(())
    }
}
