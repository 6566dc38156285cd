//! What limits remember under request ids.

use super::super::types::{Acquired, LimitState};
use super::Ticket;
pub(super) use crate::requests::digest;
use crate::{Error, ErrorCode, Result, Time, requests};

/// Which method a request id belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rpc {
    Acquire,
    Extend,
    SetLimit,
    DeleteLimit,
    ResetLimit,
    ReportThrottled,
}

/// A first answer.
#[derive(Clone, Debug)]
pub(super) enum Remembered {
    Acquired(Acquired),
    Set(LimitState, bool),
    Deleted(bool),
    Reset(usize),
    PausedUntil(Time),
}

impl From<Acquired> for Remembered {
    fn from(acquired: Acquired) -> Self {
        Self::Acquired(acquired)
    }
}

pub(super) type RequestKey = requests::RequestKey<Rpc>;
pub(super) type Recall = requests::Recall<Ticket, Remembered>;
pub(super) type Requests = requests::Requests<Rpc, Ticket, Remembered>;

impl requests::First<Remembered> {
    /// The answer of an acquire or extension.
    pub(super) fn acquired(self) -> Result<(Acquired, Time)> {
        match self.0 {
            Remembered::Acquired(acquired) => Ok((acquired, self.1)),
            other => Err(misplaced(&other)),
        }
    }
}

/// An answer stands under a method that cannot give it. The key holds the method, so this is a defect.
pub(super) fn misplaced(answer: &Remembered) -> Error {
    Error::new(
        ErrorCode::Internal,
        format!("a request id recalled {answer:?}"),
    )
}
