//! The one error of this crate.
//!
//! It says what went wrong, under which gRPC code, which fields are at fault, and what a caller may
//! do next. Whether repeating helps is decided where the error is born. How a `tonic::Status` is read
//! is told in `decode`.

mod decode;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
pub use trellis_proto::v1::ErrorReason;

/// What this crate's calls return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How long to wait before repeating when the daemon does not say.
pub(crate) const DEFAULT_PAUSE: Duration = Duration::from_millis(100);

/// Why a call has no answer. A denied charge is an answer, not an error.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    advice: RetryAdvice,
    code: Code,
    message: String,
    violations: Vec<FieldViolation>,
    // Kept for `source()`; the text and details are already in the other fields. None where the
    // message tells the causes.
    status: Option<Status>,
}

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The daemon refused the call and says why. Nothing was done.
    Refused(ErrorReason),
    /// The request cannot be expressed in the contract: an address that is not of the form
    /// `http://host:port`, a duration out of range. Nothing was sent.
    InvalidRequest,
    /// The answer has a value that this version does not know, or lacks one that it needs.
    InvalidAnswer,
    /// No daemon could be reached. Nothing was sent.
    Unreachable,
    /// No answer within the call's deadline.
    Deadline,
    /// The connection or stream ended before the answer. Whether the call was done is unknown.
    OutcomeUnknown,
    /// A status without a reason that this version knows; see [`Error::code`].
    Other,
}

/// What a caller may do after an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// The same call fails again until something else changes.
    Never,
    /// Nothing was done. The same call may succeed after this long.
    Later(Duration),
    /// The call may have been done. Repeat it with the `request_id` that it carried; without one, a
    /// repeat may take its charges twice.
    SameRequestId,
}

/// A field of the request that the daemon refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, for example `charges[0].amount`.
    pub field: String,
    /// What is allowed.
    pub allowed: String,
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The reason of the contract, where the daemon gave one.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        match self.0.kind {
            ErrorKind::Refused(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether and how to repeat the call.
    #[must_use]
    pub fn retry_advice(&self) -> RetryAdvice {
        self.0.advice
    }

    /// The fields at fault; empty when none is.
    #[must_use]
    pub fn field_violations(&self) -> &[FieldViolation] {
        &self.0.violations
    }

    /// The gRPC code. An error made by this crate has the code that a daemon would have used.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What happened, without the advice that `Display` adds.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::InvalidRequest,
            RetryAdvice::Never,
            Code::InvalidArgument,
            message,
        )
    }

    pub(crate) fn invalid_answer(message: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::InvalidAnswer,
            RetryAdvice::Never,
            Code::Internal,
            message,
        )
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        let advice = RetryAdvice::Later(DEFAULT_PAUSE);
        Self::new(ErrorKind::Unreachable, advice, Code::Unavailable, message)
    }

    pub(crate) fn lease_lost() -> Self {
        Self::new(
            ErrorKind::Refused(ErrorReason::LeaseLost),
            RetryAdvice::Never,
            Code::FailedPrecondition,
            "the session has ended, and its leases with it",
        )
    }

    pub(crate) fn outcome_unknown(message: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::OutcomeUnknown,
            RetryAdvice::SameRequestId,
            Code::Unavailable,
            message,
        )
    }

    /// The deadline passed after the request was handed to the transport.
    pub(crate) fn deadline() -> Self {
        let message = "no answer within the call's deadline";
        Self::new(
            ErrorKind::Deadline,
            RetryAdvice::SameRequestId,
            Code::DeadlineExceeded,
            message,
        )
    }

    /// The deadline passed before anything was sent.
    pub(crate) fn deadline_unsent(message: impl Into<String>) -> Self {
        let advice = RetryAdvice::Later(DEFAULT_PAUSE);
        Self::new(ErrorKind::Deadline, advice, Code::DeadlineExceeded, message)
    }

    fn new(kind: ErrorKind, advice: RetryAdvice, code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner {
            kind,
            advice,
            code,
            message,
            violations: Vec::new(),
            status: None,
        }))
    }
}

/// An error and its causes. tonic's transport errors say nothing but "transport error" themselves.
///
/// A cause that its error told already is left out: wrappers often print what they wrap.
pub(crate) fn in_one_line(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !line.ends_with(&told) {
            line = format!("{line}: {told}");
        }
        cause = error.source();
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind {
            ErrorKind::Refused(reason) => f.write_str(reason.as_reason())?,
            ErrorKind::InvalidRequest => f.write_str("invalid request")?,
            ErrorKind::InvalidAnswer => f.write_str("invalid answer")?,
            ErrorKind::Unreachable => f.write_str("daemon unreachable")?,
            ErrorKind::Deadline => f.write_str("deadline exceeded")?,
            ErrorKind::OutcomeUnknown => f.write_str("outcome unknown")?,
            ErrorKind::Other => write!(f, "gRPC {:?}", self.0.code)?,
        }
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        for violation in &self.0.violations {
            let told = format!("{}: {}", violation.field, violation.allowed);
            // The daemon's own message tells the first one.
            if !self.0.message.contains(&told) {
                write!(f, "; {told}")?;
            }
        }
        match self.0.advice {
            RetryAdvice::Never => Ok(()),
            RetryAdvice::Later(pause) => write!(f, "; try again after {pause:?}"),
            RetryAdvice::SameRequestId => {
                f.write_str("; it may have been done: repeat it with the same request id")
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("violations", &self.0.violations)
            .field("advice", &self.0.advice)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.status.as_ref().and_then(StdError::source)
    }
}
