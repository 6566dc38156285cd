//! A call that goes where locks are granted now, and moves over when the store goes away or comes back.

use super::{FallbackLocks, is_away};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::Time;
use trellis_core::locks::{
    AcquireLocks, AcquiringLocks, Progress, SharedLocks, Wait, WaitingLocks,
};

/// A place in the line of the store or of this daemon's own locks.
pub(super) struct FallbackWaiting {
    pub locks: Arc<FallbackLocks>,
    pub acquire: AcquireLocks,
    /// `None`: it is to begin.
    pub inner: Option<Box<dyn WaitingLocks>>,
    /// Whether `inner` waits here.
    pub here: bool,
    /// When its wait is over; set when it begins.
    pub deadline: Option<Time>,
    pub opening: watch::Receiver<bool>,
    /// Its place was told.
    pub queued: bool,
}

impl FallbackWaiting {
    /// Begins where calls go now; its end if that is decided at once.
    fn begin(&mut self) -> Option<Progress> {
        let now = self.locks.clock.mono();
        let mut acquire = self.acquire.clone();
        if let Wait::For(max_wait) = acquire.wait {
            let deadline = *self.deadline.get_or_insert(now + max_wait);
            acquire.wait = Wait::For(deadline - now);
        }
        self.here = self.locks.may_grant(&acquire);
        let acquiring = if self.here {
            Arc::clone(&self.locks.local).acquire(acquire)
        } else {
            let primary: Arc<dyn SharedLocks> = Arc::clone(&self.locks.primary);
            primary.acquire(acquire)
        };
        match acquiring {
            AcquiringLocks::Done(result) => Some(Progress::Ended(result)),
            AcquiringLocks::Waiting(waiting) => {
                self.inner = Some(waiting);
                None
            }
        }
    }
}

#[async_trait]
impl WaitingLocks for FallbackWaiting {
    async fn next(&mut self) -> Progress {
        loop {
            let progress = match &mut self.inner {
                None => self.begin(),
                Some(inner) => {
                    let here = self.here;
                    let may_move = || here || self.locks.could_grant(&self.acquire);
                    let moves = |open: &bool| *open != here && may_move();
                    tokio::select! {
                        biased;
                        progress = inner.next() => Some(progress),
                        _ = self.opening.wait_for(moves) => {
                            self.inner = None;
                            None
                        }
                    }
                }
            };
            match progress {
                None => {}
                // A place is told once, also to a call that has moved.
                Some(Progress::Queued(_)) if self.here && self.queued => {}
                Some(Progress::Queued(place)) => {
                    self.queued = true;
                    return Progress::Queued(place);
                }
                Some(Progress::Ended(result)) if !self.here && is_away(&result) => {
                    self.locks.trip();
                    self.inner = None;
                    if !self.locks.may_grant(&self.acquire) {
                        return Progress::Ended(result);
                    }
                }
                Some(Progress::Ended(Ok(mut acquired))) if self.here => {
                    self.locks.note(&self.acquire, &mut acquired);
                    return Progress::Ended(Ok(acquired));
                }
                Some(progress) => return progress,
            }
        }
    }
}
