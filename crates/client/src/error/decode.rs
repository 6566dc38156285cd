//! Reads a gRPC status as an [`Error`].
//!
//! A reason of the contract comes first. Without one, the status was made by this process's transport
//! (it has a source) or by something between here and the daemon. Only a failed connect proves that
//! nothing was sent; every other broken connection leaves the outcome unknown.

use std::error::Error as StdError;
use std::time::Duration;

use prost::Message as _;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::{ErrorDetails, StatusExt as _};
use trellis_proto::{ERROR_DOMAIN, v1::ErrorReason};

use super::{DEFAULT_PAUSE, Error, ErrorKind, FieldViolation, RetryAdvice, in_one_line};

/// How long to wait for room after a bound was reached, when the daemon does not say.
const FULL_PAUSE: Duration = Duration::from_secs(1);

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let kind = kind_of(&status, &details);
        let delay = details.retry_info().and_then(|info| info.retry_delay);
        let mut error = Self::new(
            kind,
            advice_for(kind, status.code(), delay),
            status.code(),
            status.message(),
        );
        if let Some(request) = details.bad_request() {
            error.0.violations = request
                .field_violations
                .iter()
                .map(|v| FieldViolation {
                    field: v.field.clone(),
                    allowed: v.description.clone(),
                })
                .collect();
        }
        match status.source() {
            // The status tells the outermost cause alone, the reason stands at the end.
            Some(cause) if kind == ErrorKind::Unreachable => error.0.message = in_one_line(cause),
            _ => error.0.status = Some(status),
        }
        error
    }
}

impl Error {
    /// Reads the status of one item of a batch or a stream.
    pub(crate) fn from_item(status: &tonic_types::Status) -> Self {
        let code = Code::from_i32(status.code);
        // A `grpc-status-details-bin` header holds the same message, so one reader serves both.
        let details = status.encode_to_vec();
        Self::from(Status::with_details(
            code,
            status.message.as_str(),
            details.into(),
        ))
    }
}

fn kind_of(status: &Status, details: &ErrorDetails) -> ErrorKind {
    if let Some(info) = details.error_info()
        && info.domain == ERROR_DOMAIN
        && let Some(reason) = ErrorReason::from_reason(&info.reason)
    {
        return ErrorKind::Refused(reason);
    }
    if caused_by::<ConnectError>(status) {
        return ErrorKind::Unreachable;
    }
    if caused_by::<TimeoutExpired>(status) {
        return ErrorKind::Deadline;
    }
    if status.source().is_some() {
        return ErrorKind::OutcomeUnknown;
    }
    match status.code() {
        // A tonic server whose timer wins the race against ours answers CANCELLED without details.
        Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Deadline,
        _ => ErrorKind::Other,
    }
}

fn caused_by<E: StdError + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn advice_for(kind: ErrorKind, code: Code, delay: Option<Duration>) -> RetryAdvice {
    match kind {
        ErrorKind::Refused(reason) if reason != ErrorReason::OutcomeUnknown => {
            delay.map_or_else(|| advice_for_reason(reason), RetryAdvice::Later)
        }
        ErrorKind::Unreachable => RetryAdvice::Later(delay.unwrap_or(DEFAULT_PAUSE)),
        // Waiting does not make a repeat safe; only its request id does.
        ErrorKind::Refused(_) | ErrorKind::Deadline | ErrorKind::OutcomeUnknown => {
            RetryAdvice::SameRequestId
        }
        ErrorKind::InvalidRequest | ErrorKind::InvalidAnswer => RetryAdvice::Never,
        ErrorKind::Other => match code {
            Code::ResourceExhausted => RetryAdvice::Later(delay.unwrap_or(FULL_PAUSE)),
            Code::Unavailable | Code::Unknown | Code::Internal | Code::Aborted => {
                RetryAdvice::SameRequestId
            }
            _ => RetryAdvice::Never,
        },
    }
}

