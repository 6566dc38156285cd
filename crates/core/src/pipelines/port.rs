//! The pipelines port: what every backend does, and what a caller may rely on.

use super::name::PipelineName;
use super::pipeline::Pipeline;
use super::setting::{SettingKey, SettingKind, SettingValue};
use crate::limits::LevelPolicy;
use crate::{Namespace, Result, Scope};
use async_trait::async_trait;
use std::sync::Arc;

/// Changes values of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdatePipeline {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: PipelineName,
    /// Values to set, each key once.
    pub values: Vec<(SettingKey, SettingValue)>,
    /// Values that are what they would be without any update.
    pub dropped: Vec<SettingKey>,
    /// Kinds of which only `values` are set.
    pub replaced: Vec<SettingKind>,
    /// Only if it has this version; 0: only if it was never changed, or does not exist.
    pub base_version: Option<u64>,
    /// Make it if it does not exist.
    pub allow_missing: bool,
    /// What becomes of the level of limits that change.
    pub level_policy: LevelPolicy,
}

/// Forgets what updates have set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetPipeline {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: PipelineName,
    /// As in [`UpdatePipeline`].
    pub base_version: Option<u64>,
    /// As in [`UpdatePipeline`].
    pub level_policy: LevelPolicy,
}

/// Asks for pipelines by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPipelines {
    /// Where they live.
    pub namespace: Namespace,
    /// At most so many.
    pub page_size: usize,
    /// Those after this name.
    pub after: Option<PipelineName>,
}

/// A page of pipelines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelinePage {
    /// By name.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// There are more.
    pub more: bool,
    /// The guarantee that the answer carries.
    pub scope: Scope,
}

/// Pipelines, shared by all who call the same backend.
///
/// The pipelines of a namespace change in one total order; each method takes effect at one point of it, between its call and its
/// return.
///
/// **Repeats.** An update whose values stand already, and a reset of what is reset, change nothing and succeed
/// whatever their base version. So each may be repeated when its answer was lost.
///
/// **Cancellation.** A change may stand although its call was dropped; it stands as a whole.
///
/// **While the store is away**, on a backend that daemons share, looks tell what was last known, with the scope `Degraded`, and
/// changes are refused as `StoreUnavailable`. A change whose answer was lost is `OutcomeUnknown`.
///
/// **Errors.** What is refused leaves the last good values. Besides those named: any bound reached is its own
/// `TooMany…` error.
#[async_trait]
pub trait Pipelines: Send + Sync {
    /// A pipeline. Changes nothing. Errors: `PipelineNotFound`.
    async fn get(&self, namespace: Namespace, name: PipelineName)
    -> Result<(Arc<Pipeline>, Scope)>;

    /// Pipelines by name. Each page is one moment; names that exist all the time appear exactly once.
    async fn list(&self, list: ListPipelines) -> Result<PipelinePage>;

    /// Changes values; tells whether the pipeline is new. When it returns, every later call obeys.
    ///
    /// Errors: `InvalidField` with the value's path, `PipelineNotFound`, `PipelineChanged` for another base version.
    async fn update(&self, update: UpdatePipeline) -> Result<(Arc<Pipeline>, bool, Scope)>;

    /// Forgets what updates have set; tells what is left. Errors: `PipelineChanged`.
    async fn reset(&self, reset: ResetPipeline) -> Result<(Option<Arc<Pipeline>>, Scope)>;

    /// Watches a pipeline, which need not exist.
    async fn watch(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<Box<dyn PipelineWatch>>;
}

/// A pipeline under watch.
#[async_trait]
pub trait PipelineWatch: Send {
    /// The pipeline now, at the first call, and then after each change; `None` while there is none. Misses changes that
    /// came while nobody asked, never the last. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<(Option<Arc<Pipeline>>, Scope)>;
}

/// How a call looks up the settings that it is to obey.
#[async_trait]
pub trait PipelineView: Send + Sync {
    /// The pipeline as this daemon knows it. Never waits. On a backend that daemons share it may lag by a moment, by less than
    /// a second while the store answers, and is what was last known while it does not.
    fn find(&self, namespace: &Namespace, name: &str) -> Option<Arc<Pipeline>>;

    /// Brings what [`PipelineView::find`] tells to what stands at some point between this call and its return. Changes nothing else.
    /// Errors: `StoreUnavailable` or `OutcomeUnknown` where that cannot be known; what was last known stays.
    async fn refresh(&self) -> Result<()> {
        Ok(())
    }
}

/// Pipelines that can be looked up while a call is carried out.
pub trait LivePipelines: Pipelines + PipelineView {}

impl<T: Pipelines + PipelineView> LivePipelines for T {}
