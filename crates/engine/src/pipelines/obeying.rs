//! How limits come to be as their pipelines have them.

use super::Shared;
use std::sync::Arc;
use tokio::sync::MutexGuard;
use trellis_core::limits::{
    BucketState, DeleteLimit, LevelPolicy, LimitSpec, SetLimit, Sharing, SpecSource,
};
use trellis_core::pipelines::{Pipeline, PipelineName, limit_parts};
use trellis_core::{Error, ErrorCode, Key, Name, Namespace, Result};

/// How often a limit is declared anew because its pipeline has changed meanwhile: each time somebody else has changed it.
/// Whoever did that declares it as well.
const MAX_CHANGES_AT_ONCE: usize = 16;

/// A limit in its namespace.
type Place<'a> = (&'a Namespace, &'a Name);

/// A pipeline before and after a change.
type Change = (Option<Arc<Pipeline>>, Option<Arc<Pipeline>>);

impl Shared {
    /// What a limit allows by its pipeline, if it has one.
    pub(super) fn spec(&self, namespace: &Namespace, limit: &Name) -> Option<LimitSpec> {
        let (pipeline, kind, step) = limit_parts(limit.as_str())?;
        let pipeline = self.pipelines.find(namespace, pipeline)?;
        pipeline.limit(kind, step).cloned()
    }

    /// Whether a limit is not declared as its pipeline has it now: not yet, not since the pipeline changed, or still.
    pub(super) fn is_stale(&self, namespace: &Namespace, limit: &Name) -> bool {
        let Some((pipeline, kind, step)) = limit_parts(limit.as_str()) else {
            return false;
        };
        let pipeline = self.pipelines.find(namespace, pipeline);
        let spec = pipeline.as_ref().and_then(|it| it.limit(kind, step));
        self.declared.differs(namespace, limit, spec)
    }

