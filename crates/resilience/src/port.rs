//! The port: shared while the store is there, this daemon's own while it is not.

use crate::fallback::{Away, FallbackLimits, OURS, away, renamed};
use async_trait::async_trait;
use std::sync::Arc;
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, DeleteLimit, ExtendReservation,
    FallbackStatus, LimitPage, LimitState, Limits, LimitsStatus, ListBuckets, ListLimits, Outcome,
    ReportThrottled, ReservationId, ResetLimit, SetLimit, Settle, Settled, check_charges,
};
use trellis_core::{ErrorCode, Key, Micros, Name, Namespace, Result, Scope};

/// The name that the daemon's own limits know a reservation by, if it was made there.
fn ours(id: &ReservationId) -> Option<ReservationId> {
    let name = id.as_str().strip_prefix(OURS)?;
    ReservationId::new(name).ok()
}

impl FallbackLimits {
    /// What cannot be done by one daemon alone.
    fn check_shared(&self) -> Result<()> {
        if self.is_open() {
            return Err(away("this needs it"));
        }
        Ok(())
    }

    /// Passes an answer of the store on, and opens when it could not be asked.
    fn noted<T>(&self, answer: Result<T>) -> Result<T> {
        if answer
            .as_ref()
            .is_err_and(|error| error.code == ErrorCode::StoreUnavailable)
        {
            self.trip();
        }
        answer
    }
}

#[async_trait]
impl Limits for FallbackLimits {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        self.acquire_kept(&Arc::new(request))
    }

    fn acquire_kept(self: Arc<Self>, request: &Arc<AcquireRequest>) -> Acquiring {
        if let Err(error) = check_charges(&request.charges) {
            return Acquiring::done(Err(error));
        }
        let here = |this: Arc<Self>| {
            let request = AcquireRequest::clone(request);
            Acquiring::Waiting(Box::pin(async move { this.acquire_here(request).await }))
        };
        if self.is_open() {
            return here(self);
        }
        match Arc::clone(&self.primary).acquire_kept(request) {
            Acquiring::Done(decided) => match self.learnt(request, decided.into_inner()) {
                Ok(answer) => Acquiring::done(answer),
                Err(Away) => here(self),
            },
            waiting @ Acquiring::Waiting(_) => {
                Acquiring::Waiting(Box::pin(self.acquire_shared(Arc::clone(request), waiting)))
            }
        }
    }

    async fn settle(&self, mut settle: Settle) -> Result<Settled> {
        let Some(id) = ours(&settle.reservation) else {
            self.check_shared()?;
            return self.noted(self.primary.settle(settle).await);
        };
        settle.reservation = id.clone();
        let namespace = settle.namespace.clone();
        let mut settled = self.local.settle(settle).await?;
        settled.scope = self.degraded_scope();
        self.note_settled((namespace.as_str(), &id), &settled);
        Ok(settled)
    }

    async fn extend(&self, mut extend: ExtendReservation) -> Result<Acquired> {
        let Some(id) = ours(&extend.reservation) else {
            self.check_shared()?;
            return self.noted(self.primary.extend(extend).await);
        };
        if !extend.charges.is_empty() {
            return Err(away(
                "a reservation made without it takes no further charges",
            ));
        }
        extend.reservation = id;
        let mut extended = self.local.extend(extend).await?;
        extended.scope = self.degraded_scope();
        if let Outcome::Granted(Some(granted)) = &mut extended.outcome {
            *granted = renamed(granted)?;
        }
        Ok(extended)
    }

    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)> {
        if !self.is_open() {
            return self.noted(self.primary.peek(namespace, limit, key).await);
        }
        match self.local.peek(namespace, limit, key).await {
            Ok((state, _)) => Ok((state, self.degraded_scope())),
            Err(error) if error.code == ErrorCode::LimitNotFound => {
                Err(away("this daemon has not used that bucket since"))
            }
            Err(error) => Err(error),
        }
    }

    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)> {
        self.check_shared()?;
        self.noted(self.primary.set_limit(set).await)
    }

    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)> {
        self.check_shared()?;
        self.noted(self.primary.delete_limit(delete).await)
    }

    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage> {
        self.check_shared()?;
        self.noted(self.primary.list_limits(list).await)
    }

    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage> {
        self.check_shared()?;
        self.noted(self.primary.list_buckets(list).await)
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        self.check_shared()?;
        self.noted(self.primary.reset_limit(reset).await)
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        if !self.is_open() {
            return self.noted(self.primary.report_throttled(report).await);
        }
        let (pause, _) = self.local.report_throttled(report).await?;
        Ok((pause, self.degraded_scope()))
    }

    fn status(&self) -> LimitsStatus {
        let (shared, here) = (self.primary.status(), self.local.status());
        LimitsStatus {
            granted: shared.granted + here.granted,
            denied: shared.denied + here.denied,
            never: shared.never + here.never,
            timed_out: shared.timed_out + here.timed_out,
            ..shared
        }
    }

    fn scope(&self) -> Scope {
        self.scope_while_open()
            .unwrap_or_else(|| self.primary.scope())
    }

    fn fallback(&self) -> Option<FallbackStatus> {
        Some(self.status_of_fallback())
    }
}
