//! Pipelines whose limits are obeyed: two ports over two ports.
//!
//! A limit of a pipeline is declared when it is first named in a namespace, so that a pipeline nobody uses leaves
//! nothing behind, and it is changed by every update. In this daemon declaring and updating exclude each other, or an old spec could be
//! declared after a new one. Between daemons that share limits nothing excludes: whoever has declared a limit looks at the
//! pipeline once more, and declares anew what has changed, before it answers. So a spec that has landed late is put right
//! by the one who was late.
//!
//! An update changes the limits that exist, under its own policy for their level. Another daemon that finds a limit as its
//! pipeline has it, or as somebody has set it by hand since, lets it stand.
//!
//! - [`ObeyedPipelines`]: the pipelines; an update is answered once the limits in use have changed.
//! - [`PipelineLimits`]: the limits; a call that names one of a pipeline finds it declared.

mod declared;
mod limits;
mod obeying;

pub use limits::PipelineLimits;

use async_trait::async_trait;
use declared::Declared;
use std::sync::Arc;
use tokio::sync::Mutex;
use trellis_core::limits::Limits;
use trellis_core::pipelines::{
    ListPipelines, LivePipelines, Pipeline, PipelineName, PipelinePage, PipelineView,
    PipelineWatch, Pipelines, ResetPipeline, UpdatePipeline,
};
use trellis_core::{Namespace, Result, Scope};

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

#[async_trait]
impl PipelineView for ObeyedPipelines {
    fn find(&self, namespace: &Namespace, name: &str) -> Option<Arc<Pipeline>> {
        self.shared.pipelines.find(namespace, name)
    }

    async fn refresh(&self) -> Result<()> {
        self.shared.pipelines.refresh().await
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
        let name = update.name.clone();
        let turn = shared.turn.lock().await;
        let before = shared.pipelines.find(&namespace, name.as_str());
        let (after, created, scope) = shared.pipelines.update(update).await?;
        let change = (before, Some(Arc::clone(&after)));
        let pipeline = (&namespace, &name);
        shared.follow(&turn, pipeline, change, policy).await?;
        Ok((after, created, scope))
    }

    async fn reset(&self, reset: ResetPipeline) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        let shared = &self.shared;
        let (namespace, policy) = (reset.namespace.clone(), reset.level_policy);
        let name = reset.name.clone();
        let turn = shared.turn.lock().await;
        let before = shared.pipelines.find(&namespace, name.as_str());
        let (after, scope) = shared.pipelines.reset(reset).await?;
        let change = (before, after.clone());
        let pipeline = (&namespace, &name);
        shared.follow(&turn, pipeline, change, policy).await?;
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
