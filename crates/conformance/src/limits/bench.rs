//! What a case works with: the calls of the port.

use super::ask::Ask;
use super::change::{Definition, Extension, Reset, Throttle};
use super::dsl::{charge, key, name};
use trellis_core::limits::{
    Acquired, ActualAmount, BucketPage, BucketState, Charge, DeleteLimit, LimitPage, LimitSpec,
    LimitState, Limits, ListBuckets, ListLimits, ReservationId, Settle, Settled, Usage,
};
use trellis_core::{ErrorCode, Micros, Result};

/// A namespace of the backend under test, and its time.
pub type Bench = crate::Bench<dyn Limits>;

impl Bench {
    /// Starts an acquire of these charges: a TRY, unless more is said.
    pub(super) fn ask(&self, charges: impl Into<Vec<Charge>>) -> Ask {
        Ask::new(self, charges.into())
    }

    /// Starts an acquire of one charge of a shared bucket.
    pub(super) fn take(&self, limit: &str, amount: i64) -> Ask {
        self.ask([charge(limit, amount)])
    }

    /// Starts a declaration.
    pub(super) fn set(&self, limit: &str, spec: LimitSpec) -> Definition {
        Definition::new(self, limit, spec)
    }

    /// Declares a limit.
    pub(super) async fn declare(&self, limit: &str, spec: LimitSpec) -> LimitState {
        self.set(limit, spec).send().await.unwrap().0
    }

    /// Starts an extension of a reservation.
    pub(super) fn extend(&self, reservation: &ReservationId, ttl: Micros) -> Extension {
        Extension::new(self, reservation, ttl)
    }

    /// Starts a reset.
    pub(super) fn reset(&self, limit: &str) -> Reset {
        Reset::new(self, limit)
    }

    /// Starts a report that the provider refused for so long.
    pub(super) fn throttle(&self, limit: &str, retry_after: Micros) -> Throttle {
        Throttle::new(self, limit, retry_after)
    }

    /// Forgets a limit; tells whether there was one.
    pub(super) async fn delete(&self, limit: &str) -> bool {
        let delete = DeleteLimit {
            namespace: self.namespace.clone(),
            name: name(limit),
            request_id: None,
        };
        self.port().delete_limit(delete).await.unwrap().0
    }

    /// Settles with what was used.
    pub(super) async fn settle(
        &self,
        reservation: &ReservationId,
        actual: impl Into<Vec<ActualAmount>>,
    ) -> Result<Settled> {
        self.settle_by(reservation, Usage::Actual(actual.into()))
            .await
    }

    /// Gives everything back.
    pub(super) async fn refund(&self, reservation: &ReservationId) -> Result<Settled> {
        self.settle_by(reservation, Usage::RefundAll).await
    }

    async fn settle_by(&self, reservation: &ReservationId, usage: Usage) -> Result<Settled> {
        let settle = Settle {
            namespace: self.namespace.clone(),
            reservation: reservation.clone(),
            usage,
        };
        self.port().settle(settle).await
    }

    /// The state of a shared bucket.
    pub(super) async fn peek(&self, limit: &str) -> BucketState {
        self.peek_at(limit, "").await.unwrap()
    }

    /// The state of one key's bucket.
    pub(super) async fn peek_at(&self, limit: &str, of: &str) -> Result<BucketState> {
        let namespace = self.namespace.clone();
        let peeked = self.port().peek(namespace, name(limit), key(of)).await;
        peeked.map(|(state, _)| state)
    }

    /// Units available in a shared bucket.
    pub(super) async fn remaining(&self, limit: &str) -> i64 {
        self.peek(limit).await.remaining
    }

    /// A page of limits, from after a name.
    pub(super) async fn limits_page(&self, page_size: usize, after: Option<&str>) -> LimitPage {
        let list = ListLimits {
            namespace: self.namespace.clone(),
            page_size,
            after: after.map(name),
        };
        self.port().list_limits(list).await.unwrap()
    }

    /// A page of a limit's live buckets, from after a key.
    pub(super) async fn buckets_page(
        &self,
        limit: &str,
        page_size: usize,
        after: Option<&str>,
    ) -> Result<BucketPage> {
        let list = ListBuckets {
            namespace: self.namespace.clone(),
            limit: name(limit),
            page_size,
            after: after.map(key),
        };
        self.port().list_buckets(list).await
    }

    /// Waits until so many calls stand in the line of a shared bucket.
    pub(super) async fn until_waiting(&self, limit: &str, count: usize) {
        let waiters = async || self.peek(limit).await.waiters;
        self.until(waiters, |waiters| *waiters == count).await;
    }
}

/// The code of the error that a call must end with.
#[track_caller]
pub(super) fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.unwrap_err().code
}

/// What is left of each charge, in request order.
pub(super) fn remainders(acquired: &Acquired) -> Vec<i64> {
    let states = acquired.charges.iter();
    states.map(|charge| charge.remaining).collect()
}
