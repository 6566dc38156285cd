//! A call that waits, and moves over when the store goes away or comes back.

use super::{FallbackCache, marked, renamed};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::watch;
use trellis_core::cache::{Begin, Begun, Cache, Landing, LeaseEnd, LeaseId, Progress, Waiting};
use trellis_core::{Error, ErrorCode, Result, Scope};

/// A place in the line of the store or of this daemon's own cache.
pub(super) struct FallbackWaiting {
    pub cache: Arc<FallbackCache>,
    /// `None`: it is to begin again.
    pub inner: Option<Box<dyn Waiting>>,
    /// Whether `inner` waits here.
    pub here: bool,
    /// Of its key alone.
    pub begin: Begin,
    pub opening: watch::Receiver<bool>,
    /// Told parts, which are void when it begins again.
    pub told: bool,
}

impl FallbackCache {
    /// Begins in the store, or here while it is away; tells where.
    pub(super) async fn begin_anywhere(
        &self,
        begin: Begin,
    ) -> Result<(Vec<Result<Begun>>, Scope, bool)> {
        if !self.is_open() {
            let answer = Arc::clone(&self.primary).begin(begin.clone()).await;
            if !self.is_away(&answer) {
                let (answers, scope) = answer?;
                for one in &answers {
                    self.is_away(one);
                }
                return Ok((answers, scope, false));
            }
        }
        self.note_used(&begin.namespace);
        let (answers, _) = Arc::clone(&self.local).begin(begin).await?;
        let answers = answers.into_iter().map(|one| one.map(marked)).collect();
        Ok((answers, self.degraded_scope(), true))
    }
}

impl FallbackWaiting {
    /// Begins again, where calls go now. `None`: it is in line again.
    async fn begin_again(&mut self) -> Result<Option<Progress>> {
        let began = self.cache.begin_anywhere(self.begin.clone()).await;
        let (mut answers, _, here) = began?;
        self.here = here;
        let landing = match answers.pop().unwrap_or_else(|| Err(no_answer()))? {
            Begun::Waiting(waiting) => {
                self.inner = Some(waiting);
                return Ok(None);
            }
            Begun::Hit { hit, refresh } => {
                if let Some(lease) = refresh {
                    self.let_go(lease.id);
                }
                Landing::Value(hit)
            }
            Begun::Lease(lease) => Landing::Lease(lease),
            Begun::Failed(failure) => Landing::Failed(failure),
            // One key alone is never too much.
            Begun::Busy | Begun::Deferred => return Err(no_answer()),
        };
        Ok(Some(Progress::Ended(landing)))
    }

    fn let_go(&self, lease: LeaseId) {
        self.cache.abandon(&self.begin.namespace, &[lease]);
    }
}

fn no_answer() -> Error {
    Error::new(
        ErrorCode::Internal,
        "a key that was begun again has no answer",
    )
}

#[async_trait]
impl Waiting for FallbackWaiting {
    async fn next(&mut self) -> Result<Progress> {
        loop {
            let Some(inner) = &mut self.inner else {
                if std::mem::take(&mut self.told) {
                    return Ok(Progress::Restarted(LeaseEnd::Unknown));
                }
                if let Some(progress) = self.begin_again().await? {
                    return Ok(progress);
                }
                continue;
            };
            let here = self.here;
            let progress = tokio::select! {
                biased;
                _ = self.opening.wait_for(|open| *open != here) => None,
                progress = inner.next() => Some(progress),
            };
            match progress {
                None => self.inner = None,
                Some(Err(error)) if !here && error.code == ErrorCode::StoreUnavailable => {
                    self.cache.trip();
                    self.inner = None;
                }
                Some(Ok(Progress::Ended(Landing::Lease(lease)))) if here => {
                    return Ok(Progress::Ended(Landing::Lease(renamed(lease))));
                }
                Some(progress) => {
                    match &progress {
                        Ok(Progress::Part(_)) => self.told = true,
                        Ok(Progress::Restarted(_)) => self.told = false,
                        _ => {}
                    }
                    return progress;
                }
            }
        }
    }
}
