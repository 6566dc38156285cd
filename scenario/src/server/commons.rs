//! What a server has in common with others, or has not: a cache and the limits of the provider. The columns
//! differ in which [`Cache`] and which [`Limits`] a server runs with, and in nothing else.

use crate::calling::CallError;
use crate::wire::Source;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::time::Duration;

/// What the provider meters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// Calls of the embeddings endpoint.
    Embeddings,
    /// Calls of the answers endpoint.
    Answers,
}

/// A computation that starts when it is first polled.
pub type Compute = BoxFuture<'static, Result<Bytes, AskError>>;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The provider, after all attempts.
    #[error("provider: {0}")]
    Provider(#[from] CallError),
    /// The limit had no room for longer than a caller waits.
    #[error("no room under the limit within {0:?}")]
    NoRoom(Duration),
    /// The daemon.
    #[error("daemon: {0}")]
    Daemon(#[from] trellis_client::Error),
    /// A cached value that cannot be read.
    #[error("cached value: {0}")]
    Value(String),
}

/// A cache.
#[async_trait]
pub trait Cache: Send + Sync {
    /// The value of a key: the cached one, not older than `ttl`, or the computed one, cached from then on.
    async fn cached(
        &self,
        key: String,
        ttl: Duration,
        compute: Compute,
    ) -> Result<(Bytes, Source), AskError>;
}

/// The limits of the provider.
#[async_trait]
pub trait Limits: Send + Sync {
    /// Waits until the limit has room for one call, and takes it.
    async fn admitted(&self, what: Metered) -> Result<(), AskError>;

    /// The provider itself refused: returns when it makes sense to ask for room again.
    async fn throttled(&self, what: Metered, retry_after: Duration) -> Result<(), AskError>;
}
