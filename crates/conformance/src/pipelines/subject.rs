//! The backend under test, and the settings that the suite expects of it.

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
                max_steps: 8,
                ..PipelineBounds::default()
            },
        }
    }
}

/// What one daemon serves: pipelines, and the limits that obey them.
pub struct Served {
    /// The pipelines, without a configuration.
    pub pipelines: Arc<dyn Pipelines>,
    /// The limits.
    pub limits: Arc<dyn Limits>,
}

/// A backend under test.
pub type Subject = crate::Subject<Served>;

impl Subject {
    /// One daemon on paused time.
    #[must_use]
    pub fn of_one(pipelines: Arc<dyn Pipelines>, limits: Arc<dyn Limits>) -> Self {
        let served = Served { pipelines, limits };
        Self::new(vec![Arc::new(served)], crate::Pace::Virtual)
    }
}
