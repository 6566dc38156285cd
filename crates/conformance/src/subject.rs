//! The backend under test, behind whichever port.

use crate::{Bench, Pace, on_real_time};
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::sync::Arc;
use trellis_core::Namespace;

/// A backend of the port `P` under test: fresh, or at least a namespace that nobody else uses.
pub struct Subject<P: ?Sized> {
    pub(crate) handles: Vec<Arc<P>>,
    pub(crate) namespace: Namespace,
    pub(crate) pace: Pace,
    /// Kept until the case has ended.
    owned: Box<dyn Any + Send + Sync>,
}

impl<P: ?Sized> Subject<P> {
    /// A backend behind one handle for each daemon. Calls of a case go through the handles by turns.
    #[must_use]
    pub fn new(handles: Vec<Arc<P>>, pace: Pace) -> Self {
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
impl<P: ?Sized> IntoFuture for Subject<P> {
    type Output = Self;
    type IntoFuture = Ready<Self>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self)
    }
}

impl<P: ?Sized> fmt::Debug for Subject<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subject")
            .field("handles", &self.handles.len())
            .field("namespace", &self.namespace)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

/// Runs a case on a subject; on real time as [`on_real_time`] says.
#[doc(hidden)]
pub async fn run<P: ?Sized>(make: impl AsyncFn() -> Subject<P>, case: impl AsyncFn(&Bench<P>)) {
    let subject = make().await;
    if subject.pace == Pace::Virtual {
        return case(&Bench::new(subject)).await;
    }
    let first = Cell::new(Some(subject));
    on_real_time(async || {
        let subject = match first.take() {
            Some(subject) => subject,
            None => make().await,
        };
        case(&Bench::new(subject)).await;
    })
    .await;
}
