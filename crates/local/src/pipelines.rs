//! Pipelines in memory: one catalogue for each namespace that an update has changed.
//!
//! Looking a setting up takes one lock that readers share; updates are rare. A namespace without any update costs
//! nothing, and one whose updates are all reset is dropped. What updates have set is lost with the process.

use async_trait::async_trait;
use parking_lot::{RwLock, RwLockUpgradableReadGuard, RwLockWriteGuard};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::pipelines::{
    Base, Catalogue, Change, ListPipelines, Pipeline, PipelineName, PipelinePage, PipelineView,
    PipelineWatch, Pipelines, ResetPipeline, UpdatePipeline,
};
use trellis_core::{Clock, Error, ErrorCode, Namespace, Result, Scope, Time};

/// Bounds of [`MemoryPipelines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPipelinesConfig {
    /// Namespaces with updates in force.
    pub max_namespaces: usize,
}

impl Default for MemoryPipelinesConfig {
    fn default() -> Self {
        Self {
            max_namespaces: 1_024,
        }
    }
}

/// Pipelines of this process alone.
pub struct MemoryPipelines {
    config: MemoryPipelinesConfig,
    clock: Arc<dyn Clock>,
    state: Arc<RwLock<State>>,
    /// Sent after each change; who watches looks what it was.
    changes: watch::Sender<()>,
}

struct State {
    base: Arc<Base>,
    spaces: HashMap<Namespace, Catalogue>,
    /// No version of a namespace to come is this low.
    floor: u64,
}

impl State {
    fn find(&self, namespace: &Namespace, name: &str) -> Option<&Arc<Pipeline>> {
        match self.spaces.get(namespace) {
            Some(space) => space.find(name),
            None => self.base.find(name),
        }
    }
}

impl MemoryPipelines {
    /// The pipelines of `base`, without any update.
    #[must_use]
    pub fn new(base: Base, config: MemoryPipelinesConfig, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            base: Arc::new(base),
            spaces: HashMap::new(),
            floor: 0,
        };
        Self {
            config,
            clock,
            state: Arc::new(RwLock::new(state)),
            changes: watch::Sender::new(()),
        }
    }

    /// Runs `change` on the catalogue of a namespace, made when there is none and dropped when nothing is left in it. At the
    /// bound on namespaces only a change that leaves something behind fails.
    fn change(
        &self,
        namespace: &Namespace,
        change: impl FnOnce(&mut Catalogue, Time) -> Result<Change>,
    ) -> Result<Change> {
        let state = self.state.upgradable_read();
        let wall = self.clock.now().wall.max(Time(state.floor + 1));
        let known = state.spaces.get(namespace).cloned();
        let is_new = known.is_none();
        let mut space = known.unwrap_or_else(|| Catalogue::new(Arc::clone(&state.base)));
        let changed = change(&mut space, wall)?;
        if !changed.is_one() {
            return Ok(changed);
        }
        if is_new && state.spaces.len() >= self.config.max_namespaces {
            let max = self.config.max_namespaces;
            let message = format!("{max} namespaces have pipelines that updates have changed");
            return Err(Error::new(ErrorCode::TooManyNamespaces, message));
        }
        let mut state = RwLockUpgradableReadGuard::upgrade(state);
        if space.is_empty() {
            state.floor = state.floor.max(space.last_version());
            state.spaces.remove(namespace);
        } else {
            state.spaces.insert(namespace.clone(), space);
        }
        drop::<RwLockWriteGuard<'_, State>>(state);
        self.changes.send_replace(());
        Ok(changed)
    }
}

impl PipelineView for MemoryPipelines {
    fn find(&self, namespace: &Namespace, name: &str) -> Option<Arc<Pipeline>> {
        self.state.read().find(namespace, name).cloned()
    }
}

#[async_trait]
impl Pipelines for MemoryPipelines {
    async fn get(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<(Arc<Pipeline>, Scope)> {
        let found = self.find(&namespace, name.as_str());
        let pipeline = found.ok_or_else(|| {
            let message = format!("pipeline {name} does not exist: see List for those that do");
            Error::new(ErrorCode::PipelineNotFound, message)
        })?;
        Ok((pipeline, Scope::Local))
    }

    async fn list(&self, list: ListPipelines) -> Result<PipelinePage> {
        let state = self.state.read();
        let (pipelines, more) = match state.spaces.get(&list.namespace) {
            Some(space) => space.list(&list),
            None => Catalogue::new(Arc::clone(&state.base)).list(&list),
        };
        Ok(PipelinePage {
            pipelines,
            more,
            scope: Scope::Local,
        })
    }

    async fn update(&self, update: UpdatePipeline) -> Result<(Arc<Pipeline>, bool, Scope)> {
        let namespace = update.namespace.clone();
        let change = self.change(&namespace, |space, wall| space.update(&update, wall))?;
        let gone = || Error::new(ErrorCode::Internal, "an update left no pipeline");
        let created = change.before.is_none();
        Ok((change.after.ok_or_else(gone)?, created, Scope::Local))
    }

    async fn reset(&self, reset: ResetPipeline) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        let namespace = reset.namespace.clone();
        let change = self.change(&namespace, |space, wall| space.reset(&reset, wall))?;
        Ok((change.after, Scope::Local))
    }

    async fn watch(
        &self,
        namespace: Namespace,
        name: PipelineName,
    ) -> Result<Box<dyn PipelineWatch>> {
        let mut changes = self.changes.subscribe();
        changes.mark_changed();
        Ok(Box::new(Watch {
            state: Arc::clone(&self.state),
            changes,
            pipeline: (namespace, name),
            has_told: false,
            last: None,
        }))
    }
}

/// Watches one pipeline. Wakes up at the changes of all, which are rare.
struct Watch {
    state: Arc<RwLock<State>>,
    changes: watch::Receiver<()>,
    pipeline: (Namespace, PipelineName),
    /// Whether anything was told yet.
    has_told: bool,
    /// What was told last.
    last: Option<Arc<Pipeline>>,
}

#[async_trait]
impl PipelineWatch for Watch {
    async fn next(&mut self) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        loop {
            let (namespace, name) = &self.pipeline;
            let changed = self.changes.changed().await;
            let now = self.state.read().find(namespace, name.as_str()).cloned();
            if !self.has_told || self.last != now {
                (self.has_told, self.last) = (true, now.clone());
                return Ok((now, Scope::Local));
            }
            changed.map_err(|_| Error::new(ErrorCode::Draining, "the daemon is shutting down"))?;
        }
    }
}
