//! What the scripts' errors are to callers: the same codes and words as from the machine in memory.

use super::wire::Detail;
use trellis_core::limits::Charge;
use trellis_core::{Error, ErrorCode, Micros, Name, RequestId};

/// What was asked for, as far as errors speak of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    pub charges: &'a [Charge],
    pub limit: Option<&'a Name>,
    pub request_id: Option<&'a RequestId>,
    pub max_buckets: usize,
}

/// The error that a script has told.
pub(super) fn failed(code: &str, index: i64, detail: &Detail, asked: Asked<'_>) -> Error {
    let number = match detail {
        Detail::Number(number) | Detail::Pair(number, _) => *number,
        Detail::Nothing(_) => 0,
    };
    match code {
        "LIMIT_NOT_FOUND" => limit_not_found(index, asked),
        "SPEC_MISMATCH" => {
            let limit = charge_name(index, asked);
            let message = format!(
                "limit {limit:?} is declared with another spec; drop require_spec to go by it"
            );
            Error::new(ErrorCode::SpecMismatch, message)
        }
        "REQUEST_ID_REUSED" => {
            let id = asked.request_id.map_or("", RequestId::as_str);
            let message = format!("request id {id:?} was used for another request; send a new one");
            Error::new(ErrorCode::RequestIdReused, message)
        }
        "INVALID_FIELD" => invalid_field(index, number),
        "RESERVATION_NOT_FOUND" => Error::new(
            ErrorCode::ReservationNotFound,
            "no such reservation: never made in this namespace, or ended and forgotten",
        ),
        "RESERVATION_EXPIRED" => Error::new(
            ErrorCode::ReservationExpired,
            "the reservation's time is over: its charges stay as reserved; extend it in time",
        ),
        "RESERVATION_SETTLED" => {
            let how = if number == 1 {
                ", with other amounts"
            } else {
                ""
            };
            let message = format!("the reservation was settled before{how}");
            Error::new(ErrorCode::ReservationSettled, message)
        }
        _ => bound_reached(code, number, detail, asked),
    }
}

fn limit_not_found(index: i64, asked: Asked<'_>) -> Error {
    if let Some(limit) = asked.limit {
        let message = format!(
            "no limit {:?}: declare it with SetLimit; an inline one is forgotten while its buckets are \
             idle and full",
            limit.as_str()
        );
        return Error::new(ErrorCode::LimitNotFound, message);
    }
    let limit = charge_name(index, asked);
    let message =
        format!("no limit {limit:?}: declare it with SetLimit, or send a spec with the charge");
    Error::new(ErrorCode::LimitNotFound, message)
}

fn charge_name(index: i64, asked: Asked<'_>) -> &str {
    let charge = usize::try_from(index)
        .ok()
        .and_then(|index| asked.charges.get(index));
    charge.map_or("", |charge| charge.limit.as_str())
}

fn invalid_field(index: i64, number: u64) -> Error {
    if index < 0 {
        return Error::invalid(
            "charges",
            format!("a reservation holds at most {number} charges"),
        );
    }
    let allowed = match number {
        1 => "names a bucket twice",
        _ => "must name a bucket that the reservation charged",
    };
    Error::invalid(format!("actual[{index}]"), allowed)
}

fn bound_reached(code: &str, number: u64, detail: &Detail, asked: Asked<'_>) -> Error {
    let second = Micros::from_secs(1);
    let (code, message, wait) = match code {
        "TOO_MANY_WAITERS" => (
            ErrorCode::TooManyWaiters,
            format!("{number} calls are waiting in this namespace"),
            Some(Micros::from_millis(100)),
        ),
        "TOO_MANY_BUCKETS" => (
            ErrorCode::TooManyBuckets,
            format!(
                "{} buckets are in use; raise limits.max_buckets or use fewer keys",
                asked.max_buckets
            ),
            Some(second),
        ),
        "TOO_MANY_LIMITS" => (
            ErrorCode::TooManyLimits,
            format!("this namespace has {number} limits; delete some"),
            None,
        ),
        "TOO_MANY_NAMESPACES" => (
            ErrorCode::TooManyNamespaces,
            format!("{number} namespaces are in use"),
            None,
        ),
        "TOO_MANY_RESERVATIONS" => (
            ErrorCode::TooManyReservations,
            format!("{number} reservations are open or remembered"),
            Some(second),
        ),
        "TOO_MANY_REQUEST_IDS" => {
            let wait = match detail {
                Detail::Pair(_, wait) => Micros(*wait),
                _ => second,
            };
            let message = format!("{number} request ids are remembered");
            (ErrorCode::TooManyRequestIds, message, Some(wait))
        }
        "TOO_MANY_CHANGES" => (
            ErrorCode::TooManyCalls,
            "the limit was changed too often for its many buckets to follow; try again".to_owned(),
            Some(second),
        ),
        other => (
            ErrorCode::Internal,
            format!("the store refused with {other}"),
            None,
        ),
    };
    let error = Error::new(code, message);
    match wait {
        Some(wait) => error.retry_after(wait),
        None => error,
    }
}
