//! The backend under test, and the settings that the suite expects of it.

use crate::Pace;
use std::any::Any;
use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::sync::Arc;
use trellis_core::locks::{Locks, MachineConfig};
use trellis_core::{Micros, Namespace};

/// Bounds and periods, small enough for cases to reach them. A backend under test must obey them; it
/// gets them from the suite, so that it cannot forget one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespaces in use at a time.
    pub max_namespaces: usize,
    /// Watches in each namespace.
    pub max_watchers: usize,
    /// Bounds and periods within each namespace.
    pub machine: MachineConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_namespaces: 4,
            max_watchers: 3,
            machine: MachineConfig {
                max_locks: 24,
                max_leases: 90,
                max_waiters: 64,
                max_request_ids: 16,
                request_window: Micros::from_secs(2),
                position_every: Micros::from_millis(200),
            },
        }
    }
}

/// A backend under test: fresh, or at least a namespace that nobody else uses.
pub struct Subject {
    pub(super) handles: Vec<Arc<dyn Locks>>,
    pub(super) namespace: Namespace,
    pub(super) pace: Pace,
    /// Kept until the case has ended.
    owned: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// A backend behind one handle for each daemon. Calls of a case go through the handles by turns.
    #[must_use]
    pub fn new(handles: Vec<Arc<dyn Locks>>, pace: Pace) -> Self {
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
