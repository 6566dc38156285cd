//! A call that goes where locks are granted now, and moves over when the store goes away or comes back, or when its session
//! comes to stand elsewhere.

use super::carried::Carried;
use super::{FallbackLocks, is_away};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::locks::{
    AcquireLocks, AcquiringLocks, Holder, Progress, SessionKey, SharedLocks, Wait, WaitingLocks,
};
use trellis_core::{Micros, Result, Time};

/// A place in the line of the store or of this daemon's own locks.
pub(super) struct FallbackWaiting {
    pub locks: Arc<FallbackLocks>,
    pub acquire: AcquireLocks,
    /// The session that it is of.
    pub carried: Option<Arc<Carried>>,
    /// Told when that stands elsewhere.
    pub moved: Option<watch::Receiver<()>>,
    /// The session in the store in which `inner` waits there.
    pub there: Option<SessionKey>,
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

/// How a call begins.
enum Beginning {
    Ended(Progress),
    Waits,
    /// Its session does not stand in the store yet.
    Nowhere,
}

impl FallbackWaiting {
    /// Begins where calls go now.
    async fn begin(&mut self) -> Beginning {
        let now = self.locks.clock.mono();
        let mut acquire = self.acquire.clone();
        if let Wait::For(max_wait) = acquire.wait {
            let deadline = *self.deadline.get_or_insert(now + max_wait);
            acquire.wait = Wait::For(deadline - now);
        }
        self.here = self.locks.may_grant(&acquire);
        match self.session().await {
            Err(error) => return Beginning::Ended(Progress::Ended(Err(error))),
            Ok(Some(Some(key))) => acquire.holder = Holder::Session(key),
            Ok(Some(None)) => return Beginning::Nowhere,
            Ok(None) => {}
        }
        let acquiring = if self.here {
            Arc::clone(&self.locks.local).acquire(acquire)
        } else {
            let primary: Arc<dyn SharedLocks> = Arc::clone(&self.locks.primary);
            primary.acquire(acquire)
        };
        match acquiring {
            AcquiringLocks::Done(result) => Beginning::Ended(Progress::Ended(result)),
            AcquiringLocks::Waiting(waiting) => {
                self.inner = Some(waiting);
                Beginning::Waits
            }
        }
    }

    /// The session in which it begins, if it is of one, and that stands there.
    async fn session(&mut self) -> Result<Option<Option<SessionKey>>> {
        let (Some(carried), Holder::Session(key)) = (&self.carried, &self.acquire.holder) else {
            return Ok(None);
        };
        if self.here {
            let here = self.locks.session_here(carried, *key).await?;
            return Ok(Some(Some(here)));
        }
        self.there = carried.stands(*key)?.0;
        Ok(Some(self.there))
    }

    /// Its session does not stand there any more where it waits.
    fn is_left(&self) -> bool {
        let carried = self.carried.as_ref().filter(|_| !self.here);
        carried.is_some_and(|carried| carried.there() != self.there)
    }

    /// Waits until its session stands in the store, or it may be granted here; its end if its time is over before.
    async fn nowhere(&mut self) -> Option<Progress> {
        let left_us = match self.acquire.wait {
            Wait::Try => Micros::ZERO,
            Wait::For(_) => self.deadline.unwrap_or_default() - self.locks.clock.mono(),
        };
        if left_us == Micros::ZERO {
            return Some(Progress::Ended(Err(self.locks.away())));
        }
        let carried = self.carried.as_ref();
        tokio::select! {
            () = left(self.moved.as_mut(), carried, None) => {}
            _ = self.opening.changed() => {}
            () = tokio::time::sleep(left_us.into()) => {}
        }
        None
    }

    /// What it has come to where it waits; `None` when it is to begin elsewhere.
    async fn wait(&mut self) -> Option<Progress> {
        let (here, there) = (self.here, self.there);
        let may_move = || here || self.locks.could_grant(&self.acquire);
        let moves = |open: &bool| *open != here && may_move();
        let carried = self.carried.as_ref().filter(|_| !here);
        let left = left(self.moved.as_mut(), carried, there);
        let inner = self.inner.as_mut()?;
        tokio::select! {
            biased;
            progress = inner.next() => Some(progress),
            _ = self.opening.wait_for(moves) => None,
            () = left => None,
        }
    }
}

/// Waits until a session does not stand there any more; for ever without one.
async fn left(
    moved: Option<&mut watch::Receiver<()>>,
    carried: Option<&Arc<Carried>>,
    there: Option<SessionKey>,
) {
    match (moved, carried) {
        (Some(moved), Some(carried)) => {
            let _ = moved.wait_for(|()| carried.there() != there).await;
        }
        _ => std::future::pending().await,
    }
}

#[async_trait]
impl WaitingLocks for FallbackWaiting {
    async fn next(&mut self) -> Progress {
        loop {
            let progress = if self.inner.is_some() {
                self.wait().await
            } else {
                match self.begin().await {
                    Beginning::Waits => continue,
                    Beginning::Ended(progress) => Some(progress),
                    Beginning::Nowhere => match self.nowhere().await {
                        Some(end) => return end,
                        None => continue,
                    },
                }
            };
            match progress {
                None => self.inner = None,
                // A place is told once, also to a call that has moved.
                Some(Progress::Queued(_)) if self.here && self.queued => {}
                Some(Progress::Queued(place)) => {
                    self.queued = true;
                    return Progress::Queued(place);
                }
                // What a session was granted that has been left ends with that.
                Some(Progress::Ended(_)) if self.is_left() => self.inner = None,
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
