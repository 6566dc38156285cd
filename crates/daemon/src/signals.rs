//! The signals that end the daemon.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM and SIGINT. While this exists they do not kill the process.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Takes the signals over. Needs a runtime.
    pub(crate) fn take_over() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Cancels `shutdown` at the first signal and returns at the second.
    pub(crate) async fn first_then_second(mut self, shutdown: CancellationToken) {
        // Bound first: an event that the level leaves out evaluates none of its fields.
        let signal = self.next().await;
        tracing::info!(signal, "told to end");
        shutdown.cancel();
        let signal = self.next().await;
        tracing::warn!(signal, "told to end again: cutting at once");
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
