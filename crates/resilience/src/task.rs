//! Watches over the store, and merges what was spent without it.

use crate::fallback::FallbackLimits;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long to wait before a batch that could not be merged is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Opens and closes the fallback.
pub struct FallbackTask {
    pub(crate) limits: Arc<FallbackLimits>,
}

impl FallbackTask {
    /// Works until it is told to stop. What is not merged by then is lost with the daemon, as a debt of the
    /// store that it never hears of.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&self) {
        let limits = &self.limits;
        loop {
            if !limits.view.state().up {
                limits.trip();
            } else if limits.is_open() || !limits.ledger.lock().is_empty() {
                self.try_to_close().await;
                continue;
            }
            tokio::select! {
                () = limits.view.changed() => {}
                () = limits.spent.notified() => {}
            }
        }
    }

    /// Waits for the dwell, merges, and closes if the store is still there.
    async fn try_to_close(&self) {
        let limits = &self.limits;
        let dwell = limits.breaker.lock().may_close_in(limits.clock.mono());
        tokio::select! {
            () = tokio::time::sleep(dwell.into()) => {}
            () = limits.view.changed() => return,
        }
        let incarnation = limits.view.state().incarnation;
        loop {
            let next = limits.ledger.lock().next(&incarnation.to_string());
            let Some((name, batch)) = next else { break };
            match limits.reconcile.merge(&name, &batch).await {
                Ok(()) => limits.ledger.lock().merged(),
                Err(error) => {
                    tracing::warn!(%error, "what was spent without the store could not be merged yet");
                    tokio::time::sleep(AGAIN).await;
                    return;
                }
            }
        }
        if limits.is_open() && limits.view.state().up {
            limits.close();
        }
    }
}
