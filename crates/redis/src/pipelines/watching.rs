//! A pipeline under watch. Wakes up at the changes of all, which are rare.

use super::RedisPipelines;
use super::known::Known;
use async_trait::async_trait;
use parking_lot::RwLock;
use std::sync::{Arc, Weak};
use tokio::sync::watch;
use trellis_core::pipelines::{Pipeline, PipelineName, PipelineWatch};
use trellis_core::{Error, ErrorCode, Namespace, Result, Scope};

pub(super) struct Watching {
    pipelines: Weak<RedisPipelines>,
    known: Arc<RwLock<Known>>,
    changes: watch::Receiver<()>,
    pipeline: (Namespace, PipelineName),
    /// Whether anything was told yet.
    has_told: bool,
    /// What was told last.
    last: Option<Arc<Pipeline>>,
}

impl Watching {
    pub fn new(pipelines: &RedisPipelines, namespace: Namespace, name: PipelineName) -> Self {
        let mut changes = pipelines.changes.subscribe();
        changes.mark_changed();
        Self {
            pipelines: pipelines.me.clone(),
            known: Arc::clone(&pipelines.known),
            changes,
            pipeline: (namespace, name),
            has_told: false,
            last: None,
        }
    }

    fn scope(&self) -> Result<Scope> {
        let pipelines = self.pipelines.upgrade().ok_or_else(ending)?;
        Ok(pipelines.scope())
    }
}

#[async_trait]
impl PipelineWatch for Watching {
    async fn next(&mut self) -> Result<(Option<Arc<Pipeline>>, Scope)> {
        loop {
            self.changes.changed().await.map_err(|_| ending())?;
            let (namespace, name) = &self.pipeline;
            let now = self.known.read().find(namespace, name.as_str()).cloned();
            if !self.has_told || self.last != now {
                let scope = self.scope()?;
                (self.has_told, self.last) = (true, now.clone());
                return Ok((now, scope));
            }
        }
    }
}

fn ending() -> Error {
    Error::new(ErrorCode::Draining, "the daemon is shutting down")
}