    /// Whether a call may have missed a limit that its pipeline has: it was lost or deleted elsewhere, or the pipeline has it since a
    /// moment ago. Then it is to be declared, and the call made again.
    pub(super) fn is_missed<'a, T>(
        &self,
        answer: &Result<T>,
        namespace: &Namespace,
        limits: impl IntoIterator<Item = &'a Name>,
    ) -> bool {
        let missed = |error: &Error| error.code == ErrorCode::LimitNotFound;
        if !answer.as_ref().is_err_and(missed) {
            return false;
        }
        let mut any = false;
        for limit in limits {
            if limit_parts(limit.as_str()).is_some() {
                self.declared.remove(namespace, limit);
                any = true;
            }
        }
        any
    }

    /// The limit as it is, for all keys without a spec of their own; `None` where there is none.
    async fn standing(&self, (namespace, name): Place<'_>) -> Result<Option<BucketState>> {
        let key = Key::new("", "key")?;
        let peeked = self.limits.peek(namespace.clone(), name.clone(), key).await;
        match peeked {
            Ok((bucket, _)) => Ok(Some(bucket)),
            Err(error) if error.code == ErrorCode::LimitNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Declares a limit as its pipeline has it now, or deletes one that its pipeline has no more.
    async fn declare(
        &self,
        _turn: &MutexGuard<'_, ()>,
        (namespace, name): Place<'_>,
        level_policy: LevelPolicy,
    ) -> Result<()> {
        let Some(spec) = self.spec(namespace, name) else {
            let delete = DeleteLimit {
                namespace: namespace.clone(),
                name: name.clone(),
                request_id: None,
            };
            self.limits.delete_limit(delete).await?;
            self.declared.remove(namespace, name);
            return Ok(());
        };
        let set = SetLimit {
            namespace: namespace.clone(),
            name: name.clone(),
            spec: spec.clone(),
            overrides: Vec::new(),
            level_policy,
            source: SpecSource::Pipeline,
            sharing: Sharing::default(),
            request_id: None,
        };
        self.limits.set_limit(set).await?;
        self.declared.insert(namespace, name, spec);
        Ok(())
    }

    /// Declares a limit that is to be used, unless it stands as its pipeline has it, or as it was set by hand since.
    async fn declare_for_use(&self, turn: &MutexGuard<'_, ()>, place: Place<'_>) -> Result<()> {
        let (namespace, name) = place;
        let standing = self.standing(place).await?;
        let of_pipeline = |bucket: &BucketState| bucket.source == SpecSource::Pipeline;
        match (self.spec(namespace, name), standing) {
            (Some(spec), Some(bucket))
                if bucket.source == SpecSource::SetLimit
                    || of_pipeline(&bucket) && bucket.spec == spec =>
            {
                self.declared.insert(namespace, name, spec);
                Ok(())
            }
            (None, bucket) if !bucket.as_ref().is_some_and(of_pipeline) => {
                self.declared.remove(namespace, name);
                Ok(())
            }
            _ => self.declare(turn, place, LevelPolicy::KeepAmount).await,
        }
    }

    /// Declares a limit that is to be used now, if it is stale still when its turn comes.
    pub(super) async fn ensure(&self, namespace: &Namespace, limit: &Name) -> Result<()> {
        if !self.is_stale(namespace, limit) {
            return Ok(());
        }
        let turn = self.turn.lock().await;
        if !self.is_stale(namespace, limit) {
            return Ok(());
        }
        self.pipelines.refresh().await?;
        for _ in 0..MAX_CHANGES_AT_ONCE {
            self.declare_for_use(&turn, (namespace, limit)).await?;
            self.pipelines.refresh().await?;
            if !self.is_stale(namespace, limit) {
                break;
            }
        }
        Ok(())
    }

    /// As [`Shared::ensure`], also where a pipeline may have the limit since a moment ago.
    pub(super) async fn ensure_missed(&self, namespace: &Namespace, limit: &Name) -> Result<()> {
        if limit_parts(limit.as_str()).is_some() {
            self.pipelines.refresh().await?;
        }
        self.ensure(namespace, limit).await
    }

    /// Makes the limits that exist follow a pipeline that has changed. One that cannot follow is stale, and declared when it
    /// is next named.
    pub(super) async fn follow(
        &self,
        turn: &MutexGuard<'_, ()>,
        (namespace, name): (&Namespace, &PipelineName),
        (mut before, mut after): Change,
        mut level_policy: LevelPolicy,
    ) -> Result<()> {
        let mut failed = Ok(());
        for _ in 0..MAX_CHANGES_AT_ONCE {
            let changed = changed_limits(before.as_deref(), after.as_deref())?;
            for limit in &changed {
                let followed = self
                    .follow_one(turn, (namespace, limit), level_policy)
                    .await;
                failed = failed.and(followed);
            }
            if changed.is_empty() || failed.is_err() {
                break;
            }
            self.pipelines.refresh().await?;
            // What somebody else has changed meanwhile came before or after what was declared here: it is declared again.
            before = std::mem::replace(&mut after, self.pipelines.find(namespace, name.as_str()));
            level_policy = LevelPolicy::KeepAmount;
        }
        failed
    }

    async fn follow_one(
        &self,
        turn: &MutexGuard<'_, ()>,
        place: Place<'_>,
        level_policy: LevelPolicy,
    ) -> Result<()> {
        if self.standing(place).await?.is_none() {
            return Ok(());
        }
        self.declare(turn, place, level_policy).await
    }
}

/// The limits that differ between two states of a pipeline.
fn changed_limits(before: Option<&Pipeline>, after: Option<&Pipeline>) -> Result<Vec<Name>> {
    let mut changed = Vec::new();
    for (one, other) in [(before, after), (after, before)] {
        for (name, spec) in one.into_iter().flat_map(Pipeline::limits) {
            let name = name?;
            let parts = limit_parts(name.as_str());
            let spec_of =
                |it: &Pipeline| parts.and_then(|(_, kind, step)| it.limit(kind, step).cloned());
            if other.and_then(spec_of).as_ref() != Some(spec) && !changed.contains(&name) {
                changed.push(name);
            }
        }
    }
    Ok(changed)
}
