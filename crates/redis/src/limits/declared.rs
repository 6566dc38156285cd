//! Limits that are declared again in every history of the store: who misses one waits until that is done.

use super::RedisLimits;
use super::acquire::Attempt;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::timeout;
use trellis_core::limits::AcquireRequest;
use trellis_core::{ErrorCode, Result};

impl RedisLimits {
    /// Lets calls that miss a limit wait, for at most the store's timeout, while this daemon has yet to declare its
    /// own in the store's present generation. `declared` tells the last one in which it has. The first caller of
    /// this is heard.
    pub fn await_declarations(&self, declared: watch::Receiver<Option<u64>>) {
        // Another one would tell of the same declarations.
        let _ = self.declared.set(declared);
    }

    /// Makes a call, and once more where the limit that it missed was not declared yet.
    pub(super) async fn attempt_once_declared(
        &self,
        request: &Arc<AcquireRequest>,
    ) -> Result<Attempt> {
        let generation = self.store.session().map(|session| session.generation);
        let was_declared = generation.is_none_or(|generation| self.is_declared_in(generation));
        match (self.attempt(request).await, generation) {
            (Err(error), Some(generation))
                if error.code == ErrorCode::LimitNotFound && !was_declared =>
            {
                self.declared_in(generation).await;
                self.attempt(request).await
            }
            (attempt, _) => attempt,
        }
    }

    fn is_declared_in(&self, generation: u64) -> bool {
        let declared = self.declared.get();
        declared.is_none_or(|declared| *declared.borrow() == Some(generation))
    }

    /// Waits until the limits are declared in that generation or a later one, within the store's timeout.
    pub(super) async fn declared_in(&self, generation: u64) {
        let Some(declared) = self.declared.get() else {
            return;
        };
        let mut declared = declared.clone();
        let told = declared.wait_for(|last| last.is_some_and(|last| last >= generation));
        // Without an end of it the call tells what it misses.
        let _ = timeout(self.store.timeout(), told).await;
    }
}
