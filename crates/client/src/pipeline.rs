//! [`Pipeline`]: many callers over one stream.
//!
//! A caller takes a permit, puts its request into the stream's queue and waits for its answer; no task
//! is started per call. Acquires and settles have permits of their own, so that acquires waiting for
//! slots never keep out the settles that free them. The stream is opened by the first call and again
//! by the next call after it ended; how, is told in `opener`, and what becomes of calls in `table`.

mod link;
mod opener;
mod table;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use trellis_proto::v1 as proto;
use trellis_proto::v1::acquire_stream_request::Request;
use trellis_proto::v1::acquire_stream_response::Response;

use crate::acquire::Acquire;
use crate::acquired::Acquired;
use crate::charge::Charges;
use crate::error::{Error, Result};
use crate::extend::Extend;
use crate::limits::Limits;
use crate::route::Route;
use crate::settlement::{Actual, Settled};

use link::{Link, Submission, Ticket};
use opener::Opener;

/// The quotas of one namespace over one stream, shared by all clones of the handle.
///
/// Calls mean the same as those of [`Limits`]. What differs:
///
/// - At most so many acquires are unanswered at a time; further callers wait for a place, within
///   their deadline.
/// - A deadline is noticed up to 100 ms late.
/// - When the stream ends, calls in flight fail with
///   [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown): repeat them with the request id
///   that they carried. A daemon that drains first answers what it has accepted. The next call opens
///   a new stream by itself.
#[derive(Clone, Debug)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    acquires: Arc<Semaphore>,
    settles: Arc<Semaphore>,
    opener: Opener,
}

impl Pipeline {
    /// Acquires unanswered at a time, unless set otherwise. With as many settles this fills the bound
    /// of 1,024 requests that a daemon has by default.
    pub const DEFAULT_MAX_IN_FLIGHT: usize = 512;

    const LARGEST_MAX_IN_FLIGHT: usize = 65_536;

    pub(crate) fn new(limits: Limits, max_in_flight: usize) -> Self {
        let max_in_flight = max_in_flight.clamp(1, Self::LARGEST_MAX_IN_FLIGHT);
        let permits = || Arc::new(Semaphore::new(max_in_flight));
        let opener = Opener::new(limits.clone(), max_in_flight);
        let inner = Inner {
            limits,
            acquires: permits(),
            settles: permits(),
            opener,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Takes the charges now, all or none. See [`Limits::try_acquire`].
    pub async fn try_acquire(&self, charges: impl Into<Charges>) -> Result<Acquired> {
        self.acquire().charges(charges).send().await
    }

    /// Starts an acquire. See [`Limits::acquire`].
    pub fn acquire(&self) -> Acquire {
        Acquire::new(self.route())
    }

    /// Settles a reservation by its id. See [`Limits::settle`].
    pub async fn settle(
        &self,
        id: impl Into<String>,
        actuals: impl IntoIterator<Item = Actual>,
    ) -> Result<Settled> {
        self.route().settle(id.into(), actuals).await
    }

    /// Gives every charge of a reservation back, by its id. See [`Limits::refund`].
    pub async fn refund(&self, id: impl Into<String>) -> Result<Settled> {
        self.route().refund(id.into()).await
    }

    /// Renews a reservation by its id. See [`Limits::extend`].
    pub fn extend(
        &self,
        id: impl Into<String>,
        ttl: Duration,
        charges: impl Into<Charges>,
    ) -> Extend<'static> {
        Extend::new(self.route(), id.into(), ttl, charges.into())
    }

    fn route(&self) -> Route {
        Route::Pipelined(self.clone())
    }
}

/// What builders and guards need.
impl Pipeline {
    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) async fn call_acquire(
        &self,
        request: proto::AcquireRequest,
        max_wait: Duration,
    ) -> Result<proto::AcquireResponse> {
        let waits = request.mode() == proto::AcquireMode::Wait;
        match self
            .call(
                Request::Acquire(request),
                &self.inner.acquires,
                max_wait,
                waits,
            )
            .await?
        {
            Response::Acquire(answer) => Ok(answer),
            _ => Err(Error::invalid_answer("not the answer to an acquire")),
        }
    }

    pub(crate) async fn call_settle(
        &self,
        request: proto::SettleRequest,
    ) -> Result<proto::SettleResponse> {
        let settles = &self.inner.settles;
        match self
            .call(Request::Settle(request), settles, Duration::ZERO, false)
            .await?
        {
            Response::Settle(answer) => Ok(answer),
            _ => Err(Error::invalid_answer("not the answer to a settle")),
        }
    }

    pub(crate) async fn call_extend(
        &self,
        request: proto::ExtendReservationRequest,
    ) -> Result<proto::ExtendReservationResponse> {
        let settles = &self.inner.settles;
        match self
            .call(Request::Extend(request), settles, Duration::ZERO, false)
            .await?
        {
            Response::Extend(answer) => Ok(answer),
            _ => Err(Error::invalid_answer("not the answer to an extension")),
        }
    }

    /// Over the stream when there is one with room, for it costs least; else by the release queue.
    pub(crate) fn release(&self, id: String) {
        let inner = &self.inner;
        let request = inner.limits.release_request(id, false);
        let deadline = inner.deadline(Duration::ZERO);
        let sent = match (
            inner.settles.clone().try_acquire_owned(),
            inner.opener.current(),
        ) {
            (Ok(permit), Some(link)) => link.release(&request, permit, deadline),
            _ => false,
        };
        if !sent {
            inner.limits.shared().release(request);
        }
    }

    async fn call(
        &self,
        request: Request,
        permits: &Arc<Semaphore>,
        max_wait: Duration,
        waits: bool,
    ) -> Result<Response> {
        let most = self.inner.limits.shared().max_message_bytes();
        if request.encoded_len() > most {
            // Sent, it would end the stream, and every other call with it.
            return Err(Error::invalid_request(format!(
                "the request is larger than {most} bytes"
            )));
        }
        let deadline = self.inner.deadline(max_wait);
        let ticket = timeout_at(
            deadline,
            self.inner.submit(request, permits, deadline, waits),
        )
        .await
        .map_err(|_| {
            Error::deadline_unsent("no place in the pipeline, or no stream, before the deadline")
        })??;
        match ticket.await? {
            Response::Error(status) => Err(Error::from_item(&status)),
            answer => Ok(answer),
        }
    }
}

impl Inner {
    async fn submit(
        &self,
        request: Request,
        permits: &Arc<Semaphore>,
        deadline: Instant,
        waits: bool,
    ) -> Result<Ticket> {
        let permit = permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::unreachable("the pipeline is closed"))?;
        let mut submission = Submission {
            request,
            permit,
            deadline,
            waits,
        };
        loop {
            let link = match self.opener.current() {
                Some(link) => link,
                None => self.opener.open().await?,
            };
            match Link::submit(&link, submission) {
                Ok(ticket) => return Ok(ticket),
                // The stream ended or drains: nothing was sent on it.
                Err(unsent) => submission = *unsent,
            }
            self.opener.retire(&link);
        }
    }

    fn deadline(&self, max_wait: Duration) -> Instant {
        let now = Instant::now();
        now.checked_add(self.limits.shared().timeout(max_wait))
            .unwrap_or(now)
    }
}
