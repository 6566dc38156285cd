//! Why a job has no result.

use std::fmt;

use bytes::Bytes;

use super::info::{JobInfo, JobState};
use crate::error::Error;

/// Why a job has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum JobError {
    /// The daemon could not be asked, or refused.
    Call(Error),
    /// Its worker said that trying again does not help.
    Failed {
        /// Why, in the worker's words.
        error: String,
    },
    /// It was tried as often as its policy allows.
    Dead {
        /// How often.
        attempts: u32,
        /// Why the last attempt was in vain.
        error: String,
    },
    /// Somebody took it back.
    Cancelled,
    /// Its deadline passed.
    Expired,
    /// Another job of the same unique key took its place.
    Replaced,
    /// The result is not of the type asked for.
    Type(serde_json::Error),
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => write!(f, "the job could not be asked for: {error}"),
            Self::Failed { error } => write!(f, "the job has failed: {error}"),
            Self::Dead { attempts, error } => {
                write!(f, "the job is dead after {attempts} attempts: {error}")
            }
            Self::Cancelled => f.write_str("the job was cancelled"),
            Self::Expired => f.write_str("the job's deadline has passed"),
            Self::Replaced => f.write_str("another job took the job's place"),
            Self::Type(error) => write!(f, "the result is of another type: {error}"),
        }
    }
}

impl std::error::Error for JobError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            Self::Type(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// The result of a job that has ended, or why it has none.
pub(super) fn outcome(job: JobInfo, result: Bytes) -> Result<Bytes, JobError> {
    match job.state {
        JobState::Failed => Err(JobError::Failed { error: job.error }),
        JobState::Dead => Err(JobError::Dead {
            attempts: job.attempts,
            error: job.error,
        }),
        JobState::Cancelled => Err(JobError::Cancelled),
        JobState::Expired => Err(JobError::Expired),
        JobState::Replaced => Err(JobError::Replaced),
        // The others have not ended.
        JobState::Succeeded | JobState::Delayed | JobState::Ready | JobState::Running => Ok(result),
    }
}
