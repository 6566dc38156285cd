//! The limits port with the limits of pipelines in it.
//!
//! A call that names no limit of a pipeline goes on as it came, without a future of its own; in a daemon that shares with nobody, every
//! call does that finds its limits declared.

use super::Shared;
use async_trait::async_trait;
use std::sync::Arc;
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, Charge, DeleteLimit,
    ExtendReservation, FallbackStatus, LimitPage, LimitState, Limits, LimitsStatus, ListBuckets,
    ListLimits, ReportThrottled, ResetLimit, SetLimit, Settle, Settled, SpecSource,
};
use trellis_core::pipelines::limit_parts;
use trellis_core::{Error, ErrorCode, Key, Micros, Name, Namespace, Result, Scope};

/// Limits, those of pipelines included.
pub struct PipelineLimits {
    shared: Arc<Shared>,
}

impl PipelineLimits {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Whether a pipeline has a limit of this name now; what else declares one of that name must not.
    pub async fn is_of_a_pipeline(&self, namespace: &Namespace, limit: &Name) -> Result<bool> {
        if limit_parts(limit.as_str()).is_none() {
            return Ok(false);
        }
        self.shared.pipelines.refresh().await?;
        Ok(self.shared.spec(namespace, limit).is_some())
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

    /// Acquires what is not declared yet as its pipeline has it, or may be so no more.
    async fn acquire_ensured(&self, mut request: AcquireRequest) -> Result<Acquired> {
        let ensured = self.ensure_all(&request.namespace, &request.charges).await;
        if let Err(error) = ensured {
            if !is_away(&error) {
                return Err(error);
            }
            self.bring_specs(&mut request);
        }
        let kept = Arc::new(request);
        let answer = Arc::clone(self.inner()).acquire_kept(&kept).await;
        self.acquire_again(kept, answer).await
    }

    /// Declares the limits of a call that missed one; tells whether it did.
    async fn declare_missed(
        &self,
        namespace: &Namespace,
        charges: &[Charge],
        answer: &Result<Acquired>,
    ) -> Result<bool> {
        let names = charges.iter().map(|charge| &charge.limit);
        if !self.shared.is_missed(answer, namespace, names) {
            return Ok(false);
        }
        for charge in charges {
            self.shared.ensure_missed(namespace, &charge.limit).await?;
        }
        Ok(true)
    }

    /// Makes a call once more whose limit was missed.
    async fn acquire_again(
        &self,
        request: Arc<AcquireRequest>,
        answer: Result<Acquired>,
    ) -> Result<Acquired> {
        self.note_undeclared(&request, &answer);
        if !self
            .declare_missed(&request.namespace, &request.charges, &answer)
            .await?
        {
            return answer;
        }
        Arc::clone(self.inner()).acquire_kept(&request).await
    }

    /// While the store is away, limits go on as this daemon last knew them: charges of a pipeline bring its spec, for limits that
    /// were not used here yet.
    fn bring_specs(&self, request: &mut AcquireRequest) {
        for charge in &mut request.charges {
            if charge.spec.is_none() {
                charge.spec = self.shared.spec(&request.namespace, &charge.limit);
            }
        }
    }

    /// A limit that went by the caller's own spec is not declared any more: the next call declares it.
    fn note_undeclared(&self, request: &AcquireRequest, answer: &Result<Acquired>) {
        let Ok(acquired) = answer else { return };
        if acquired.scope != Scope::Shared {
            return;
        }
        for (charge, state) in request.charges.iter().zip(&acquired.charges) {
            let of_pipeline = limit_parts(charge.limit.as_str()).is_some();
            if of_pipeline && state.source == SpecSource::Inline {
                let declared = &self.shared.declared;
                declared.remove(&request.namespace, &charge.limit);
            }
        }
    }
}

/// Whether what a pipeline has now could not be asked.
fn is_away(error: &Error) -> bool {
    matches!(
        error.code,
        ErrorCode::StoreUnavailable | ErrorCode::OutcomeUnknown | ErrorCode::TooManyCalls
    )
}

#[async_trait]
impl Limits for PipelineLimits {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        let looks_so = |charge: &Charge| limit_parts(charge.limit.as_str()).is_some();
        if !request.charges.iter().any(looks_so) {
            return Arc::clone(self.inner()).acquire(request);
        }
        let is_stale = |charge: &Charge| self.shared.is_stale(&request.namespace, &charge.limit);
        if request.charges.iter().any(is_stale) {
            return Acquiring::Waiting(Box::pin(
                async move { self.acquire_ensured(request).await },
            ));
        }
        // Nobody else can have deleted a limit then.
        if self.inner().scope() == Scope::Local {
            return Arc::clone(self.inner()).acquire(request);
        }
        let kept = Arc::new(request);
        match Arc::clone(self.inner()).acquire_kept(&kept) {
            Acquiring::Done(decided) => match decided.into_inner() {
                Err(error) if error.code == ErrorCode::LimitNotFound => {
                    let again = async move { self.acquire_again(kept, Err(error)).await };
                    Acquiring::Waiting(Box::pin(again))
                }
                answer => {
                    self.note_undeclared(&kept, &answer);
                    Acquiring::done(answer)
                }
            },
            waiting @ Acquiring::Waiting(_) => Acquiring::Waiting(Box::pin(async move {
                let answer = waiting.await;
                self.acquire_again(kept, answer).await
            })),
        }
    }

    async fn settle(&self, settle: Settle) -> Result<Settled> {
        self.inner().settle(settle).await
    }

    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired> {
        self.ensure_all(&extend.namespace, &extend.charges).await?;
        let kept = extend.clone();
        let extended = self.inner().extend(extend).await;
        if !self
            .declare_missed(&kept.namespace, &kept.charges, &extended)
            .await?
        {
            return extended;
        }
        self.inner().extend(kept).await
    }

    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)> {
        self.shared.ensure(&namespace, &limit).await?;
        let (there, name) = (namespace.clone(), limit.clone());
        let peeked = self.inner().peek(namespace, limit, key.clone()).await;
        if !self.shared.is_missed(&peeked, &there, [&name]) {
            return peeked;
        }
        self.shared.ensure_missed(&there, &name).await?;
        self.inner().peek(there, name, key).await
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
        let answer = self.inner().list_buckets(list.clone()).await;
        let limit = (&list.namespace, &list.limit);
        if !self.shared.is_missed(&answer, limit.0, [limit.1]) {
            return answer;
        }
        self.shared.ensure_missed(limit.0, limit.1).await?;
        self.inner().list_buckets(list).await
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        self.shared.ensure(&reset.namespace, &reset.name).await?;
        let answer = self.inner().reset_limit(reset.clone()).await;
        let limit = (&reset.namespace, &reset.name);
        if !self.shared.is_missed(&answer, limit.0, [limit.1]) {
            return answer;
        }
        self.shared.ensure_missed(limit.0, limit.1).await?;
        self.inner().reset_limit(reset).await
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        self.shared.ensure(&report.namespace, &report.limit).await?;
        let answer = self.inner().report_throttled(report.clone()).await;
        let limit = (&report.namespace, &report.limit);
        if !self.shared.is_missed(&answer, limit.0, [limit.1]) {
            return answer;
        }
        self.shared.ensure_missed(limit.0, limit.1).await?;
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
