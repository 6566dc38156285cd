//! Fair shares: on whose account a call waits, and with which weight.

use crate::{Error, FairKey, Result};

/// The largest weight of a fair key.
pub const MAX_WEIGHT: u32 = 1_000;

/// On whose account a call waits. Where calls of several accounts wait for one bucket, each account is
/// served in proportion to its weight, by units and not by calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FairShare {
    account: Account,
    weight: u32,
}

/// A fair key, or none: the account of all calls that name none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Account(Option<FairKey>);

impl FairShare {
    /// The account of all calls of this daemon that name none, and its weight, 1.
    pub const UNNAMED: Self = Self {
        account: Account(None),
        weight: 1,
    };

    /// Checks what a request says: an empty key is [`FairShare::UNNAMED`], which has no other weight; a
    /// weight of 0 is 1.
    pub fn new(key: impl Into<String>, weight: u32) -> Result<Self> {
        let key = key.into();
        if key.is_empty() {
            return match weight {
                0 => Ok(Self::UNNAMED),
                _ => Err(Error::invalid("weight", "needs a fair_key")),
            };
        }
        if weight > MAX_WEIGHT {
            let allowed = format!("must be 1 to {MAX_WEIGHT}, or 0 for 1");
            return Err(Error::invalid("weight", allowed));
        }
        Ok(Self {
            account: Account(Some(FairKey::new(key, "fair_key")?)),
            weight: weight.max(1),
        })
    }

    /// The fair key; `None` for the account of calls that name none.
    #[must_use]
    pub fn key(&self) -> Option<&FairKey> {
        self.account.0.as_ref()
    }

    /// The weight, from 1.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// As [`FairShare::key`], as turns are counted by it.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }
}

impl Default for FairShare {
    fn default() -> Self {
        Self::UNNAMED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(key: &str, weight: u32) -> String {
        let error = FairShare::new(key, weight).unwrap_err();
        error.violation.unwrap().field
    }

    #[test]
    fn a_share_is_refused_by_the_field_at_fault() {
        assert_eq!(refused("", 1), "weight");
        assert_eq!(refused("a", 1_001), "weight");
        assert_eq!(refused("a\n", 1), "fair_key");
        assert_eq!(refused(&"x".repeat(257), 1), "fair_key");
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        assert_eq!(FairShare::new("", 0).unwrap(), FairShare::UNNAMED);
        assert_eq!(FairShare::new("a", 0), FairShare::new("a", 1));
        assert_eq!(FairShare::new("a", 1_000).unwrap().weight(), 1_000);
    }
}
