//! How an acquire ended: [`Acquired`] and its parts.
//!
//! Decoded strictly: an outcome, source or scope that this version does not know is an error. When
//! such an answer carried a reservation, it is released.

use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::convert;
use crate::error::{Error, Result};
use crate::reservation::Reservation;
use crate::route::Route;
use crate::scope::Scope;
use crate::spec::Spec;

/// How an acquire ended.
#[derive(Debug)]
#[must_use = "dropping a grant releases its reservation"]
pub enum Acquired {
    /// Everything was taken.
    Granted(Grant),
    /// Nothing was taken.
    Denied {
        /// The earliest time at which the same charges can be admitted. Never 0.
        retry_after: Duration,
        /// What each charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
    /// Nothing was taken, and this amount never will be: it is above what the bucket can hold.
    Never {
        /// What each charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
    /// Nothing was taken within the `max_wait`.
    TimedOut {
        /// The earliest time at which the same charges can be admitted. Never 0.
        retry_after: Duration,
        /// The place in line that the call had, from 1, at most 1,000.
        position: u32,
        /// What each charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
    /// The repeat of a granted call (same request id) whose reservation has ended since.
    Lost {
        /// What each charge met, in request order.
        charges: Vec<ChargeResult>,
        /// Which guarantee the answer carries.
        scope: Scope,
    },
}

/// An admitted acquire.
#[derive(Debug)]
#[must_use = "dropping a grant releases its reservation"]
pub struct Grant {
    /// What each charge met, in request order.
    pub charges: Vec<ChargeResult>,
    /// Which guarantee the answer carries.
    pub scope: Scope,
    /// The guard of the charges, where a reservation was made: it was asked for, or slots are held.
    pub reservation: Option<Reservation>,
}

/// What a charge met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeResult {
    /// Units available after this call; negative while there is debt.
    pub remaining: i64,
    /// How long until this charge alone fits; `None` when it does now.
    pub retry_after: Option<Duration>,
    /// The spec in force.
    pub spec: Spec,
    /// Where the spec in force comes from.
    pub source: SpecSource,
    /// This call's inline spec replaced a different one.
    pub spec_replaced: bool,
}

/// Where a spec comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecSource {
    /// A request carried it.
    Inline,
    /// The daemon's configuration declares it.
    Configuration,
    /// `set_limit` declared it.
    SetLimit,
    /// A pipeline declares it.
    Pipeline,
}

impl Acquired {
    /// Whether everything was taken.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        matches!(self, Self::Granted(_))
    }

    /// The grant, when there is one.
    #[must_use]
    pub fn granted(self) -> Option<Grant> {
        match self {
            Self::Granted(grant) => Some(grant),
            _ => None,
        }
    }

    /// How long to wait before trying again; `None` when granted, lost or never possible.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied { retry_after, .. } | Self::TimedOut { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Granted(_) | Self::Never { .. } | Self::Lost { .. } => None,
        }
    }

    /// What each charge met, in request order.
    #[must_use]
    pub fn charges(&self) -> &[ChargeResult] {
        match self {
            Self::Granted(Grant { charges, .. })
            | Self::Denied { charges, .. }
            | Self::Never { charges, .. }
            | Self::TimedOut { charges, .. }
            | Self::Lost { charges, .. } => charges,
        }
    }

    /// Which guarantee the answer carries.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        match self {
            Self::Granted(Grant { scope, .. })
            | Self::Denied { scope, .. }
            | Self::Never { scope, .. }
            | Self::TimedOut { scope, .. }
            | Self::Lost { scope, .. } => scope,
        }
    }

    pub(crate) fn decode(answer: proto::AcquireResponse, route: &Route) -> Result<Self> {
        use proto::Outcome;
        // First, so that an answer that cannot be read gives its reservation back.
        let reservation = reservation(answer.reservation_id, answer.reservation_ttl, route)?;
        let charges = convert::all(answer.charges)?;
        let scope = answer.scope.try_into()?;
        let retry_after = || convert::duration(answer.retry_after, "retry_after");
        Ok(match Outcome::try_from(answer.outcome) {
            Ok(Outcome::Granted) => Self::Granted(Grant {
                charges,
                scope,
                reservation,
            }),
            Ok(Outcome::Denied) => Self::Denied {
                retry_after: retry_after()?,
                charges,
                scope,
            },
            Ok(Outcome::Never) => Self::Never { charges, scope },
            Ok(Outcome::TimedOut) => Self::TimedOut {
                retry_after: retry_after()?,
                position: answer.position,
                charges,
                scope,
            },
            Ok(Outcome::Lost) => Self::Lost { charges, scope },
            Ok(Outcome::Unspecified) | Err(_) => {
                return Err(convert::unknown(answer.outcome, "outcome"));
            }
        })
    }
}

fn reservation(
    id: String,
    ttl: Option<prost_types::Duration>,
    route: &Route,
) -> Result<Option<Reservation>> {
    if id.is_empty() {
        return Ok(None);
    }
    let mut reservation = Reservation::new(id, route.clone());
    reservation.renew(convert::duration(ttl, "reservation_ttl")?);
    Ok(Some(reservation))
}

impl TryFrom<proto::ChargeResult> for ChargeResult {
    type Error = Error;

    fn try_from(result: proto::ChargeResult) -> Result<Self> {
        Ok(Self {
            remaining: result.remaining,
            retry_after: convert::optional_duration(result.retry_after, "charge.retry_after")?,
            spec: convert::required(result.spec, "charge.spec")?.try_into()?,
            source: SpecSource::decode(result.source)?,
            spec_replaced: result.spec_replaced,
        })
    }
}

impl SpecSource {
    pub(crate) fn decode(value: i32) -> Result<Self> {
        use proto::SpecSource as Wire;
        match Wire::try_from(value) {
            Ok(Wire::Inline) => Ok(Self::Inline),
            Ok(Wire::Configuration) => Ok(Self::Configuration),
            Ok(Wire::SetLimit) => Ok(Self::SetLimit),
            Ok(Wire::Pipeline) => Ok(Self::Pipeline),
            Ok(Wire::Unspecified) | Err(_) => Err(convert::unknown(value, "source")),
        }
    }
}
