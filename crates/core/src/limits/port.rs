//! The limits port: what every backend does, and what a caller may rely on.

use super::fallback::FallbackStatus;
use super::types::{
    AcquireRequest, Acquired, BucketPage, BucketState, DeleteLimit, ExtendReservation, LimitPage,
    LimitState, LimitsStatus, ListBuckets, ListLimits, ReportThrottled, ResetLimit, SetLimit,
    Settle, Settled,
};
use crate::{Key, Micros, Name, Namespace, Result, Scope};
use async_trait::async_trait;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An acquire under way: decided by the call itself, or to be awaited. Dropping it takes it back.
#[must_use = "dropping it takes the acquire back"]
pub enum Acquiring {
    /// Decided.
    Done(Ready<Result<Acquired>>),
    /// Not yet; a backend across a network may not even have begun before it is polled.
    Waiting(Pin<Box<dyn Future<Output = Result<Acquired>> + Send>>),
}

impl Acquiring {
    /// An acquire that is decided.
    pub fn done(result: Result<Acquired>) -> Self {
        Self::Done(ready(result))
    }
}

impl Future for Acquiring {
    type Output = Result<Acquired>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Done(result) => Pin::new(result).poll(task),
            Self::Waiting(call) => call.as_mut().poll(task),
        }
    }
}

/// Quotas, shared by all who call the same backend.
///
/// The state of a namespace changes in one total order; each method below takes effect at one point of
/// it, between its call and its return. Methods of different namespaces are independent. A backend
/// that several daemons share keeps the same order for all of them.
///
/// **Repeats.** A method with a `request_id` that was answered within the window gives the first answer
/// again and changes nothing. Errors are not answers: they change nothing and are not remembered.
///
/// **Cancellation.** Dropping the future of a call that has not returned leaves no trace, except where
/// a method says that a change may stand. A method never returns before its change stands.
///
/// **Errors.** Besides those named: any bound reached is its own `TooMany…` error and changes nothing.
#[async_trait]
pub trait Limits: Send + Sync {
    /// Takes all charges or none.
    ///
    /// Atomic over all charges, whatever limits and keys they name. A backend that can decide at once
    /// does so in the call itself, without a future; others begin when first polled.
    /// [`super::Mode::Wait`] joins the line then and takes effect when it is granted: of the calls that wait
    /// for a bucket, interactive ones go before batch ones, fair keys by turns in proportion to their
    /// weights, and those of one key in order of arrival. A dropped call leaves the line; a grant that its
    /// caller did not receive is taken back, of a rate less what was refilled since. A repeat of a call
    /// that waits joins it, for as long as it would wait itself: then it alone ends as `TimedOut`. On a backend across a
    /// network a dropped call's grant may stand until its reservation ends; a `request_id` finds it.
    ///
    /// Errors: `LimitNotFound`, `LimitDeleted`, `SpecMismatch`, `RequestIdReused`, and `InvalidField`
    /// for charges of the same bucket, or of one limit with different specs.
    fn acquire(self: Arc<Self>, request: AcquireRequest) -> Acquiring;

    /// The same for a caller that goes on to need the request.
    fn acquire_kept(self: Arc<Self>, request: &Arc<AcquireRequest>) -> Acquiring {
        self.acquire(AcquireRequest::clone(request))
    }

    /// Ends a reservation: refunds, adds debt, frees slots.
    ///
    /// Atomic over all its charges, and once: the same usage again gives the first answer, another
    /// usage is `ReservationSettled`. May stand although the call was dropped; then a repeat tells.
    ///
    /// Errors: `ReservationNotFound`, `ReservationSettled`, `ReservationExpired` when its time is over
    /// and there is only something to refund, `InvalidField` for a bucket it did not charge.
    async fn settle(&self, settle: Settle) -> Result<Settled>;

    /// Renews a reservation and takes further charges into it, all or nothing, without waiting.
    ///
    /// Atomic with its renewal. The answer's reservation is the one extended. May stand although the
    /// call was dropped; then a repeat with its `request_id` tells.
    ///
    /// Errors: as [`Limits::acquire`] and [`Limits::settle`].
    async fn extend(&self, extend: ExtendReservation) -> Result<Acquired>;

    /// The state of one bucket. Changes nothing. Errors: `LimitNotFound`.
    async fn peek(
        &self,
        namespace: Namespace,
        limit: Name,
        key: Key,
    ) -> Result<(BucketState, Scope)>;

    /// Declares or changes a limit; tells whether it is new.
    ///
    /// Atomic over all buckets of the limit. Waiting calls go on under the new spec, and those that it
    /// can never admit end as `Never`. Naturally idempotent, except for the level under a policy.
    async fn set_limit(&self, set: SetLimit) -> Result<(LimitState, bool, Scope)>;

    /// Forgets a limit; tells whether there was one.
    ///
    /// Atomic over all its buckets. Waiting calls that charge it end as `LimitDeleted`.
    async fn delete_limit(&self, delete: DeleteLimit) -> Result<(bool, Scope)>;

    /// Limits by name. Each page is one moment; names that exist all the time appear exactly once.
    async fn list_limits(&self, list: ListLimits) -> Result<LimitPage>;

    /// Live buckets of a limit by key, as [`Limits::list_limits`]. Errors: `LimitNotFound`.
    async fn list_buckets(&self, list: ListBuckets) -> Result<BucketPage>;

    /// Makes buckets full, ends pauses, frees slots; tells of how many buckets.
    ///
    /// Atomic over the buckets. Slots freed here are not freed again by their reservations.
    /// Errors: `LimitNotFound`.
    async fn reset_limit(&self, reset: ResetLimit) -> Result<(usize, Scope)>;

    /// Pauses a bucket; tells how long it is paused now. Never shortens a pause, so repeats with the
    /// same end are harmless. Errors: `LimitNotFound`.
    async fn report_throttled(&self, report: ReportThrottled) -> Result<(Micros, Scope)>;

    /// How much state is kept, as far as this daemon knows. Changes nothing, never fails, never waits.
    fn status(&self) -> LimitsStatus;

    /// The guarantee that answers carry now. Never waits.
    fn scope(&self) -> Scope;

    /// How it does without its store; `None` where there is no store to do without. Never waits.
    fn fallback(&self) -> Option<FallbackStatus> {
        None
    }
}
