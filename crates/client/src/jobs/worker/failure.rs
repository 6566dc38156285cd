//! [`Failure`]: how a handler says that an attempt was in vain.

use std::fmt;
use std::time::Duration;

use trellis_proto::v1 as proto;
use trellis_proto::v1::job_attempt_end::End;

use crate::convert;
use crate::error::{Result, in_one_line};

/// The most bytes of a message, by the contract.
const MAX_ERROR_BYTES: usize = 4_096;

/// Why an attempt was in vain, and what is to become of the job.
///
/// Every error turns into one by `?`: with its causes as the message, and the job runs again after its back-off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Retry(String, Option<Duration>),
    Permanent(String),
    Throttled(Duration),
    GiveBack,
}

impl Failure {
    /// The job runs again after its back-off, unless this was its last attempt. The message is for people who look; of more than
    /// 4,096 bytes the rest is cut off.
    #[must_use]
    pub fn retry(message: impl fmt::Display) -> Self {
        Self(Kind::Retry(cut(message.to_string()), None))
    }

    /// As [`Failure::retry`], but not before this has passed, however short the back-off is: up to 366 days.
    #[must_use]
    pub fn retry_after(message: impl fmt::Display, wait: Duration) -> Self {
        Self(Kind::Retry(cut(message.to_string()), Some(wait)))
    }

    /// Trying again does not help: the job has failed.
    #[must_use]
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self(Kind::Permanent(cut(message.to_string())))
    }

    /// What the job needs, for example an API, refuses it for now: the attempt does not count, and the job runs again after this.
    #[must_use]
    pub fn throttled(wait: Duration) -> Self {
        Self(Kind::Throttled(wait))
    }

    /// The job is given back, for example since this worker shuts down: the attempt does not count, and the job keeps its place.
    #[must_use]
    pub fn give_back() -> Self {
        Self(Kind::GiveBack)
    }

    /// How the attempt ends. A wait that the contract cannot express is as long as it can.
    pub(super) fn end(self) -> End {
        let wire = |wait: Duration| convert::to_proto(wait.min(convert::MAX_DURATION), "wait").ok();
        match self.0 {
            Kind::Retry(error, wait) => End::Failed(proto::JobFailed {
                error,
                permanent: false,
                retry_after: wait.and_then(wire),
            }),
            Kind::Permanent(error) => End::Failed(proto::JobFailed {
                error,
                permanent: true,
                retry_after: None,
            }),
            Kind::Throttled(wait) => End::Throttled(proto::JobThrottled {
                retry_after: wire(wait),
            }),
            Kind::GiveBack => End::Released(proto::JobReleased {}),
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(in_one_line(&error))
    }
}

/// How an attempt with this outcome ends.
pub(super) fn end(outcome: Result<bytes::Bytes, Failure>) -> End {
    match outcome {
        Ok(result) => End::Succeeded(proto::JobSucceeded { result }),
        Err(failure) => failure.end(),
    }
}

/// A text for people, as long as the contract takes it.
pub(super) fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_vain_attempt_with_its_causes() {
        let error: Result<u8, _> = "x".parse::<u8>();
        let failure = Failure::from(error.unwrap_err());
        assert_eq!(failure, Failure::retry("invalid digit found in string"));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let End::Failed(failed) = Failure::permanent("é".repeat(3_000)).end() else {
            unreachable!("a failure");
        };
        assert_eq!((failed.error.len(), failed.permanent), (4_096, true));
        let End::Failed(failed) = Failure::retry(format!("x{}", "é".repeat(3_000))).end() else {
            unreachable!("a failure");
        };
        assert_eq!((failed.error.len(), failed.permanent), (4_095, false));
    }

    #[test]
    fn a_wait_beyond_the_contract_is_as_long_as_it_can() {
        let End::Throttled(throttled) = Failure::throttled(Duration::MAX).end() else {
            unreachable!("throttled");
        };
        assert!(throttled.retry_after.is_some());
    }
}
