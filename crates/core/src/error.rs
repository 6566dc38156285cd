//! The one error of Trellis: a code from a closed set, what to do about it, and which field is at fault.
//!
//! Whether a repeat can help is decided where the error is made. Text is for callers; nothing internal
//! stands in it.

use crate::Micros;

/// Why a call failed. The contract's `ErrorReason` has the same members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A field is missing, out of range or contradicts another.
    InvalidField,
    /// The contract has it, this version does not do it yet.
    NotImplemented,
    /// A defect in Trellis.
    Internal,
    /// The daemon is shutting down.
    Draining,
    /// The caller took the call back.
    Cancelled,
    /// No limit of this name is declared and the charge carries no spec.
    LimitNotFound,
    /// The limit was deleted while the call waited for it.
    LimitDeleted,
    /// The charge asked for its own spec and another is in force.
    SpecMismatch,
    /// No such reservation.
    ReservationNotFound,
    /// The reservation's time is over.
    ReservationExpired,
    /// The reservation was settled before, with other amounts.
    ReservationSettled,
    /// The request id was used for a request with another body.
    RequestIdReused,
    /// The bound on waiting calls is reached.
    TooManyWaiters,
    /// The bound on buckets is reached and none is idle.
    TooManyBuckets,
    /// The bound on limits is reached.
    TooManyLimits,
    /// The bound on namespaces is reached.
    TooManyNamespaces,
    /// The bound on reservations is reached.
    TooManyReservations,
    /// The bound on remembered request ids is reached.
    TooManyRequestIds,
    /// The bound on calls in flight is reached.
    TooManyCalls,
    /// The bound on open streams is reached.
    TooManyStreams,
    /// The bound on leases is reached.
    TooManyLeases,
    /// The bound on bytes of unfinished values, or of the log, is reached.
    TooManyBytes,
    /// The shared store is away; nothing was done.
    StoreUnavailable,
    /// The shared store did not answer; the call may have been carried out.
    OutcomeUnknown,
    /// No such lease or session.
    LeaseNotFound,
    /// The lease or session has ended, or is another stream's.
    LeaseLost,
    /// The lock is not held under the expected token.
    TokenMismatch,
    /// The bound on locks in use is reached.
    TooManyLocks,
    /// The write was made under a lock that was granted to somebody else since.
    StaleFence,
    /// No such pipeline.
    PipelineNotFound,
    /// The pipeline has another version than the call was based on.
    PipelineChanged,
    /// The bound on pipelines is reached.
    TooManyPipelines,
    /// No such group.
    GroupNotFound,
    /// The bound on topics is reached.
    TooManyTopics,
    /// The bound on groups is reached.
    TooManyGroups,
    /// No such job.
    JobNotFound,
    /// The bound on jobs is reached.
    TooManyJobs,
    /// The bound on queues is reached.
    TooManyQueues,
}

/// A field at fault and what is allowed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in the request, for example `charges[3].amount`.
    pub field: String,
    /// What is allowed, for example `must be 1 to 1000000000000`.
    pub allowed: String,
}

/// Refuses the first field whose rule does not hold: whether it does, the field, and what is allowed. Errors: `InvalidField`.
pub fn check_rules<'a>(
    rules: impl IntoIterator<Item = (bool, &'a str, &'a str)>,
) -> crate::Result<()> {
    let broken = rules.into_iter().find(|(holds, _, _)| !holds);
    broken.map_or(Ok(()), |(_, field, allowed)| {
        Err(Error::invalid(field, allowed))
    })
}

/// Why a call failed, for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The reason.
    pub code: ErrorCode,
    /// What went wrong and what to do about it.
    pub message: String,
    /// The field at fault, for [`ErrorCode::InvalidField`] and where one is known.
    pub violation: Option<Violation>,
    /// How long to wait before the same call may succeed; `None` when waiting does not help.
    pub retry_after: Option<Micros>,
}

impl Error {
    /// An error that a repeat of the same call meets again.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            violation: None,
            retry_after: None,
        }
    }

    /// A field at fault: its path and what is allowed.
    pub fn invalid(field: impl Into<String>, allowed: impl Into<String>) -> Self {
        let (field, allowed) = (field.into(), allowed.into());
        Self {
            code: ErrorCode::InvalidField,
            message: format!("{field}: {allowed}"),
            violation: Some(Violation { field, allowed }),
            retry_after: None,
        }
    }

    /// The same error with the time after which a repeat may succeed.
    #[must_use]
    pub fn retry_after(mut self, wait: Micros) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same error, its field's path put below `parent`: `amount` becomes `charges[3].amount`.
    #[must_use]
    pub fn within(self, parent: impl std::fmt::Display) -> Self {
        match &self.violation {
            Some(violation) => {
                let field = format!("{parent}.{}", violation.field);
                self.at(field)
            }
            None => self,
        }
    }

    /// The same error of a field that is named when there is an error: to name each of many costs more than to check it.
    #[must_use]
    pub fn at(mut self, field: impl std::fmt::Display) -> Self {
        if let Some(violation) = &mut self.violation {
            violation.field = field.to_string();
            self.message = format!("{}: {}", violation.field, violation.allowed);
        }
        self
    }
}
