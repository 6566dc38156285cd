//! Why a log did not do what it was asked, and what stands in it nevertheless.
//!
//! Apart from [`LogError::Unknown`] an append that fails has left nothing behind and never will.

use super::types::{Bounds, Partition};
use crate::{Error, ErrorCode, Micros};

/// The answer of the log port.
pub type LogResult<T> = Result<T, LogError>;

/// Why a call of the log port failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The call can never succeed. Nothing was done.
    #[error("{field}: {allowed}")]
    Invalid {
        /// What is at fault, for example `batch.records[3].headers[0].name`.
        field: String,
        /// What is allowed there.
        allowed: String,
    },
    /// The offset lies below the start of the partition, because records were trimmed, or beyond its end.
    #[error("the partition holds offsets {} to below {}", .0.start.0, .0.end.0)]
    OutOfRange(Bounds),
    /// The bound on bytes that wait to be written is reached. Nothing was appended.
    #[error("too many bytes wait to be written")]
    Busy {
        /// When there may be room again.
        retry_after: Micros,
    },
    /// The log has no room, in memory or on its disk. Nothing was appended.
    #[error("the log is full: {reason}")]
    Full {
        /// Which bound, and what makes room.
        reason: String,
    },
    /// The log cannot do it now. Nothing was appended.
    #[error("the log is unavailable: {reason}")]
    Unavailable {
        /// What is wrong.
        reason: String,
        /// When to try again; `None` when that does not help before an operator has acted.
        retry_after: Option<Micros>,
    },
    /// The batch may stand in the log, may come to stand in it later, or never: see [`super::Log`].
    #[error("whether the batch was appended is unknown: {reason}")]
    Unknown {
        /// What happened.
        reason: String,
    },
    /// What is stored is not what was written. A read never passes over it.
    #[error("the log is damaged: {reason}, partition {}, at {position}", partition.0)]
    Damaged {
        /// Whose records cannot be read.
        partition: Partition,
        /// Where, for an operator: file and byte.
        position: String,
        /// What is wrong there, and the way out.
        reason: String,
    },
    /// The log was closed. Nothing was appended.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// A call that can never succeed.
    pub(crate) fn invalid(field: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            allowed: allowed.into(),
        }
    }
}

impl From<LogError> for Error {
    /// The same for a caller of the API.
    fn from(error: LogError) -> Self {
        let message = error.to_string();
        match error {
            LogError::Invalid { field, allowed } => Self::invalid(field, allowed),
            LogError::OutOfRange(_) => Self::invalid("offset", message),
            LogError::Busy { retry_after } => {
                Self::new(ErrorCode::TooManyBytes, message).retry_after(retry_after)
            }
            LogError::Full { .. } => Self::new(ErrorCode::TooManyBytes, message),
            LogError::Unavailable { retry_after, .. } => {
                let error = Self::new(ErrorCode::StoreUnavailable, message);
                match retry_after {
                    Some(wait) => error.retry_after(wait),
                    None => error,
                }
            }
            LogError::Unknown { .. } => Self::new(ErrorCode::OutcomeUnknown, message),
            LogError::Damaged { .. } => Self::new(ErrorCode::Internal, message),
            LogError::Closed => Self::new(ErrorCode::Draining, message),
        }
    }
}
