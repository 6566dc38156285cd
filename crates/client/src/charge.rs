//! What an acquire takes: [`Charge`] and [`Charges`].

use trellis_proto::v1 as proto;

use crate::error::{Error, Result};
use crate::spec::Spec;

/// One charge against one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    limit: String,
    key: String,
    amount: i64,
    spec: Option<Spec>,
    require_spec: bool,
}

impl Charge {
    /// Takes `amount` units (1 to 10^12) from the shared bucket of `limit`.
    #[must_use]
    pub fn new(limit: impl Into<String>, amount: i64) -> Self {
        Self {
            limit: limit.into(),
            key: String::new(),
            amount,
            spec: None,
            require_spec: false,
        }
    }

    /// Takes from the bucket of this key instead of the shared one.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// The spec to use when the limit is not declared, so that a first call needs no set-up.
    #[must_use]
    pub fn spec(mut self, spec: impl Into<Spec>) -> Self {
        self.spec = Some(spec.into());
        self
    }

    /// Fails with `SPEC_MISMATCH` unless the spec in force is the one given to [`Charge::spec`].
    #[must_use]
    pub fn require_spec(mut self) -> Self {
        self.require_spec = true;
        self
    }
}

impl TryFrom<Charge> for proto::Charge {
    type Error = Error;

    fn try_from(charge: Charge) -> Result<Self> {
        Ok(Self {
            limit: charge.limit,
            key: charge.key,
            amount: charge.amount,
            spec: charge.spec.map(TryInto::try_into).transpose()?,
            require_spec: charge.require_spec,
        })
    }
}

impl TryFrom<proto::Charge> for Charge {
    type Error = Error;

    fn try_from(charge: proto::Charge) -> Result<Self> {
        Ok(Self {
            limit: charge.limit,
            key: charge.key,
            amount: charge.amount,
            spec: charge.spec.map(TryInto::try_into).transpose()?,
            require_spec: charge.require_spec,
        })
    }
}

/// One charge or several: what [`Limits::try_acquire`](crate::Limits::try_acquire) accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charges(pub(crate) Vec<Charge>);

impl From<Charge> for Charges {
    fn from(charge: Charge) -> Self {
        Self(vec![charge])
    }
}

impl From<Vec<Charge>> for Charges {
    fn from(charges: Vec<Charge>) -> Self {
        Self(charges)
    }
}

impl<const N: usize> From<[Charge; N]> for Charges {
    fn from(charges: [Charge; N]) -> Self {
        Self(charges.into())
    }
}

impl Charges {
    pub(crate) fn into_proto(self) -> Result<Vec<proto::Charge>> {
        self.0.into_iter().map(TryInto::try_into).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_charge_goes_to_the_wire_whole() {
        let rate = Spec::rate(10, Duration::from_secs(1));
        let charge = Charge::new("llm.requests", 2)
            .key("user-7")
            .spec(rate.clone())
            .require_spec();
        let wire = proto::Charge::try_from(charge.clone()).unwrap();
        assert_eq!(Charge::try_from(wire.clone()).unwrap(), charge);
        assert_eq!(
            (wire.limit.as_str(), wire.key.as_str(), wire.amount),
            ("llm.requests", "user-7", 2)
        );
        assert!(wire.require_spec);
        assert_eq!(
            Spec::try_from(wire.spec.unwrap()).unwrap(),
            Spec::Rate(rate)
        );
    }
}
