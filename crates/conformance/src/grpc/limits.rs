//! The limits port over a client of the daemon.

use super::convert;
use super::pages::Pages;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use trellis_client as client;
use trellis_client::{Client, Pipeline};
use trellis_core::limits::{
    AcquireRequest, Acquired, Acquiring, BucketPage, BucketState, DeleteLimit, ExtendReservation,
    LimitPage, LimitState, Limits, LimitsStatus, ListBuckets, ListLimits, Mode, ReportThrottled,
    ResetLimit, SetLimit, Settle, Settled, SpecSource, Usage,
};
use trellis_core::{Error, ErrorCode, Key, Micros, Name, Namespace, RequestId, Result, Scope};

/// A daemon's limits, as its client sees them.
///
/// Dropping a call's future drops the client's, which takes the call back. What the contract cannot
/// carry is refused: a declaration from the configuration. [`Limits::status`] is empty, since the
/// port's does not wait; [`Limits::scope`] is that of the last answer.
#[derive(Debug)]
pub struct GrpcLimits {
    client: Client,
    /// A stream for each namespace; nothing where each call is an RPC of its own.
    pipelines: Option<Mutex<HashMap<Namespace, Pipeline>>>,
    /// Shared by all daemons of a subject: a page read at one goes on at another.
    pages: Arc<Pages>,
    scope: Mutex<Scope>,
}

impl GrpcLimits {
    /// Each call an RPC of its own.
    #[must_use]
    pub fn unary(client: Client) -> Self {
        Self {
            client,
            pipelines: None,
            pages: Arc::default(),
            scope: Mutex::new(Scope::Local),
        }
    }

    /// Acquires, settles and extensions over one stream for each namespace.
    #[must_use]
    pub fn pipelined(client: Client) -> Self {
        Self {
            pipelines: Some(Mutex::default()),
            ..Self::unary(client)
        }
    }

    /// The same, knowing the pages that another has read.
    pub(super) fn sharing(mut self, other: &Self) -> Self {
        self.pages = other.pages.clone();
        self
    }

    fn calls(&self, namespace: &Namespace) -> client::Limits {
        self.client.limits().namespace(namespace.as_str())
    }

    fn pipeline(&self, namespace: &Namespace) -> Option<Pipeline> {
        let mut pipelines = self.pipelines.as_ref()?.lock();
        let pipeline = pipelines
            .entry(namespace.clone())
            .or_insert_with(|| self.calls(namespace).pipeline());
        Some(pipeline.clone())
    }

    /// Notes the scope of an answer.
    fn note(&self, scope: Scope) -> Scope {
        *self.scope.lock() = scope.clone();
        scope
    }
}

/// A request id as the client wants it: empty for none.
fn text(id: Option<RequestId>) -> String {
    id.map_or_else(String::new, |id| id.as_str().to_owned())
}

impl GrpcLimits {
    async fn send(&self, request: AcquireRequest) -> Result<Acquired> {
        let mut acquire = match self.pipeline(&request.namespace) {
            Some(pipeline) => pipeline.acquire(),
            None => self.calls(&request.namespace).acquire(),
        };
        acquire = acquire
            .charges(convert::charges_out(&request.charges))
            .request_id(text(request.request_id))
            .priority(convert::priority_out(request.priority));
        if let Mode::Wait(max_wait) = request.mode {
            acquire = acquire.max_wait(max_wait.into());
        }
        if let Some(ttl) = request.reservation_ttl {
            acquire = acquire.reserve(ttl.into());
        }
        if let Some(key) = request.fair.key() {
            let weight = request.fair.weight();
            acquire = acquire.fair_key(key.as_str()).weight(weight);
        }
        if request.dry_run {
            acquire = acquire.dry_run();
        }
        let acquired = convert::acquired_in(convert::answer(acquire.send().await)?);
        self.note(acquired.scope.clone());
        Ok(acquired)
    }
}

#[async_trait]
impl Limits for GrpcLimits {
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring {
        Acquiring::Waiting(Box::pin(async move { self.send(request).await }))
    }

