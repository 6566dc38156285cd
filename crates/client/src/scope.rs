//! Which guarantee an answer carries: [`Scope`].

use std::time::SystemTime;

use trellis_proto::v1 as proto;

use crate::convert;
use crate::error::{Error, Result};

/// Who agrees on the state that an answer was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All daemons that share the store.
    Shared,
    /// The answering daemon alone, as configured.
    Local,
    /// The answering daemon alone, because the shared store is away.
    Degraded {
        /// Since when.
        since: SystemTime,
        /// Why, for an operator.
        reason: String,
    },
}

impl TryFrom<Option<proto::Scope>> for Scope {
    type Error = Error;

    fn try_from(scope: Option<proto::Scope>) -> Result<Self> {
        use proto::ScopeKind as Wire;
        let scope = convert::required(scope, "scope")?;
        match Wire::try_from(scope.kind) {
            Ok(Wire::Shared) => Ok(Self::Shared),
            Ok(Wire::Local) => Ok(Self::Local),
            Ok(Wire::Degraded) => Ok(Self::Degraded {
                since: convert::time(scope.since, "scope.since")?,
                reason: scope.reason,
            }),
            Ok(Wire::Unspecified) | Err(_) => Err(convert::unknown(scope.kind, "scope.kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_degraded_scope_says_since_when_and_why() {
        let since = Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        });
        let kind = proto::ScopeKind::Degraded.into();
        let scope = Scope::try_from(Some(proto::Scope {
            kind,
            since,
            reason: "redis".into(),
        }));
        let since = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        assert_eq!(
            scope.unwrap(),
            Scope::Degraded {
                since,
                reason: "redis".into()
            }
        );
    }

    #[test]
    fn an_unknown_scope_is_an_error() {
        let scope = proto::Scope {
            kind: 42,
            since: None,
            reason: String::new(),
        };
        assert_eq!(
            Scope::try_from(Some(scope)).unwrap_err().kind(),
            ErrorKind::InvalidAnswer
        );
        assert_eq!(
            Scope::try_from(None).unwrap_err().kind(),
            ErrorKind::InvalidAnswer
        );
    }
}
