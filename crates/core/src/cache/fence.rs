//! A write under a lock: refused once somebody has written under a later grant of it.

use crate::{Error, ErrorCode, Name};

/// The lock that a writer holds, and the fencing token of its grant. Equal tokens are one grant, or shared holders of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The lock, of the entry's namespace.
    pub lock: Name,
    /// Its token: 1 to 2^53 - 1.
    pub token: u64,
}

impl Fence {
    /// What a writer is told whose token is lower than one that was seen of its lock. `least`: the lowest that is not.
    #[must_use]
    pub fn refused(least: u64) -> Error {
        let allowed = format!(
            "must be at least {least}, the highest token seen: the lock has been granted to somebody else since; stop, \
             or acquire it anew"
        );
        Error {
            code: ErrorCode::StaleFence,
            ..Error::invalid("fence.token", allowed)
        }
    }
}
