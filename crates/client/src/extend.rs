//! Renewing a reservation: [`Extend`] and its outcome.

use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::acquired::ChargeResult;
use crate::charge::Charges;
use crate::convert;
use crate::error::Result;
use crate::reservation::Reservation;
use crate::route::Route;
use crate::scope::Scope;

/// An extension being put together.
///
/// Made by [`Reservation::extend`] or [`Limits::extend`](crate::Limits::extend), sent by
/// [`Extend::send`] or `.await`.
#[derive(Debug)]
#[must_use = "an extension does nothing until it is sent"]
pub struct Extend<'a> {
    route: Route,
    id: String,
    ttl: Duration,
    charges: Charges,
    request_id: String,
    guard: Option<&'a mut Reservation>,
}

/// How an extension ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// Renewed, and the further charges were taken.
    Granted {
        /// How long the reservation lasts from now.
        expires_in: Duration,
        /// What each further charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
    /// Neither renewed nor charged.
    Denied {
        /// The earliest time at which the same charges can be admitted. Never 0.
        retry_after: Duration,
        /// What each further charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
    /// Neither renewed nor charged: a charge is above what its bucket can hold.
    Never {
        /// What each further charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
    /// The repeat of a granted extension whose reservation has ended since.
    Lost {
        /// What each further charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
}

impl<'a> Extend<'a> {
    pub(crate) fn new(route: Route, id: String, ttl: Duration, charges: Charges) -> Self {
        Self {
            route,
            id,
            ttl,
            charges,
            request_id: String::new(),
            guard: None,
        }
    }

    /// Moves the guard's deadline when the extension is granted.
    pub(crate) fn renewing(mut self, guard: &'a mut Reservation) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Makes a repeat with the same id get the first answer instead of being charged again.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// Sends the extension.
    pub async fn send(self) -> Result<Extended> {
        let request = proto::ExtendReservationRequest {
            namespace: self.route.namespace(),
            reservation_id: self.id,
            reservation_ttl: Some(convert::to_proto(self.ttl, "reservation_ttl")?),
            charges: self.charges.into_proto()?,
            request_id: self.request_id,
        };
        let extended = decode(self.route.extend(request).await?)?;
        if let (Some(guard), Extended::Granted { expires_in, .. }) = (self.guard, &extended) {
            guard.renew(*expires_in);
        }
        Ok(extended)
    }
}

fn decode(answer: proto::ExtendReservationResponse) -> Result<Extended> {
    use proto::Outcome;
    let charges = convert::all(answer.charges)?;
    let scope = answer.scope.try_into()?;
    match Outcome::try_from(answer.outcome) {
        Ok(Outcome::Granted) => {
            let expires_in = convert::duration(answer.reservation_ttl, "reservation_ttl")?;
            Ok(Extended::Granted {
                expires_in,
                charges,
                scope,
            })
        }
        Ok(Outcome::Denied) => {
            let retry_after = convert::duration(answer.retry_after, "retry_after")?;
            Ok(Extended::Denied {
                retry_after,
                charges,
                scope,
            })
        }
        Ok(Outcome::Never) => Ok(Extended::Never { charges, scope }),
        Ok(Outcome::Lost) => Ok(Extended::Lost { charges, scope }),
        // An extension does not wait, so it cannot time out.
        Ok(Outcome::Unspecified | Outcome::TimedOut) | Err(_) => {
            Err(convert::unknown(answer.outcome, "outcome"))
        }
    }
}
