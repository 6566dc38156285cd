//! The backend under test.

use crate::Pace;
use std::any::Any;
use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::sync::Arc;
use trellis_core::Namespace;
use trellis_core::limits::Limits;

/// A backend under test: fresh, or at least a namespace that nobody else uses.
pub struct Subject {
    pub(super) handles: Vec<Arc<dyn Limits>>,
    pub(super) namespace: Namespace,
    pub(super) pace: Pace,
    /// Kept until the case has ended.
    owned: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// A backend behind one handle for each daemon. Calls of a case go through the handles by turns.
    #[must_use]
    pub fn new(handles: Vec<Arc<dyn Limits>>, pace: Pace) -> Self {
        assert!(!handles.is_empty(), "a subject needs a handle");
        Self {
            handles,
            namespace: Namespace::new("conformance", "namespace").unwrap(),
            pace,
            owned: Box::new(()),
        }
    }

    /// For a store that outlives the case: the namespace to use, never used before. The suite derives
    /// others from it by a suffix.
    #[must_use]
    pub fn in_namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = namespace;
        self
    }

    /// Keeps `owned` until the case has ended: servers, processes, temporary folders.
    #[must_use]
    pub fn owning(mut self, owned: impl Any + Send + Sync) -> Self {
        self.owned = Box::new(owned);
        self
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

impl fmt::Debug for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subject")
            .field("handles", &self.handles.len())
            .field("namespace", &self.namespace)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}
