//! Opens the stream of a pipeline, and opens it again.
//!
//! ```text
//! closed --a call comes--> [back-off] --> opening --> open --stream ends--> closed
//!    ^                                      |
//!    +------------- attempt failed ---------+
//! ```
//! One attempt at a time; callers that came meanwhile share how it went. A call makes at most one
//! attempt and is not kept longer than the back-off and that. A stream that ends without one answer
//! counts as a failed attempt, so that a daemon which refuses streams is not asked in a tight loop.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use trellis_proto::v1 as proto;
use trellis_proto::v1::acquire_stream_request::Request;

use super::link::{Link, message, queue_for};
use crate::background::spawn;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The bound of the first pause; it doubles with each failure, and a random part of it is waited.
const BASE: Duration = Duration::from_millis(50);

/// The bound of every pause.
const CAP: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Opener {
    limits: Limits,
    max_in_flight: usize,
    current: RwLock<Option<Arc<Link>>>,
    // Held while opening.
    gate: tokio::sync::Mutex<()>,
    failures: Arc<Failures>,
}

impl Opener {
    pub(super) fn new(limits: Limits, max_in_flight: usize) -> Self {
        Self {
            limits,
            max_in_flight,
            current: RwLock::default(),
            gate: tokio::sync::Mutex::default(),
            failures: Arc::default(),
        }
    }

    /// The stream in use. It may have ended since.
    pub(super) fn current(&self) -> Option<Arc<Link>> {
        self.current.read().clone()
    }

    /// Stops using a stream.
    pub(super) fn retire(&self, link: &Arc<Link>) {
        let mut current = self.current.write();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, link))
        {
            *current = None;
        }
    }

    /// The stream in use, opened when there is none.
    pub(super) async fn open(&self) -> Result<Arc<Link>> {
        let seen = self.failures.attempts();
        let _gate = self.gate.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if let Some(error) = self.failures.since(seen) {
            return Err(error);
        }
        if let Some(not_before) = self.failures.not_before() {
            sleep_until(not_before).await;
        }
        let link = self
            .attempt()
            .await
            .inspect_err(|error| self.failures.add_attempt(error.clone()))?;
        *self.current.write() = Some(link.clone());
        Ok(link)
    }

    async fn attempt(&self) -> Result<Arc<Link>> {
        let (requests, queue) = mpsc::channel(queue_for(self.max_in_flight));
        let open = proto::StreamOpen {
            namespace: self.limits.namespace_name(),
        };
        requests
            .try_send(message(0, Request::Open(open)))
            .map_err(|_| Error::unreachable("the queue of a new stream takes nothing"))?;
        let mut stub = self.limits.stub();
        let opening = stub.acquire_stream(ReceiverStream::new(queue));
        let opened = self.limits.shared().opened(opening).await;
        let answers = opened.map_err(unopened)?.into_inner();
        let link = Link::new(requests, self.limits.clone());
        spawn(link.read(answers, self.failures.clone()));
        Ok(link)
    }
}

/// However opening failed, the caller's own request was not sent.
fn unopened(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Refused(_) | ErrorKind::Unreachable => error,
        _ => Error::unreachable(format!("the stream was not opened: {}", error.message())),
    }
}

/// What went wrong since the last stream that gave an answer.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    // Failed attempts since the start, and the error of the last one.
    attempts: u64,
    last: Option<Error>,
    in_a_row: u32,
    not_before: Option<Instant>,
}

impl Failures {
    /// Notes a failed attempt to open.
    fn add_attempt(&self, error: Error) {
        let mut inner = self.0.lock();
        inner.attempts += 1;
        inner.last = Some(error);
        inner.back_off();
    }

    /// Notes a stream that ended without an answer.
    pub(super) fn add_stream(&self) {
        self.0.lock().back_off();
    }

    /// Notes a stream that gave an answer.
    pub(super) fn clear(&self) {
        let mut inner = self.0.lock();
        inner.in_a_row = 0;
        inner.not_before = None;
    }

    fn attempts(&self) -> u64 {
        self.0.lock().attempts
    }

    /// How the last attempt failed, when one has since `attempts` was read.
    fn since(&self, attempts: u64) -> Option<Error> {
        let inner = self.0.lock();
        inner
            .last
            .as_ref()
            .filter(|_| inner.attempts != attempts)
            .cloned()
    }

    fn not_before(&self) -> Option<Instant> {
        self.0.lock().not_before
    }
}

impl Inner {
    fn back_off(&mut self) {
        self.not_before = Some(Instant::now() + pause_after(self.in_a_row));
        self.in_a_row = self.in_a_row.saturating_add(1);
    }
}

/// Full jitter: anything from 0 to the bound, so that clients do not come back in step.
fn pause_after(failures_before: u32) -> Duration {
    bound_after(failures_before).mul_f64(rand::random())
}

fn bound_after(failures_before: u32) -> Duration {
    BASE.saturating_mul(1 << failures_before.min(16)).min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        assert_eq!(bound_after(0), BASE);
        assert_eq!(bound_after(2), BASE * 4);
        assert_eq!(bound_after(u32::MAX), CAP);
        assert!(pause_after(3) <= bound_after(3));
    }

    #[tokio::test]
    async fn a_caller_learns_of_attempts_since_it_came_and_of_no_others() {
        let failures = Failures::default();
        failures.add_attempt(Error::unreachable("old"));
        let seen = failures.attempts();
        failures.add_stream();
        assert!(failures.since(seen).is_none());
        failures.add_attempt(Error::unreachable("new"));
        assert_eq!(failures.since(seen).unwrap().message(), "new");
    }

    #[tokio::test]
    async fn an_answer_ends_the_back_off() {
        let failures = Failures::default();
        failures.add_stream();
        assert!(failures.not_before().is_some());
        failures.clear();
        assert!(failures.not_before().is_none());
    }
}
