//! A session of a case.

use super::bench::Bench;
use std::sync::Arc;
use trellis_core::locks::{Locks, SessionFeed, SessionNews, SessionState};
use trellis_core::{Micros, Namespace, Result};

/// An attachment to a session.
pub(super) struct TestSession {
    pub(super) locks: Arc<dyn Locks>,
    pub(super) state: SessionState,
    feed: Box<dyn SessionFeed>,
    namespace: Namespace,
}

impl TestSession {
    pub(super) fn new(
        bench: &Bench,
        locks: Arc<dyn Locks>,
        state: SessionState,
        feed: Box<dyn SessionFeed>,
    ) -> Self {
        Self {
            locks,
            state,
            feed,
            namespace: bench.namespace.clone(),
        }
    }

    /// Borrows nothing, so that it may be awaited in any task.
    pub(super) fn keep(&self) -> impl Future<Output = Result<Micros>> + Send + use<> {
        let (locks, namespace, key) = (self.locks.clone(), self.namespace.clone(), self.state.key);
        async move {
            let kept = locks.keep_session(namespace, key).await;
            kept.map(|(remaining, _)| remaining)
        }
    }

    pub(super) async fn close(&self) -> Result<usize> {
        self.locks
            .close_session(self.namespace.clone(), self.state.key)
            .await
    }

    pub(super) fn break_stream(&self) {
        self.locks.break_session(&self.namespace, self.state.key);
    }

    pub(super) async fn news(&mut self) -> SessionNews {
        self.feed.next().await
    }
}
