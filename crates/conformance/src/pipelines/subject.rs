//! The backend under test, and the settings that the suite expects of it.

use std::future::{IntoFuture, Ready, ready};
use std::sync::Arc;
use trellis_core::limits::Limits;
use trellis_core::pipelines::{PipelineBounds, Pipelines};

/// Bounds, small enough for cases to reach them. A backend under test must obey them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces with updates in force.
    pub max_namespaces: usize,
    /// Bounds on pipelines.
    pub bounds: PipelineBounds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_namespaces: 3,
            bounds: PipelineBounds {
                max_pipelines: 12,
                max_steps: 4,
                ..PipelineBounds::default()
            },
        }
    }
}

/// A fresh backend under test, without a configuration of pipelines. Limits refill by Tokio's time, which is paused.
pub struct Subject {
    pub(super) pipelines: Arc<dyn Pipelines>,
    pub(super) limits: Arc<dyn Limits>,
}

impl Subject {
    /// Pipelines, and the limits that obey them.
    #[must_use]
    pub fn new(pipelines: Arc<dyn Pipelines>, limits: Arc<dyn Limits>) -> Self {
        Self { pipelines, limits }
    }
}

/// Ready at once, so that a constructor need not be `async`.
impl IntoFuture for Subject {
    type Output = Self;
    type IntoFuture = Ready<Self>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self)
    }
}
