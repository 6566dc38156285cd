//! How readers of a partition are told of new records: one watched value, so that nothing is missed and nothing piles up.

use tokio::sync::watch;
use trellis_core::log::{LogError, LogResult, Offset};

/// Where a partition ends, watched.
pub(super) struct End(watch::Sender<State>);

#[derive(Clone, Copy)]
struct State {
    end: Offset,
    closed: bool,
}

impl End {
    /// A partition that ends at `end`.
    pub(super) fn new(end: Offset) -> Self {
        Self(watch::Sender::new(State { end, closed: false }))
    }

    /// The end has risen.
    pub(super) fn rise(&self, end: Offset) {
        self.0.send_if_modified(|state| {
            let risen = end > state.end;
            state.end = state.end.max(end);
            risen
        });
    }

    /// Nothing comes any more: who waits is told so.
    pub(super) fn close(&self) {
        self.0.send_modify(|state| state.closed = true);
    }

    /// Waits until the end is above `from`. Safe to cancel.
    pub(super) async fn above(&self, from: Offset) -> LogResult<()> {
        let mut watched = self.0.subscribe();
        let reached = watched.wait_for(|state| state.end > from || state.closed);
        match reached.await {
            Ok(state) if state.end > from => Ok(()),
            _ => Err(LogError::Closed),
        }
    }
}
