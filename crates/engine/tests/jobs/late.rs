//! Limits as they are across a network: nothing is answered at once, and some calls never.

use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, DeleteLimit, ExtendReservation,
    LimitPage, LimitState, Limits, LimitsStatus, ListBuckets, ListLimits, ReportThrottled,
    ResetLimit, SetLimit, Settle, Settled,
};
use trellis_core::{Key, Micros, Name, Namespace, Result, Scope};
use trellis_engine::JobPorts;

/// How long a call is on its way.
const HOP: Duration = Duration::from_millis(2);

/// See the module.
pub struct LateLimits {
    pub inner: Arc<dyn Limits>,
    /// Calls take effect, and nobody is told.
    pub silent: AtomicBool,
}

pub fn late(ports: JobPorts) -> JobPorts {
    let late = |inner| LateLimits {
        inner,
        silent: AtomicBool::new(false),
    };
    JobPorts {
        limits: ports.limits.map(|inner| Arc::new(late(inner)) as _),
        ..ports
    }
}

impl LateLimits {
    async fn answer<T>(&self, result: T) -> T {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        sleep(HOP).await;
        result
    }
}

#[async_trait]
impl Limits for LateLimits {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        Acquiring::Waiting(Box::pin(async move {
            sleep(HOP).await;
            let acquired = self.inner.clone().acquire(request).await;
            self.answer(acquired).await
        }))
    }

    async fn settle(&self, settle: Settle) -> Result<Settled> {
        if self.silent.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let settled = self.inner.settle(settle).await;
        self.answer(settled).await
    }

    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired> {
        let extended = self.inner.extend(extend).await;
        self.answer(extended).await
    }

    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)> {
        self.inner.peek(namespace, limit, key).await
    }

    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)> {
        self.inner.set_limit(set).await
    }

    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)> {
        self.inner.delete_limit(delete).await
    }

    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage> {
        self.inner.list_limits(list).await
    }

    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage> {
        self.inner.list_buckets(list).await
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        self.inner.reset_limit(reset).await
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        self.inner.report_throttled(report).await
    }

    fn status(&self) -> LimitsStatus {
        self.inner.status()
    }

    fn scope(&self) -> Scope {
        self.inner.scope()
    }
}
