//! Why there is no value.

use crate::error::Error;
use std::fmt;

/// Why there is no value.
#[derive(Debug)]
pub enum ComputeError<E> {
    /// The daemon could not be asked, or refused.
    Call(Error),
    /// This caller's computation failed.
    Compute(E),
    /// Another caller's computation failed.
    Elsewhere {
        /// A gRPC code.
        code: i32,
        /// Why, in its words.
        message: String,
    },
    /// There is an entry, and it says that there is no value.
    Negative,
    /// The value is not of the type asked for.
    Type(serde_json::Error),
}

impl<E: fmt::Display> fmt::Display for ComputeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => write!(f, "the cache could not be asked: {error}"),
            Self::Compute(error) => write!(f, "the computation failed: {error}"),
            Self::Elsewhere { message, .. } => {
                write!(f, "another caller's computation failed: {message}")
            }
            Self::Negative => f.write_str("there is no value"),
            Self::Type(error) => write!(f, "the value is of another type: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ComputeError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            Self::Compute(error) => Some(error),
            Self::Type(error) => Some(error),
            Self::Elsewhere { .. } | Self::Negative => None,
        }
    }
}

impl<E> From<Error> for ComputeError<E> {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// What a typed computation fails with.
pub(super) enum Typed<E> {
    Compute(E),
    Type(serde_json::Error),
}

impl<E: fmt::Display> fmt::Display for Typed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compute(error) => error.fmt(f),
            Self::Type(error) => error.fmt(f),
        }
    }
}

impl<E> ComputeError<E> {
    pub(super) fn untyped(error: ComputeError<Typed<E>>) -> Self {
        match error {
            ComputeError::Compute(Typed::Compute(error)) => Self::Compute(error),
            ComputeError::Compute(Typed::Type(error)) | ComputeError::Type(error) => {
                Self::Type(error)
            }
            ComputeError::Call(error) => Self::Call(error),
            ComputeError::Negative => Self::Negative,
            ComputeError::Elsewhere { code, message } => Self::Elsewhere { code, message },
        }
    }
}
