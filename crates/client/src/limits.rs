//! [`Limits`]: the quotas of one namespace, each call an RPC of its own.

use std::sync::Arc;
use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::acquire::{self, Acquire};
use crate::acquired::Acquired;
use crate::bucket::{Peeked, ReportThrottled, ResetLimit};
use crate::charge::Charges;
use crate::client::Shared;
use crate::definition::{DeleteLimit, SetLimit};
use crate::error::Result;
use crate::extend::Extend;
use crate::list::{ListBuckets, ListLimits};
use crate::pipeline::Pipeline;
use crate::route::Route;
use crate::settlement::{Actual, Settled};
use crate::spec::Spec;

/// The quotas of one namespace. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Limits {
    shared: Arc<Shared>,
    namespace: Arc<str>,
}

impl Limits {
    pub(crate) fn new(shared: Arc<Shared>, namespace: Arc<str>) -> Self {
        Self { shared, namespace }
    }

    /// The quotas of another namespace, over the same connection.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        Self {
            shared: self.shared.clone(),
            namespace: namespace.into(),
        }
    }

    /// Takes the charges now, all or none. For waiting, reservations and more: [`Limits::acquire`].
    pub async fn try_acquire(&self, charges: impl Into<Charges>) -> Result<Acquired> {
        self.acquire().charges(charges).send().await
    }

    /// Starts an acquire.
    pub fn acquire(&self) -> Acquire {
        Acquire::new(self.route())
    }

    /// Sends independent acquires (1 to 1,000) in one call, decided and answered in order. One item's
    /// failure leaves the others alone; an error of the whole means that there are no results.
    pub async fn acquire_batch(&self, acquires: Vec<Acquire>) -> Result<Vec<Result<Acquired>>> {
        acquire::batch(self, acquires).await
    }

    /// A handle that sends its calls over one stream: for very many calls per second.
    #[must_use]
    pub fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.clone(), Pipeline::DEFAULT_MAX_IN_FLIGHT)
    }

    /// A pipeline with at most `max_in_flight` acquires unanswered (1 to 65,536); further callers
    /// wait. More than half of the daemon's `limits.max_stream_in_flight` (1,024) gains nothing.
    #[must_use]
    pub fn pipeline_with_max_in_flight(&self, max_in_flight: usize) -> Pipeline {
        Pipeline::new(self.clone(), max_in_flight)
    }

    /// Settles a reservation by its id: for the process that took it over from its guard.
    /// See [`Reservation::settle`](crate::Reservation::settle).
    pub async fn settle(
        &self,
        id: impl Into<String>,
        actuals: impl IntoIterator<Item = Actual>,
    ) -> Result<Settled> {
        self.route().settle(id.into(), actuals).await
    }

    /// Gives every charge of a reservation back, by its id.
    pub async fn refund(&self, id: impl Into<String>) -> Result<Settled> {
        self.route().refund(id.into()).await
    }

    /// Renews a reservation by its id. See [`Reservation::extend`](crate::Reservation::extend).
    pub fn extend(
        &self,
        id: impl Into<String>,
        ttl: Duration,
        charges: impl Into<Charges>,
    ) -> Extend<'static> {
        Extend::new(self.route(), id.into(), ttl, charges.into())
    }

    /// The state of one bucket, unchanged by the look; the empty key is the shared bucket.
    pub async fn peek(&self, limit: impl Into<String>, key: impl Into<String>) -> Result<Peeked> {
        let namespace = self.namespace_name();
        let request = proto::PeekRequest {
            namespace,
            limit: limit.into(),
            key: key.into(),
        };
        self.stub()
            .peek(self.request(request))
            .await?
            .into_inner()
            .try_into()
    }

    /// Declares a limit or changes it.
    pub fn set_limit(&self, name: impl Into<String>, spec: impl Into<Spec>) -> SetLimit {
        SetLimit::new(self.clone(), name.into(), spec.into())
    }

    /// Forgets a limit and its buckets. Calls waiting for it fail with `LIMIT_DELETED`.
    pub fn delete_limit(&self, name: impl Into<String>) -> DeleteLimit {
        DeleteLimit::new(self.clone(), name.into())
    }

    /// The limits of the namespace, by name.
    pub fn list_limits(&self) -> ListLimits {
        ListLimits::new(self.clone())
    }

    /// The live buckets of a limit, by key.
    pub fn list_buckets(&self, limit: impl Into<String>) -> ListBuckets {
        ListBuckets::new(self.clone(), limit.into())
    }

    /// Makes the buckets of a limit full again, ends their pause and frees their slots.
    pub fn reset_limit(&self, name: impl Into<String>) -> ResetLimit {
        ResetLimit::new(self.clone(), name.into())
    }

    /// Passes on that the provider itself refused (HTTP 429): the bucket admits nothing for
    /// `retry_after` (1 us to 24 hours), for every caller.
    pub fn report_throttled(
        &self,
        limit: impl Into<String>,
        retry_after: Duration,
    ) -> ReportThrottled {
        ReportThrottled::new(self.clone(), limit.into(), retry_after)
    }
}

/// What builders, guards and pipelines need.
impl Limits {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn stub(&self) -> crate::Stub {
        self.shared.limits()
    }

    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        self.shared.request(message, Duration::ZERO)
    }

    pub(crate) fn namespace_name(&self) -> String {
        self.namespace.as_ref().to_owned()
    }

    fn route(&self) -> Route {
        Route::Unary(self.clone())
    }

    pub(crate) async fn call_acquire(
        &self,
        request: proto::AcquireRequest,
        max_wait: Duration,
    ) -> Result<proto::AcquireResponse> {
        let request = self.shared.request(request, max_wait);
        Ok(self.stub().acquire(request).await?.into_inner())
    }

    pub(crate) async fn call_batch(
        &self,
        requests: Vec<proto::AcquireRequest>,
        max_wait: Duration,
    ) -> Result<Vec<proto::BatchAcquireResult>> {
        let request = self
            .shared
            .request(proto::BatchAcquireRequest { requests }, max_wait);
        Ok(self
            .stub()
            .batch_acquire(request)
            .await?
            .into_inner()
            .results)
    }

    pub(crate) async fn call_settle(
        &self,
        request: proto::SettleRequest,
    ) -> Result<proto::SettleResponse> {
        Ok(self
            .stub()
            .settle(self.request(request))
            .await?
            .into_inner())
    }

    pub(crate) async fn call_extend(
        &self,
        request: proto::ExtendReservationRequest,
    ) -> Result<proto::ExtendReservationResponse> {
        Ok(self
            .stub()
            .extend_reservation(self.request(request))
            .await?
            .into_inner())
    }

    /// A settle by which a reservation ends unattended.
    pub(crate) fn release_request(&self, id: String, refund_all: bool) -> proto::SettleRequest {
        proto::SettleRequest {
            namespace: self.namespace_name(),
            reservation_id: id,
            actual: Vec::new(),
            refund_all,
        }
    }

    pub(crate) fn release(&self, id: String) {
        self.shared.release(self.release_request(id, false));
    }
}
