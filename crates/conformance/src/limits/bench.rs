//! What a case works with: the backend's handles by turns, a namespace, and time.

use super::Subject;
use super::ask::Ask;
use super::change::{Definition, Extension, Reset, Throttle};
use super::dsl::{charge, key, name};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::Instant;
use trellis_core::limits::{
    Acquired, ActualAmount, BucketPage, BucketState, Charge, DeleteLimit, LimitPage, LimitSpec,
    LimitState, Limits, ListBuckets, ListLimits, ReservationId, Settle, Settled, Usage,
};
use trellis_core::{ErrorCode, Micros, Namespace, Result};

/// A namespace of the backend under test, and its time.
#[derive(Clone, Debug)]
pub struct Bench {
    subject: Arc<Subject>,
    pub(super) namespace: Namespace,
    turn: Arc<AtomicUsize>,
    /// Every call goes through this handle.
    pinned: Option<usize>,
}

impl Bench {
    /// A bench over a backend.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self {
            namespace: subject.namespace.clone(),
            subject: Arc::new(subject),
            turn: Arc::default(),
            pinned: None,
        }
    }

    /// The same backend, every call through one daemon: for what is promised per daemon only.
    pub(super) fn on_one_daemon(&self) -> Self {
        Self {
            pinned: Some(0),
            ..self.clone()
        }
    }

    /// The same backend, another namespace.
    pub(super) fn beside(&self, suffix: &str) -> Self {
        let namespace = format!("{}-{suffix}", self.namespace);
        Self {
            namespace: Namespace::new(namespace, "namespace").unwrap(),
            ..self.clone()
        }
    }

    /// The handle whose turn it is.
    pub(super) fn limits(&self) -> Arc<dyn Limits> {
        let handles = &self.subject.handles;
        let turn = self
            .pinned
            .unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed));
        handles[turn % handles.len()].clone()
    }

    /// Lets time pass.
    pub(super) async fn elapse(&self, span: Micros) {
        self.subject.pace.elapse(span).await;
    }

    /// Lets time pass until just before `span` is over. [`Bench::elapse_the_rest`] goes on from there.
    pub(super) async fn elapse_almost(&self, span: Micros) {
        self.elapse(Micros(span.0 - self.shy().0)).await;
    }

    /// See [`Bench::elapse_almost`].
    pub(super) async fn elapse_the_rest(&self) {
        self.elapse(self.shy()).await;
    }

    fn shy(&self) -> Micros {
        self.subject.pace.skew().max(Micros::TICK)
    }

    /// How late an answer that time brings may come.
    pub(super) fn tolerance(&self) -> Micros {
        self.subject.pace.tolerance()
    }

    /// Asserts that a span told by the backend is the expected one.
    #[track_caller]
    pub(super) fn assert_told(&self, told: Micros, expected: Micros) {
        let off = told.0.abs_diff(expected.0);
        let skew = self.subject.pace.skew();
        assert!(off <= skew.0, "told {told:?}, expected {expected:?}");
    }

    /// Asserts that a span told by an answer that time brought is the expected one, less what the
    /// answer came late.
    #[track_caller]
    pub(super) fn assert_left(&self, told: Micros, expected: Micros) {
        let least = expected.0.saturating_sub(self.tolerance().0);
        let most = expected.0 + self.subject.pace.skew().0;
        let exact = (least..=most).contains(&told.0);
        assert!(exact, "told {told:?}, expected {expected:?}");
    }

    /// Asserts that something brought by time came when it was due.
    #[track_caller]
    pub(super) fn assert_took(&self, since: Instant, until: Instant, expected: Micros) {
        let took = Micros::from(until - since);
        let early = Micros(expected.0.saturating_sub(self.subject.pace.skew().0));
        let late = Micros(expected.0 + self.tolerance().0);
        assert!(took >= early, "came after {took:?}, due at {expected:?}");
        assert!(took <= late, "came after {took:?}, due at {expected:?}");
    }

    // Calls.

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
        self.limits().delete_limit(delete).await.unwrap().0
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
        self.limits().settle(settle).await
    }

    /// The state of a shared bucket.
    pub(super) async fn peek(&self, limit: &str) -> BucketState {
        self.peek_at(limit, "").await.unwrap()
    }

    /// The state of one key's bucket.
    pub(super) async fn peek_at(&self, limit: &str, of: &str) -> Result<BucketState> {
        let namespace = self.namespace.clone();
        let peeked = self.limits().peek(namespace, name(limit), key(of)).await;
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
        self.limits().list_limits(list).await.unwrap()
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
        self.limits().list_buckets(list).await
    }

    /// Waits until so many calls stand in the line of a shared bucket.
    pub(super) async fn until_waiting(&self, limit: &str, count: usize) {
        let mut waiters = 0;
        for _ in 0..100_000 {
            waiters = self.peek(limit).await.waiters;
            if waiters == count {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{waiters} calls wait for {limit}, {count} should");
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
