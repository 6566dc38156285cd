//! The one table that maps errors to gRPC, and their way into a `google.rpc.Status`.

use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use trellis_core::{Error, ErrorCode};
use trellis_proto::ERROR_DOMAIN;
use trellis_proto::v1::ErrorReason;

/// The gRPC code and the contract's reason of each error.
fn mapped(code: ErrorCode) -> (Code, ErrorReason) {
    match code {
        ErrorCode::InvalidField => (Code::InvalidArgument, ErrorReason::InvalidField),
        ErrorCode::NotImplemented => (Code::Unimplemented, ErrorReason::NotImplemented),
        ErrorCode::Internal => (Code::Internal, ErrorReason::Internal),
        ErrorCode::Draining => (Code::Unavailable, ErrorReason::Draining),
        ErrorCode::Cancelled => (Code::Cancelled, ErrorReason::Cancelled),
        ErrorCode::LimitNotFound => (Code::NotFound, ErrorReason::LimitNotFound),
        ErrorCode::LimitDeleted => (Code::Aborted, ErrorReason::LimitDeleted),
        ErrorCode::SpecMismatch => (Code::FailedPrecondition, ErrorReason::SpecMismatch),
        ErrorCode::ReservationNotFound => (Code::NotFound, ErrorReason::ReservationNotFound),
        ErrorCode::ReservationExpired => {
            (Code::FailedPrecondition, ErrorReason::ReservationExpired)
        }
        ErrorCode::ReservationSettled => {
            (Code::FailedPrecondition, ErrorReason::ReservationSettled)
        }
        ErrorCode::RequestIdReused => (Code::InvalidArgument, ErrorReason::RequestIdReused),
        ErrorCode::TooManyWaiters => (Code::ResourceExhausted, ErrorReason::TooManyWaiters),
        ErrorCode::TooManyBuckets => (Code::ResourceExhausted, ErrorReason::TooManyBuckets),
        ErrorCode::TooManyLimits => (Code::ResourceExhausted, ErrorReason::TooManyLimits),
        ErrorCode::TooManyNamespaces => (Code::ResourceExhausted, ErrorReason::TooManyNamespaces),
        ErrorCode::TooManyReservations => {
            (Code::ResourceExhausted, ErrorReason::TooManyReservations)
        }
        ErrorCode::TooManyRequestIds => (Code::ResourceExhausted, ErrorReason::TooManyRequestIds),
        ErrorCode::TooManyCalls => (Code::ResourceExhausted, ErrorReason::TooManyCalls),
        ErrorCode::TooManyStreams => (Code::ResourceExhausted, ErrorReason::TooManyStreams),
        ErrorCode::TooManyBytes => (Code::ResourceExhausted, ErrorReason::TooManyBytes),
        ErrorCode::StoreUnavailable => (Code::Unavailable, ErrorReason::StoreUnavailable),
        ErrorCode::OutcomeUnknown => (Code::Unknown, ErrorReason::OutcomeUnknown),
        ErrorCode::LeaseNotFound => (Code::NotFound, ErrorReason::LeaseNotFound),
        ErrorCode::LeaseLost => (Code::FailedPrecondition, ErrorReason::LeaseLost),
        ErrorCode::TokenMismatch => (Code::FailedPrecondition, ErrorReason::TokenMismatch),
        ErrorCode::TooManyLocks => (Code::ResourceExhausted, ErrorReason::TooManyLocks),
        ErrorCode::StaleFence => (Code::FailedPrecondition, ErrorReason::StaleFence),
        ErrorCode::TooManyLeases => (Code::ResourceExhausted, ErrorReason::TooManyLeases),
        ErrorCode::PipelineNotFound => (Code::NotFound, ErrorReason::PipelineNotFound),
        ErrorCode::PipelineChanged => (Code::Aborted, ErrorReason::PipelineChanged),
        ErrorCode::TooManyPipelines => (Code::ResourceExhausted, ErrorReason::TooManyPipelines),
        ErrorCode::GroupNotFound => (Code::NotFound, ErrorReason::GroupNotFound),
        ErrorCode::TooManyTopics => (Code::ResourceExhausted, ErrorReason::TooManyTopics),
        ErrorCode::TooManyGroups => (Code::ResourceExhausted, ErrorReason::TooManyGroups),
        ErrorCode::JobNotFound => (Code::NotFound, ErrorReason::JobNotFound),
        ErrorCode::TooManyJobs => (Code::ResourceExhausted, ErrorReason::TooManyJobs),
        ErrorCode::TooManyQueues => (Code::ResourceExhausted, ErrorReason::TooManyQueues),
    }
}

/// An error as the status of a call.
pub(crate) fn status(error: Error) -> Status {
    let (code, reason) = mapped(error.code);
    if error.code == ErrorCode::Internal {
        tracing::error!(error = %error.message, "a defect failed a call");
    }
    let mut details =
        ErrorDetails::with_error_info(reason.as_reason(), ERROR_DOMAIN, HashMap::new());
    if let Some(violation) = error.violation {
        details.add_bad_request_violation(violation.field, violation.allowed);
    }
    if let Some(wait) = error.retry_after {
        details.set_retry_info(Some(Duration::from(wait)));
    }
    Status::with_error_details(code, error.message, details)
}

/// An error as the result of one item of a batch or stream.
pub(crate) fn item_status(error: Error) -> tonic_types::Status {
    use prost::Message as _;
    let status = status(error);
    // The details of a tonic status are an encoded google.rpc.Status.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::Micros;

    #[test]
    fn an_error_travels_with_reason_field_and_advice() {
        let error = Error::invalid("amount", "must be 1 to 5").within("charges[3]");
        let status = status(error.retry_after(Micros(1_500)));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "charges[3].amount: must be 1 to 5");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("INVALID_FIELD", "trellis")
        );
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "charges[3].amount");
        assert_eq!(
            details.retry_info().unwrap().retry_delay,
            Some(Duration::from_micros(1_500))
        );
    }

    #[test]
    fn an_item_carries_the_same_as_a_call() {
        let item = item_status(Error::new(ErrorCode::LimitNotFound, "no limit"));
        assert_eq!(
            (item.code, item.message.as_str()),
            (Code::NotFound as i32, "no limit")
        );
        assert_eq!(item.details.len(), 1);
    }
}
