//! The guard of a reservation.
//!
//! Guarantees that a reservation is settled at most once by its guard, and that a guard dropped
//! unsettled releases it in the background. What the background cannot do, the reservation's TTL does.

use std::time::Duration;

use tokio::time::Instant;

use crate::charge::Charges;
use crate::error::Result;
use crate::extend::Extend;
use crate::route::Route;
use crate::settlement::{Actual, Settled};

/// Charges that are held until settled, released or expired.
///
/// Dropping it unsettled releases it: a settle with no actuals is sent in the background, which frees
/// its slots and keeps its rate charges as reserved. When that cannot be sent (the queue of releases
/// is full, the daemon is away, the runtime has ended), the reservation's TTL frees the slots.
#[derive(Debug)]
#[must_use = "dropping a reservation releases it"]
pub struct Reservation {
    id: String,
    deadline: Instant,
    route: Route,
    // Unsettled, and still this guard's to release.
    open: bool,
}

impl Reservation {
    pub(crate) fn new(id: String, route: Route) -> Self {
        Self {
            id,
            deadline: Instant::now(),
            route,
            open: true,
        }
    }

    pub(crate) fn renew(&mut self, ttl: Duration) {
        let now = Instant::now();
        self.deadline = now.checked_add(ttl).unwrap_or(now);
    }

    /// The reservation's name: opaque, and valid in any process that may call the daemon.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When the reservation expires. Counted from the arrival of the answer, so it is later than the
    /// daemon's own deadline by the time that the answer travelled.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How long until [`Reservation::deadline`]; 0 after it.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Ends the reservation with what was really used: the rest is refunded, what is missing becomes
    /// debt. A charge that is not named was used as reserved.
    ///
    /// On an error the reservation stays as the daemon has it, until its TTL: keep a copy of
    /// [`Reservation::id`] to try again by [`Limits::settle`](crate::Limits::settle), which may be
    /// repeated with the same amounts.
    pub async fn settle(mut self, actuals: impl IntoIterator<Item = Actual>) -> Result<Settled> {
        let settled = self.route.settle(self.id.clone(), actuals).await;
        self.open = false;
        settled
    }

    /// Ends the reservation: everything was used as reserved. Errors as [`Reservation::settle`].
    pub async fn settle_as_reserved(self) -> Result<Settled> {
        self.settle([]).await
    }

    /// Gives every charge back: the work was never done. Errors as [`Reservation::settle`].
    pub async fn refund(mut self) -> Result<Settled> {
        let settled = self.route.refund(self.id.clone()).await;
        self.open = false;
        settled
    }

    /// Renews the reservation to last `ttl` from now (1 ms to 24 hours; never shortens) and takes
    /// further charges into it, all or nothing, without waiting. Send the result; add
    /// [`Extend::request_id`] first where a repeat must not charge twice.
    pub fn extend(&mut self, ttl: Duration, charges: impl Into<Charges>) -> Extend<'_> {
        let (route, id) = (self.route.clone(), self.id.clone());
        Extend::new(route, id, ttl, charges.into()).renewing(self)
    }

    /// Leaves the reservation to its TTL, or to whoever knows its id.
    pub fn forget(self) {
        drop(self.into_id());
    }

    /// Hands the reservation over by its id, for example to another process, which settles it by
    /// [`Limits::settle`](crate::Limits::settle).
    #[must_use]
    pub fn into_id(mut self) -> String {
        self.open = false;
        std::mem::take(&mut self.id)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            self.route.release(std::mem::take(&mut self.id));
        }
    }
}
