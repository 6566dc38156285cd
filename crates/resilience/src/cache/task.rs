//! Watches over the store, and tells it what was forgotten without it.

use super::journal::Note;
use super::{Closing, FallbackCache};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trellis_core::Result;
use trellis_core::cache::Precondition;

/// How long to wait before what could not be told is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Opens and closes the cache's fallback.
pub struct CacheFallbackTask {
    pub(super) cache: Arc<FallbackCache>,
}

impl CacheFallbackTask {
    /// Works until it is told to stop. A journal that is not told by then is lost with the daemon.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.watch()).await;
    }

    async fn watch(&self) {
        let cache = &self.cache;
        loop {
            if !cache.view.state().up {
                cache.trip();
                cache.view.until(true).await;
            }
            if cache.is_open() {
                self.try_to_close().await;
                continue;
            }
            tokio::select! {
                () = cache.view.until(false) => {}
                () = cache.switch.news.notified() => {}
            }
        }
    }

    /// Waits for the dwell, tells the journal, and closes if nothing was noted meanwhile.
    async fn try_to_close(&self) {
        let cache = &self.cache;
        let dwell = cache.switch.may_close_in();
        tokio::select! {
            () = tokio::time::sleep(dwell.into()) => {}
            () = cache.view.until(false) => return,
        }
        loop {
            let notes = {
                let mut journal = cache.journal.lock();
                let notes = journal.all();
                journal.told();
                notes
            };
            for (index, note) in notes.iter().enumerate() {
                if let Err(error) = self.tell(note).await {
                    tracing::warn!(%error, "what was deleted without the store could not be told yet");
                    self.put_back(&notes[index..]);
                    tokio::time::sleep(AGAIN).await;
                    return;
                }
            }
            match cache.close_if_told() {
                Closing::Closed => break,
                Closing::NotTold => {}
                Closing::AwayAgain => return,
            }
        }
        cache.empty().await;
    }

    /// Tells the store; again after an unknown outcome changes nothing more.
    async fn tell(&self, note: &Note) -> Result<()> {
        let primary = &self.cache.primary;
        match note {
            Note::Clear(namespace, target) => {
                primary.clear(namespace, target.clone()).await?;
            }
            Note::Delete(namespace, key) => {
                let always = Precondition::Always;
                primary.delete(namespace, key, always).await?;
            }
        }
        Ok(())
    }

    fn put_back(&self, notes: &[Note]) {
        let mut journal = self.cache.journal.lock();
        for note in notes {
            match note {
                Note::Clear(namespace, target) => journal.clear(namespace, target),
                Note::Delete(namespace, key) => journal.delete(namespace, key),
            }
        }
    }
}
