//! The limits port with the limits of pipelines in it.
//!
//! A call that names no limit of a pipeline goes on as it came, without a future of its own.

use super::Shared;
use async_trait::async_trait;
use std::sync::Arc;
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, Charge, DeleteLimit,
    ExtendReservation, FallbackStatus, LimitPage, LimitState, Limits, LimitsStatus, ListBuckets,
    ListLimits, ReportThrottled, ResetLimit, SetLimit, Settle, Settled, SpecSource,
};
use trellis_core::pipelines::limit_parts;
use trellis_core::{Key, Micros, Name, Namespace, Result, Scope};

/// Limits, those of pipelines included.
pub struct PipelineLimits {
    shared: Arc<Shared>,
}

impl PipelineLimits {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn inner(&self) -> &Arc<dyn Limits> {
        &self.shared.limits
    }

    async fn ensure_all(&self, namespace: &Namespace, charges: &[Charge]) -> Result<()> {
        for charge in charges {
            self.shared.ensure(namespace, &charge.limit).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Limits for PipelineLimits {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        let is_stale = |charge: &Charge| self.shared.is_stale(&request.namespace, &charge.limit);
        if !request.charges.iter().any(is_stale) {
            return Arc::clone(self.inner()).acquire(request);
        }
        Acquiring::Waiting(Box::pin(async move {
            self.ensure_all(&request.namespace, &request.charges)
                .await?;
            Arc::clone(self.inner()).acquire(request).await
        }))
    }

    async fn settle(&self, settle: Settle) -> Result<Settled> {
        self.inner().settle(settle).await
    }

    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired> {
        self.ensure_all(&extend.namespace, &extend.charges).await?;
        self.inner().extend(extend).await
    }

    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)> {
        self.shared.ensure(&namespace, &limit).await?;
        self.inner().peek(namespace, limit, key).await
    }

    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)> {
        if limit_parts(set.name.as_str()).is_none() {
            return self.inner().set_limit(set).await;
        }
        let _turn = self.shared.turn.lock().await;
        let (namespace, name) = (set.namespace.clone(), set.name.clone());
        let by_hand = set.source == SpecSource::SetLimit;
        let answer = self.inner().set_limit(set).await?;
        // It holds until the pipeline changes; what the configuration declares does not.
        if !by_hand {
            return Ok(answer);
        }
        if let Some(spec) = self.shared.spec(&namespace, &name) {
            self.shared.declared.insert(&namespace, &name, spec);
        }
        Ok(answer)
    }

    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)> {
        if limit_parts(delete.name.as_str()).is_none() {
            return self.inner().delete_limit(delete).await;
        }
        let _turn = self.shared.turn.lock().await;
        let (namespace, name) = (delete.namespace.clone(), delete.name.clone());
        let answer = self.inner().delete_limit(delete).await?;
        self.shared.declared.remove(&namespace, &name);
        Ok(answer)
    }

    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage> {
        self.inner().list_limits(list).await
    }

    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage> {
        self.shared.ensure(&list.namespace, &list.limit).await?;
        self.inner().list_buckets(list).await
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        self.shared.ensure(&reset.namespace, &reset.name).await?;
        self.inner().reset_limit(reset).await
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        self.shared.ensure(&report.namespace, &report.limit).await?;
        self.inner().report_throttled(report).await
    }

    fn status(&self) -> LimitsStatus {
        self.inner().status()
    }

    fn scope(&self) -> Scope {
        self.inner().scope()
    }

    fn fallback(&self) -> Option<FallbackStatus> {
        self.inner().fallback()
    }
}
