//! How a reservation ends: what was really used, and what the daemon made of it.

use trellis_proto::v1 as proto;

use crate::convert;
use crate::error::{Error, Result};
use crate::scope::Scope;

/// What was really used of one charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actual {
    limit: String,
    key: String,
    amount: i64,
}

impl Actual {
    /// `amount` units (0 to 10^12) of the shared bucket of `limit` were really used.
    #[must_use]
    pub fn new(limit: impl Into<String>, amount: i64) -> Self {
        Self {
            limit: limit.into(),
            key: String::new(),
            amount,
        }
    }

    /// Of the bucket of this key instead of the shared one.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }
}

impl From<Actual> for proto::ActualAmount {
    fn from(actual: Actual) -> Self {
        Self {
            limit: actual.limit,
            key: actual.key,
            amount: actual.amount,
        }
    }
}

/// How a reservation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// One for each charge of the reservation, in the order in which they were taken.
    pub charges: Vec<SettledCharge>,
    /// Which guarantee the answer carries.
    pub scope: Scope,
}

/// How one charge ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledCharge {
    /// The limit's name.
    pub limit: String,
    /// The bucket's key.
    pub key: String,
    /// Units reserved.
    pub reserved: i64,
    /// Units really used.
    pub actual: i64,
    /// Units given back.
    pub refunded: i64,
    /// Units available after this; negative while there is debt.
    pub remaining: i64,
}

impl TryFrom<proto::SettleResponse> for Settled {
    type Error = Error;

    fn try_from(answer: proto::SettleResponse) -> Result<Self> {
        Ok(Self {
            charges: convert::all(answer.charges)?,
            scope: answer.scope.try_into()?,
        })
    }
}

impl TryFrom<proto::SettledCharge> for SettledCharge {
    type Error = Error;

    fn try_from(charge: proto::SettledCharge) -> Result<Self> {
        Ok(Self {
            limit: charge.limit,
            key: charge.key,
            reserved: charge.reserved,
            actual: charge.actual,
            refunded: charge.refunded,
            remaining: charge.remaining,
        })
    }
}
