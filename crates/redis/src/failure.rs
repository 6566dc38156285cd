//! What a call of a script that failed is to its caller, whatever the primitive.

use crate::{CallError, RefusalKind};
use trellis_core::{Error, ErrorCode, Micros};

/// When to try again while the store is away: about as long as it takes to be noticed when it is back.
pub(crate) const RETRY_AFTER: Micros = Micros::from_millis(500);

/// How a call whose outcome is unknown is made again.
#[derive(Clone, Copy)]
pub(crate) enum Repeat {
    /// As it is.
    Any,
    /// Under the id that it had.
    SameRequestId,
}

/// What a call without an answer is to its caller.
pub(crate) fn without_answer(error: &CallError, retry_after: Micros, repeat: Repeat) -> Error {
    match error {
        CallError::Unknown(reason) => {
            let repeat = match repeat {
                Repeat::Any => "a repeat is safe",
                Repeat::SameRequestId => "a repeat with the same request_id is safe",
            };
            let message = format!(
                "the shared store did not answer ({reason}): the call may have been carried out; {repeat}"
            );
            Error::new(ErrorCode::OutcomeUnknown, message).retry_after(retry_after)
        }
        CallError::Refused(refusal) if refusal.kind == RefusalKind::TooManyInFlight => {
            Error::new(ErrorCode::TooManyCalls, refusal.message.clone()).retry_after(retry_after)
        }
        CallError::Refused(refusal) if refusal.kind == RefusalKind::Script => {
            tracing::error!(message = refusal.message, "a script failed");
            let message = "a script of the shared store failed; see the daemon's log";
            Error::new(ErrorCode::Internal, message)
        }
        CallError::Refused(refusal) => unavailable(&refusal.message, retry_after),
        CallError::Away(reason) => unavailable(reason, retry_after),
    }
}

/// Nothing was done.
pub(crate) fn unavailable(reason: &str, retry_after: Micros) -> Error {
    let message = format!("the shared store is away: {reason}; nothing was done");
    Error::new(ErrorCode::StoreUnavailable, message).retry_after(retry_after)
}

/// An answer that this daemon cannot read: a defect, told in its log.
pub(crate) fn unreadable(what: impl AsRef<str>) -> Error {
    tracing::error!(
        what = what.as_ref(),
        "an answer of the store cannot be read"
    );
    let message = "an answer of the shared store cannot be read; see the daemon's log";
    Error::new(ErrorCode::Internal, message)
}
