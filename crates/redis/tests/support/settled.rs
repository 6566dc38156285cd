//! A cache whose reads begin when word of everything that was done before has come.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use trellis_core::cache::{
    Appended, Begin, Begun, Cache, CacheStats, CacheStatus, ClearTarget, Deleted, EndedBy, Filled,
    GetOptions, Hit, Lease, LeaseEnd, LeaseId, Lookup, NewEntry, Precondition, Written,
};
use trellis_core::{EntryKey, Namespace, Result, Scope};
use trellis_redis::RedisCache;

type Held<T> = std::result::Result<T, LeaseEnd>;

/// The same cache, behind that wait.
pub struct Settled(pub Arc<RedisCache>);

#[async_trait]
impl Cache for Settled {
    async fn get(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        options: GetOptions,
    ) -> Result<(Vec<Lookup>, Scope)> {
        self.0.settled().await;
        self.0.get(namespace, keys, options).await
    }

    async fn set(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        entry: NewEntry,
        precondition: Precondition,
    ) -> Result<(Written, Scope)> {
        self.0.set(namespace, key, entry, precondition).await
    }

    async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        precondition: Precondition,
    ) -> Result<(Deleted, Scope)> {
        self.0.delete(namespace, key, precondition).await
    }

    async fn clear(&self, namespace: &Namespace, target: ClearTarget) -> Result<(u64, Scope)> {
        self.0.clear(namespace, target).await
    }

    async fn begin(self: Arc<Self>, begin: Begin) -> Result<(Vec<Result<Begun>>, Scope)> {
        self.0.settled().await;
        Arc::clone(&self.0).begin(begin).await
    }

    async fn append(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        offset: usize,
        part: Bytes,
    ) -> Result<(Held<Appended>, Scope)> {
        self.0.append(namespace, lease, offset, part).await
    }

    async fn fill(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        entry: NewEntry,
        keep: bool,
    ) -> Result<(Held<Filled>, Scope)> {
        self.0.fill(namespace, lease, entry, keep).await
    }

    async fn fail(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        by: EndedBy,
    ) -> Result<(Held<Option<Hit>>, Scope)> {
        self.0.fail(namespace, lease, by).await
    }

    async fn renew(&self, namespace: &Namespace, lease: LeaseId) -> Result<(Held<Lease>, Scope)> {
        self.0.renew(namespace, lease).await
    }

    fn abandon(&self, namespace: &Namespace, leases: &[LeaseId]) {
        self.0.abandon(namespace, leases);
    }

    async fn stats(&self, namespace: &Namespace) -> Result<(CacheStats, Scope)> {
        self.0.stats(namespace).await
    }

    fn status(&self) -> CacheStatus {
        self.0.status()
    }

    fn scope(&self) -> Scope {
        self.0.scope()
    }
}
