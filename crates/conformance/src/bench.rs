//! What a case of whichever suite works with: the backend's handles by turns, a namespace, and time.

use crate::{Pace, Subject};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::yield_now;
use tokio::time::Instant;
use trellis_core::{Micros, Namespace};

/// A namespace of the backend under test, and its time. Each suite adds the calls of its port.
pub struct Bench<P: ?Sized> {
    subject: Arc<Subject<P>>,
    pub(crate) namespace: Namespace,
    turn: Arc<AtomicUsize>,
    /// Every call goes through this handle.
    pinned: Option<usize>,
}

impl<P: ?Sized> Clone for Bench<P> {
    fn clone(&self) -> Self {
        Self {
            subject: Arc::clone(&self.subject),
            namespace: self.namespace.clone(),
            turn: Arc::clone(&self.turn),
            pinned: self.pinned,
        }
    }
}

impl<P: ?Sized> fmt::Debug for Bench<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bench")
            .field("subject", &self.subject)
            .field("namespace", &self.namespace)
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}

impl<P: ?Sized> Bench<P> {
    /// A bench over a backend.
    #[must_use]
    pub fn new(subject: Subject<P>) -> Self {
        Self {
            namespace: subject.namespace.clone(),
            subject: Arc::new(subject),
            turn: Arc::default(),
            pinned: None,
        }
    }

    /// The same backend, every call through one daemon: for what is promised per daemon only.
    pub(crate) fn on_one_daemon(&self) -> Self {
        Self {
            pinned: Some(0),
            ..self.clone()
        }
    }

    /// The same backend, another namespace.
    pub(crate) fn beside(&self, suffix: &str) -> Self {
        let namespace = format!("{}-{suffix}", self.namespace);
        Self {
            namespace: Namespace::new(namespace, "namespace").unwrap(),
            ..self.clone()
        }
    }

    /// The handle whose turn it is.
    pub(crate) fn port(&self) -> Arc<P> {
        let handles = &self.subject.handles;
        let turn = self
            .pinned
            .unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed));
        handles[turn % handles.len()].clone()
    }

    // Time.

    /// Lets time pass.
    pub(crate) async fn elapse(&self, span: Micros) {
        self.subject.pace.elapse(span).await;
    }

    /// Lets time pass until just before `span` is over: where the backend can still tell that it is not.
    /// [`Bench::elapse_the_rest`] goes on from there.
    pub(crate) async fn elapse_almost(&self, span: Micros) {
        self.elapse(Micros(span.0 - self.shy().0)).await;
    }

    /// See [`Bench::elapse_almost`].
    pub(crate) async fn elapse_the_rest(&self) {
        self.elapse(self.shy()).await;
    }

    fn shy(&self) -> Micros {
        self.subject.pace.skew().max(Micros::TICK)
    }

    /// How late an answer that time brings may come.
    pub(crate) fn tolerance(&self) -> Micros {
        self.subject.pace.tolerance()
    }

    /// Looks until what is seen is as it should be: for as long as the pace allows, nothing but the backend
    /// being late.
    ///
    /// # Panics
    ///
    /// With what was seen last, where it never comes.
    pub(crate) async fn until<T: fmt::Debug>(
        &self,
        look: impl AsyncFn() -> T,
        holds: impl Fn(&T) -> bool,
    ) -> T {
        let mut patience = self.subject.pace.patience();
        loop {
            let seen = look().await;
            if holds(&seen) {
                return seen;
            }
            assert!(patience.lasts(), "it stays at {seen:?}");
            yield_now().await;
        }
    }

    /// Whether time passes without taking any.
    pub(crate) fn is_virtual(&self) -> bool {
        self.subject.pace == Pace::Virtual
    }

    /// Asserts that a span told by the backend is the expected one.
    #[track_caller]
    pub(crate) fn assert_told(&self, told: Micros, expected: Micros) {
        let off = told.0.abs_diff(expected.0);
        let skew = self.subject.pace.skew();
        assert!(off <= skew.0, "told {told:?}, expected {expected:?}");
    }

    /// Asserts that a span told by an answer that time brought is the expected one, less what the
    /// answer came late.
    #[track_caller]
    pub(crate) fn assert_left(&self, told: Micros, expected: Micros) {
        let least = expected.0.saturating_sub(self.tolerance().0);
        let most = expected.0 + self.subject.pace.skew().0;
        let exact = (least..=most).contains(&told.0);
        assert!(exact, "told {told:?}, expected {expected:?}");
    }

    /// Asserts that something brought by time came when it was due.
    #[track_caller]
    pub(crate) fn assert_took(&self, since: Instant, until: Instant, expected: Micros) {
        let took = Micros::from(until - since);
        let early = Micros(expected.0.saturating_sub(self.subject.pace.skew().0));
        let late = Micros(expected.0 + self.tolerance().0);
        assert!(took >= early, "came after {took:?}, due at {expected:?}");
        assert!(took <= late, "came after {took:?}, due at {expected:?}");
    }
}
