//! Watches over the store, and takes there what was granted without it.

use super::FallbackLocks;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long to wait before what could not be promoted is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Opens and closes the fallback of locks.
pub struct LocksFallbackTask {
    pub(super) locks: Arc<FallbackLocks>,
}

impl LocksFallbackTask {
    /// Works until it is told to stop. What was granted here and is not in the store by then ends with the daemon.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&self) {
        let locks = &self.locks;
        loop {
            if !locks.view.state().up {
                locks.trip();
                locks.view.until(true).await;
            }
            if locks.switch.is_open() {
                self.try_to_close().await;
                continue;
            }
            tokio::select! {
                () = locks.view.until(false) => {}
                () = locks.switch.news.notified() => {}
            }
        }
    }

    /// Waits for the dwell, promotes, closes, and promotes what was granted meanwhile.
    async fn try_to_close(&self) {
        let locks = &self.locks;
        let dwell = locks.switch.may_close_in();
        tokio::select! {
            () = tokio::time::sleep(dwell.into()) => {}
            () = locks.view.until(false) => return,
        }
        if let Err(error) = locks.promote().await {
            tracing::warn!(%error, "what was granted without the store could not be taken there yet");
            return tokio::time::sleep(AGAIN).await;
        }
        if !locks.switch.close(|| {}) {
            return;
        }
        tracing::info!("locks are shared again");
        while let Err(error) = locks.promote().await {
            tracing::warn!(%error, "what was granted without the store could not be taken there yet");
            tokio::time::sleep(AGAIN).await;
            if locks.switch.is_open() {
                return;
            }
        }
    }
}
