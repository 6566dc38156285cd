//! A call that waits for another's computation.

use super::RedisCache;
use super::begin::Began;
use super::lines::{Place, Told};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::Notify;
use trellis_core::cache::{FetchOptions, Landing, LeaseEnd, Progress, Wait, Waiting};
use trellis_core::{Error, Result};

/// A place in line; dropping it leaves the line.
pub(super) struct RedisWaiting {
    pub cache: Arc<RedisCache>,
    pub place: Place,
    pub ticket: u64,
    pub options: FetchOptions,
    pub wait: Wait,
    pub woken: Arc<Notify>,
    /// Told parts, which are void when it begins again.
    pub told: bool,
    pub state: Seated,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seated {
    InLine,
    /// Its flight is gone without a trace: it is to begin again.
    Again,
    Ended,
}

impl RedisWaiting {
    /// Begins again. `None`: it is in line again.
    async fn begin_again(&mut self) -> Result<Option<Progress>> {
        let (namespace, key, _) = self.place.clone();
        let wanted = (self.options, self.wait);
        let cache = Arc::clone(&self.cache);
        let mut began = cache.begin_keys(&namespace, &[key], wanted).await?;
        let landing = match began.pop().unwrap_or_else(|| Err(nothing()))? {
            Began::Hit(hit, refresh) => {
                if let Some(lease) = refresh {
                    cache.let_lease_go(&namespace, lease.id);
                }
                Landing::Value(hit)
            }
            Began::Lease(lease) => Landing::Lease(lease),
            Began::Failed(failure) => Landing::Failed(failure),
            // One key alone is never too much.
            Began::Busy | Began::Deferred => return Err(nothing()),
            Began::Waiting(waiting) => {
                *self = waiting;
                return Ok(None);
            }
        };
        self.state = Seated::Ended;
        Ok(Some(Progress::Ended(landing)))
    }
}

fn nothing() -> Error {
    crate::failure::unreadable("a key that was begun again has no answer")
}

#[async_trait]
impl Waiting for RedisWaiting {
    async fn next(&mut self) -> Result<Progress> {
        loop {
            if self.state == Seated::Again {
                if std::mem::take(&mut self.told) {
                    return Ok(Progress::Restarted(LeaseEnd::Unknown));
                }
                if let Some(progress) = self.begin_again().await? {
                    return Ok(progress);
                }
            }
            match self.cache.lines.take(&self.place, self.ticket) {
                Some(Told::Progress(progress)) => {
                    match &progress {
                        Progress::Ended(_) => self.state = Seated::Ended,
                        Progress::Part(_) => self.told = true,
                        Progress::Restarted(_) => self.told = false,
                    }
                    return Ok(progress);
                }
                Some(Told::Again) => {
                    self.state = Seated::Again;
                    let (namespace, key, _) = &self.place;
                    self.cache.let_place_go(namespace, key, self.ticket);
                }
                None => self.woken.notified().await,
            }
        }
    }
}

impl Drop for RedisWaiting {
    fn drop(&mut self) {
        if self.state != Seated::InLine {
            return;
        }
        let (in_line, lease) = self.cache.lines.leave(&self.place, self.ticket);
        let (namespace, key, _) = &self.place;
        if in_line {
            self.cache.let_place_go(namespace, key, self.ticket);
        }
        if let Some(lease) = lease {
            self.cache.let_lease_go(namespace, lease);
        }
    }
}
