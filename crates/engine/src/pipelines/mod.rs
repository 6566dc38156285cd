//! Pipelines whose limits are obeyed: two ports over two ports.
//!
//! A limit of a pipeline is declared when it is first named in a namespace, so that a pipeline nobody uses leaves
//! nothing behind, and it is changed by every update. Declaring and updating exclude each other, or an old spec could be
//! declared after a new one.
//!
//! - [`ObeyedPipelines`]: the pipelines; an update is answered once the limits in use have changed.
//! - [`PipelineLimits`]: the limits; a call that names one of a pipeline finds it declared.

mod declared;
mod limits;

pub use limits::PipelineLimits;

use async_trait::async_trait;
use declared::Declared;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};
use trellis_core::limits::{
    DeleteLimit, LevelPolicy, LimitSpec, Limits, SetLimit, Sharing, SpecSource,
};
use trellis_core::pipelines::{
    ListPipelines, LivePipelines, Pipeline, PipelineName, PipelinePage, PipelineView,
    PipelineWatch, Pipelines, ResetPipeline, UpdatePipeline, limit_parts,
};
use trellis_core::{Name, Namespace, Result, Scope};

/// Pipelines over a backend of pipelines and one of limits.
pub struct ObeyedPipelines {
    shared: Arc<Shared>,
}

/// What both ports need.
struct Shared {
    pipelines: Arc<dyn LivePipelines>,
    limits: Arc<dyn Limits>,
    declared: Declared,
    /// Held while limits are declared or pipelines change.
    turn: Mutex<()>,
}

impl ObeyedPipelines {
    /// The pipelines, and the limits that obey them. Calls of limits must go through the latter.
    #[must_use]
    pub fn new(
        pipelines: Arc<dyn LivePipelines>,
        limits: Arc<dyn Limits>,
    ) -> (Self, PipelineLimits) {
        let shared = Arc::new(Shared {
            pipelines,
            limits,
            declared: Declared::default(),
            turn: Mutex::new(()),
        });
        let limits = PipelineLimits::new(Arc::clone(&shared));
        (Self { shared }, limits)
    }
}

impl Shared {
    /// What a limit allows by its pipeline, if it has one.
    fn spec(&self, namespace: &Namespace, limit: &Name) -> Option<LimitSpec> {
        let (pipeline, kind, step) = limit_parts(limit.as_str())?;
        let pipeline = self.pipelines.find(namespace, pipeline)?;
        pipeline.limit(kind, step).cloned()
    }

    /// Whether a limit is not declared as its pipeline has it now: not yet, not since the pipeline changed, or still.
    fn is_stale(&self, namespace: &Namespace, limit: &Name) -> bool {
        let Some((pipeline, kind, step)) = limit_parts(limit.as_str()) else {
            return false;
        };
        let pipeline = self.pipelines.find(namespace, pipeline);
        let spec = pipeline.as_ref().and_then(|it| it.limit(kind, step));
        self.declared.differs(namespace, limit, spec)
    }

    /// Declares a limit as its pipeline has it now, or deletes one that its pipeline has no more.
    async fn declare(
        &self,
        _turn: &MutexGuard<'_, ()>,
        (namespace, name): (&Namespace, &Name),
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

    /// Declares a limit that is to be used now, if it is stale still when its turn comes.
    async fn ensure(&self, namespace: &Namespace, limit: &Name) -> Result<()> {
        if !self.is_stale(namespace, limit) {
            return Ok(());
        }
        let turn = self.turn.lock().await;
        if !self.is_stale(namespace, limit) {
            return Ok(());
        }
        let limit = (namespace, limit);
        self.declare(&turn, limit, LevelPolicy::KeepAmount).await
    }

    /// Makes the limits in use follow a pipeline that has changed. One that cannot follow is stale, and declared when it is
    /// next named.
    async fn follow(
        &self,
        turn: &MutexGuard<'_, ()>,
        namespace: &Namespace,
        (before, after): (Option<&Pipeline>, Option<&Pipeline>),
        level_policy: LevelPolicy,
    ) -> Result<()> {
        let mut failed = Ok(());
        for name in changed_limits(before, after)? {
            if self.declared.contains(namespace, &name) {
                let done = self.declare(turn, (namespace, &name), level_policy).await;
                failed = failed.and(done);
            }
        }
        failed
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

impl PipelineView for ObeyedPipelines {
    fn find(&self, namespace: &Namespace, name: &str) -> Option<Arc<Pipeline>> {
        self.shared.pipelines.find(namespace, name)
    }
}

#[async_trait]
impl Pipelines for ObeyedPipelines {
    async fn get(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<(Arc<Pipeline>, Scope)> {
        self.shared.pipelines.get(namespace, name).await
    }

    async fn list(&self, list: ListPipelines) -> Result<PipelinePage> {
        self.shared.pipelines.list(list).await
    }

    async fn update(&self, update: UpdatePipeline) -> Result<(Arc<Pipeline>, bool, Scope)> {
        let shared = &self.shared;
        let (namespace, policy) = (update.namespace.clone(), update.level_policy);
        let turn = shared.turn.lock().await;
        let before = shared.pipelines.find(&namespace, update.name.as_str());
        let (after, created, scope) = shared.pipelines.update(update).await?;
        let change = (before.as_deref(), Some(&*after));
        shared.follow(&turn, &namespace, change, policy).await?;
        Ok((after, created, scope))
    }

    async fn reset(&self, reset: ResetPipeline) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        let shared = &self.shared;
        let (namespace, policy) = (reset.namespace.clone(), reset.level_policy);
        let turn = shared.turn.lock().await;
        let before = shared.pipelines.find(&namespace, reset.name.as_str());
        let (after, scope) = shared.pipelines.reset(reset).await?;
        let change = (before.as_deref(), after.as_deref());
        shared.follow(&turn, &namespace, change, policy).await?;
        Ok((after, scope))
    }

    async fn watch(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<Box<dyn PipelineWatch>> {
        self.shared.pipelines.watch(namespace, name).await
    }
}
