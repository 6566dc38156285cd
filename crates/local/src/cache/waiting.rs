//! A call that waits for another's computation.

use super::MemoryCache;
use super::place::Place;
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::Notify;
use trellis_core::Result;
use trellis_core::cache::{Progress, Ticket, Waiting};

/// A place in line; dropping it leaves the line.
pub(super) struct MemoryWaiting {
    pub cache: Arc<MemoryCache>,
    pub place: Arc<Place>,
    pub ticket: Ticket,
    pub woken: Arc<Notify>,
    pub ended: bool,
}

#[async_trait]
impl Waiting for MemoryWaiting {
    async fn next(&mut self) -> Result<Progress> {
        loop {
            let ticket = self.ticket;
            // A place in which a call waits is not dropped.
            let told = self.cache.change_at(&self.place, |space, _, now| {
                let told = space.machine.take(ticket, now);
                if matches!(told, Some(Progress::Ended(_))) {
                    space.part(ticket);
                }
                told
            });
            if let Some(progress) = told.flatten() {
                self.ended = matches!(progress, Progress::Ended(_));
                return Ok(progress);
            }
            self.woken.notified().await;
        }
    }
}

impl Drop for MemoryWaiting {
    fn drop(&mut self) {
        if !self.ended {
            let ticket = self.ticket;
            self.cache.change_at(&self.place, |space, _, now| {
                space.part(ticket);
                space.machine.leave(ticket, now);
            });
        }
    }
}