/// Exhaustive on purpose: a new reason of the contract must be placed here.
fn advice_for_reason(reason: ErrorReason) -> RetryAdvice {
    match reason {
        ErrorReason::Unspecified
        | ErrorReason::InvalidField
        | ErrorReason::MalformedMessage
        | ErrorReason::NotImplemented
        | ErrorReason::Internal
        | ErrorReason::LimitNotFound
        | ErrorReason::LimitDeleted
        | ErrorReason::SpecMismatch
        | ErrorReason::ReservationNotFound
        | ErrorReason::ReservationExpired
        | ErrorReason::ReservationSettled
        | ErrorReason::RequestIdReused
        | ErrorReason::LeaseNotFound
        | ErrorReason::LeaseLost
        | ErrorReason::TokenMismatch
        | ErrorReason::PipelineNotFound
        | ErrorReason::GroupNotFound
        | ErrorReason::JobNotFound
        | ErrorReason::PipelineChanged
        | ErrorReason::Unauthenticated
        | ErrorReason::PermissionDenied
        | ErrorReason::StaleFence => RetryAdvice::Never,
        ErrorReason::Draining | ErrorReason::Cancelled | ErrorReason::StoreUnavailable => {
            RetryAdvice::Later(DEFAULT_PAUSE)
        }
        ErrorReason::OutcomeUnknown => RetryAdvice::SameRequestId,
        ErrorReason::TooManyWaiters
        | ErrorReason::TooManyBuckets
        | ErrorReason::TooManyLimits
        | ErrorReason::TooManyNamespaces
        | ErrorReason::TooManyReservations
        | ErrorReason::TooManyRequestIds
        | ErrorReason::TooManyCalls
        | ErrorReason::TooManyStreams
        | ErrorReason::TooManyLocks
        | ErrorReason::TooManyPipelines
        | ErrorReason::TooManyTopics
        | ErrorReason::TooManyGroups
        | ErrorReason::TooManyJobs
        | ErrorReason::TooManyQueues
        | ErrorReason::TooManyLeases
        | ErrorReason::TooManyBytes => RetryAdvice::Later(FULL_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn refusal(reason: ErrorReason, edit: impl FnOnce(&mut ErrorDetails)) -> Status {
        let mut details =
            ErrorDetails::with_error_info(reason.as_reason(), ERROR_DOMAIN, HashMap::new());
        edit(&mut details);
        Status::with_error_details(Code::InvalidArgument, "no", details)
    }

    #[test]
    fn a_refusal_names_its_reason_and_its_fields() {
        let error = Error::from(refusal(ErrorReason::InvalidField, |details| {
            details.add_bad_request_violation("charges[0].amount", "1 to 10^12");
        }));
        assert_eq!(error.kind(), ErrorKind::Refused(ErrorReason::InvalidField));
        assert_eq!(error.retry_advice(), RetryAdvice::Never);
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(error.field_violations()[0].field, "charges[0].amount");
        assert_eq!(
            error.to_string(),
            "INVALID_FIELD: no; charges[0].amount: 1 to 10^12"
        );
    }

    #[test]
    fn a_field_that_the_message_tells_is_not_told_again() {
        let mut details = ErrorDetails::with_error_info(
            ErrorReason::InvalidField.as_reason(),
            ERROR_DOMAIN,
            HashMap::new(),
        );
        details.add_bad_request_violation("charges[0].amount", "must be 1 to 5, is 0");
        details.add_bad_request_violation("charges[1].key", "must be short");
        let message = "charges[0].amount: must be 1 to 5, is 0";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        let error = Error::from(status);
        assert_eq!(
            error.to_string(),
            format!("INVALID_FIELD: {message}; charges[1].key: must be short")
        );
        assert_eq!(error.field_violations().len(), 2);
    }

    #[test]
    fn retry_info_sets_the_pause() {
        let pause = Duration::from_millis(1_500);
        let error = Error::from(refusal(ErrorReason::Draining, |details| {
            details.set_retry_info(Some(pause));
        }));
        assert_eq!(error.retry_advice(), RetryAdvice::Later(pause));
        assert!(error.to_string().ends_with("try again after 1.5s"));
    }

    #[test]
    fn an_item_status_reads_like_a_call_status() {
        let status = refusal(ErrorReason::TooManyWaiters, |_| {});
        let item = tonic_types::Status::decode(status.details()).unwrap();
        assert_eq!(
            Error::from_item(&item).reason(),
            Some(ErrorReason::TooManyWaiters)
        );
    }

    #[test]
    fn a_reason_of_a_later_version_or_of_another_domain_is_other() {
        for (reason, domain) in [
            ("FROM_THE_FUTURE", ERROR_DOMAIN),
            ("INVALID_FIELD", "elsewhere"),
        ] {
            let details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
            let error = Error::from(Status::with_error_details(Code::DataLoss, "x", details));
            assert_eq!(error.kind(), ErrorKind::Other);
            assert_eq!(error.retry_advice(), RetryAdvice::Never);
        }
    }

    #[test]
    fn a_failed_connect_is_told_from_a_broken_call() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::from(Status::from_error(Box::new(ConnectError(refused.into()))));
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert_eq!(error.retry_advice(), RetryAdvice::Later(DEFAULT_PAUSE));

        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let error = Error::from(Status::from_error(Box::new(reset)));
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(error.retry_advice(), RetryAdvice::SameRequestId);

        let error = Error::from(Status::from_error(Box::new(TimeoutExpired(()))));
        assert_eq!(error.kind(), ErrorKind::Deadline);
    }
}
