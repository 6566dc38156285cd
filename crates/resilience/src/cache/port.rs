//! The cache port: shared while the store is there, this daemon's own while it is not.

use super::waiting::FallbackWaiting;
use super::{FallbackCache, needs_store, ours};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use trellis_core::cache::{
    Appended, Begin, Begun, Cache, CacheStats, CacheStatus, ClearTarget, Deleted, EndedBy, Filled,
    GetOptions, Hit, Lease, LeaseEnd, LeaseId, Lookup, NewEntry, Precondition, Written,
};
use trellis_core::{EntryKey, Namespace, Result, Scope};

type Held<T> = std::result::Result<T, LeaseEnd>;

#[async_trait]
impl Cache for FallbackCache {
    async fn get(
        &self,
        namespace: &Namespace,
        keys: &[EntryKey],
        options: GetOptions,
    ) -> Result<(Vec<Lookup>, Scope)> {
        if !self.is_open() {
            let answer = self.primary.get(namespace, keys, options).await;
            if !self.is_away(&answer) {
                return answer;
            }
        }
        self.note_used(namespace);
        let (found, _) = self.local.get(namespace, keys, options).await?;
        Ok((found, self.degraded_scope()))
    }

    async fn set(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        entry: NewEntry,
        precondition: Precondition,
    ) -> Result<(Written, Scope)> {
        loop {
            if !self.is_open() {
                let set = self
                    .primary
                    .set(namespace, key, entry.clone(), precondition);
                let answer = set.await;
                if !self.is_away(&answer) {
                    return answer;
                }
            }
            if precondition != Precondition::Always {
                return Err(needs_store("a condition"));
            }
            if entry.fence.is_some() {
                return Err(needs_store("a fence"));
            }
            self.note_used(namespace);
            let (written, _) = self
                .local
                .set(namespace, key, entry.clone(), precondition)
                .await?;
            // The entry of before must not come back.
            if self.note_deleted(namespace, key) {
                return Ok((written, self.degraded_scope()));
            }
        }
    }

    async fn delete(
        &self,
        namespace: &Namespace,
        key: &EntryKey,
        precondition: Precondition,
    ) -> Result<(Deleted, Scope)> {
        loop {
            if !self.is_open() {
                let answer = self.primary.delete(namespace, key, precondition).await;
                if !self.is_away(&answer) {
                    return answer;
                }
            }
            if precondition != Precondition::Always {
                return Err(needs_store("a condition"));
            }
            self.note_used(namespace);
            let (deleted, _) = self.local.delete(namespace, key, precondition).await?;
            if self.note_deleted(namespace, key) {
                return Ok((deleted, self.degraded_scope()));
            }
        }
    }

    async fn clear(&self, namespace: &Namespace, target: ClearTarget) -> Result<(u64, Scope)> {
        loop {
            if !self.is_open() {
                let answer = self.primary.clear(namespace, target.clone()).await;
                if !self.is_away(&answer) {
                    return answer;
                }
            }
            self.note_used(namespace);
            let (number, _) = self.local.clear(namespace, target.clone()).await?;
            if self.note(|journal| journal.clear(namespace, &target)) {
                return Ok((number, self.degraded_scope()));
            }
        }
    }

    async fn begin(self: Arc<Self>, begin: Begin) -> Result<(Vec<Result<Begun>>, Scope)> {
        let opening = self.switch.opening();
        let (answers, scope, here) = self.begin_anywhere(begin.clone()).await?;
        let moving = |(index, one): (usize, Result<Begun>)| match one {
            Ok(Begun::Waiting(inner)) => Ok(Begun::Waiting(Box::new(FallbackWaiting {
                cache: Arc::clone(&self),
                inner: Some(inner),
                here,
                begin: Begin {
                    keys: begin.keys[index..=index].to_vec(),
                    ..begin.clone()
                },
                opening: opening.clone(),
                told: false,
            }))),
            other => other,
        };
        let answers = answers.into_iter().enumerate().map(moving).collect();
        Ok((answers, scope))
    }

    async fn append(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        offset: usize,
        part: Bytes,
    ) -> Result<(Held<Appended>, Scope)> {
        if let Some(lease) = ours(lease) {
            let (appended, _) = self.local.append(namespace, lease, offset, part).await?;
            return Ok((appended, self.degraded_scope()));
        }
        let answer = self.primary.append(namespace, lease, offset, part).await;
        self.is_away(&answer);
        answer
    }

    async fn fill(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        entry: NewEntry,
        keep: bool,
    ) -> Result<(Held<Filled>, Scope)> {
        if let Some(lease) = ours(lease) {
            if entry.fence.is_some() {
                return Err(needs_store("a fence"));
            }
            let (filled, _) = self.local.fill(namespace, lease, entry, keep).await?;
            return Ok((filled, self.degraded_scope()));
        }
        let answer = self.primary.fill(namespace, lease, entry, keep).await;
        self.is_away(&answer);
        answer
    }

    async fn fail(
        &self,
        namespace: &Namespace,
        lease: LeaseId,
        by: EndedBy,
    ) -> Result<(Held<Option<Hit>>, Scope)> {
        if let Some(lease) = ours(lease) {
            let (failed, _) = self.local.fail(namespace, lease, by).await?;
            return Ok((failed, self.degraded_scope()));
        }
        let answer = self.primary.fail(namespace, lease, by).await;
        self.is_away(&answer);
        answer
    }

    async fn renew(&self, namespace: &Namespace, lease: LeaseId) -> Result<(Held<Lease>, Scope)> {
        if let Some(lease) = ours(lease) {
            let (renewed, _) = self.local.renew(namespace, lease).await?;
            return Ok((renewed.map(super::renamed), self.degraded_scope()));
        }
        let answer = self.primary.renew(namespace, lease).await;
        self.is_away(&answer);
        answer
    }

    fn abandon(&self, namespace: &Namespace, leases: &[LeaseId]) {
        let here: Vec<LeaseId> = leases.iter().copied().filter_map(ours).collect();
        let there = leases
            .iter()
            .copied()
            .filter(|lease| ours(*lease).is_none());
        self.local.abandon(namespace, &here);
        self.primary.abandon(namespace, &there.collect::<Vec<_>>());
    }

    async fn stats(&self, namespace: &Namespace) -> Result<(CacheStats, Scope)> {
        if !self.is_open() {
            let answer = self.primary.stats(namespace).await;
            if !self.is_away(&answer) {
                return answer;
            }
        }
        let (stats, _) = self.local.stats(namespace).await?;
        Ok((stats, self.degraded_scope()))
    }

    fn status(&self) -> CacheStatus {
        let (mut status, here) = (self.primary.status(), self.local.status());
        status.stats.leases += here.stats.leases;
        status.stats.waiters += here.stats.waiters;
        status.stats.ledger.add(&here.stats.ledger);
        status.evictions += here.evictions;
        status.outages = self.switch.outages();
        status.journalled = self.journal.lock().len();
        status
    }

    fn scope(&self) -> Scope {
        if self.is_open() {
            return self.degraded_scope();
        }
        self.primary.scope()
    }
}