    async fn settle(&self, settle: Settle) -> Result<Settled> {
        let id = settle.reservation.as_str();
        let calls = self.calls(&settle.namespace);
        let settled = match (self.pipeline(&settle.namespace), &settle.usage) {
            (Some(pipeline), Usage::Actual(actuals)) => {
                pipeline.settle(id, convert::actuals_out(actuals)).await
            }
            (Some(pipeline), Usage::RefundAll) => pipeline.refund(id).await,
            (None, Usage::Actual(actuals)) => calls.settle(id, convert::actuals_out(actuals)).await,
            (None, Usage::RefundAll) => calls.refund(id).await,
        };
        let settled = convert::settled_in(convert::answer(settled)?);
        self.note(settled.scope.clone());
        Ok(settled)
    }

    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired> {
        let (id, ttl) = (extend.reservation.as_str(), extend.ttl.into());
        let charges = convert::charges_out(&extend.charges);
        let call = match self.pipeline(&extend.namespace) {
            Some(pipeline) => pipeline.extend(id, ttl, charges),
            None => self.calls(&extend.namespace).extend(id, ttl, charges),
        };
        let call = call.request_id(text(extend.request_id));
        let extended = convert::answer(call.await)?;
        let extended = convert::extended_in(extended, extend.reservation);
        self.note(extended.scope.clone());
        Ok(extended)
    }

    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)> {
        let call = self.calls(&namespace);
        let peeked = call.peek(limit.as_str(), key.as_str()).await;
        let peeked = convert::answer(peeked)?;
        let scope = self.note(convert::scope_in(peeked.scope));
        Ok((convert::bucket_in(peeked.bucket), scope))
    }

    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)> {
        if set.source != SpecSource::SetLimit {
            let message = "the contract declares limits as SET_LIMIT only";
            return Err(Error::new(ErrorCode::NotImplemented, message));
        }
        let mut call = self
            .calls(&set.namespace)
            .set_limit(set.name.as_str(), convert::spec_out(&set.spec))
            .level_policy(convert::policy_out(set.level_policy))
            .sharing(convert::sharing_out(set.sharing))
            .request_id(text(set.request_id));
        for other in &set.overrides {
            call = call.override_key(other.key.as_str(), convert::spec_out(&other.spec));
        }
        let declared = convert::answer(call.send().await)?;
        let scope = self.note(convert::scope_in(declared.scope));
        Ok((convert::limit_in(declared.limit), declared.created, scope))
    }

    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)> {
        let call = self.calls(&delete.namespace);
        let call = call
            .delete_limit(delete.name.as_str())
            .request_id(text(delete.request_id));
        let deleted = convert::answer(call.send().await)?;
        Ok((deleted.deleted, self.note(convert::scope_in(deleted.scope))))
    }

    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage> {
        let after = list.after.as_ref().map(Name::as_str);
        let token = self.pages.token(&list.namespace, "", after)?;
        let call = self.calls(&list.namespace).list_limits();
        let size = i32::try_from(list.page_size).unwrap();
        let page = convert::answer(call.page_size(size).page(token).await)?;
        let end = page.items.last().map(|limit| limit.name.as_str());
        let more = self.pages.keep(list.namespace, "", end, page.next);
        Ok(LimitPage {
            limits: page.items.into_iter().map(convert::limit_in).collect(),
            more,
            scope: self.note(convert::scope_in(page.scope)),
        })
    }

    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage> {
        let (limit, after) = (list.limit.as_str(), list.after.as_ref().map(Key::as_str));
        let token = self.pages.token(&list.namespace, limit, after)?;
        let call = self.calls(&list.namespace).list_buckets(limit);
        let size = i32::try_from(list.page_size).unwrap();
        let page = convert::answer(call.page_size(size).page(token).await)?;
        let end = page.items.last().map(|bucket| bucket.key.as_str());
        let more = self.pages.keep(list.namespace, limit, end, page.next);
        Ok(BucketPage {
            buckets: page.items.into_iter().map(convert::bucket_in).collect(),
            more,
            scope: self.note(convert::scope_in(page.scope)),
        })
    }

    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)> {
        let mut call = self
            .calls(&reset.namespace)
            .reset_limit(reset.name.as_str())
            .request_id(text(reset.request_id));
        if let Some(key) = &reset.key {
            call = call.key(key.as_str());
        }
        let done = convert::answer(call.send().await)?;
        let scope = self.note(convert::scope_in(done.scope));
        Ok((convert::buckets_in(done.buckets), scope))
    }

    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)> {
        let mut call = self
            .calls(&report.namespace)
            .report_throttled(report.limit.as_str(), report.retry_after.into())
            .key(report.key.as_str())
            .request_id(text(report.request_id));
        if let Some(remaining) = report.remaining {
            call = call.remaining(remaining);
        }
        if let Some(spec) = &report.spec {
            call = call.spec(convert::spec_out(spec));
        }
        let throttled = convert::answer(call.send().await)?;
        let scope = self.note(convert::scope_in(throttled.scope));
        Ok((throttled.paused_for.into(), scope))
    }

    fn status(&self) -> LimitsStatus {
        LimitsStatus::default()
    }

    fn scope(&self) -> Scope {
        self.scope.lock().clone()
    }
}
