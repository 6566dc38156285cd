//! Durations and times, between Rust and protobuf.
//!
//! Nothing here panics: what does not fit is an [`Error`] that names the field.

use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};

/// The longest duration of protobuf: about 10,000 years.
pub(crate) const MAX_DURATION: Duration = Duration::from_hours(87_660_000);

pub(crate) fn to_proto(duration: Duration, field: &str) -> Result<prost_types::Duration> {
    if duration > MAX_DURATION {
        let message = format!("{field} is longer than {} s", MAX_DURATION.as_secs());
        return Err(Error::invalid_request(message));
    }
    prost_types::Duration::try_from(duration)
        .map_err(|error| Error::invalid_request(format!("{field}: {error}")))
}

pub(crate) fn duration(value: Option<prost_types::Duration>, field: &str) -> Result<Duration> {
    required(optional_duration(value, field)?, field)
}

pub(crate) fn optional_duration(
    value: Option<prost_types::Duration>,
    field: &str,
) -> Result<Option<Duration>> {
    value
        .map(Duration::try_from)
        .transpose()
        .map_err(|error| Error::invalid_answer(format!("{field}: {error}")))
}

pub(crate) fn time(value: Option<prost_types::Timestamp>, field: &str) -> Result<SystemTime> {
    SystemTime::try_from(required(value, field)?)
        .map_err(|error| Error::invalid_answer(format!("{field}: {error}")))
}

/// A value that the contract promises.
pub(crate) fn required<T>(value: Option<T>, field: &str) -> Result<T> {
    value.ok_or_else(|| Error::invalid_answer(format!("{field} is missing")))
}

/// A count, which is never negative.
pub(crate) fn count(value: i64, field: &str) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::invalid_answer(format!("{field} {value} is negative")))
}

/// An enum value that this version does not know, or that is not used.
pub(crate) fn unknown(value: i32, field: &str) -> Error {
    Error::invalid_answer(format!("{field} has the unknown value {value}"))
}

/// Converts every item, or fails with the first that does not convert.
pub(crate) fn all<P, T>(items: Vec<P>) -> Result<Vec<T>>
where
    T: TryFrom<P, Error = Error>,
{
    items.into_iter().map(T::try_from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn durations_round_trip_up_to_the_limit_of_protobuf() {
        for value in [Duration::ZERO, Duration::from_micros(1), MAX_DURATION] {
            let proto = to_proto(value, "d").unwrap();
            assert_eq!(duration(Some(proto), "d").unwrap(), value);
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let error = to_proto(Duration::MAX, "max_wait").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains("max_wait"));

        let negative = prost_types::Duration {
            seconds: -1,
            nanos: 0,
        };
        assert_eq!(
            duration(Some(negative), "d").unwrap_err().kind(),
            ErrorKind::InvalidAnswer
        );
        assert_eq!(
            duration(None, "d").unwrap_err().kind(),
            ErrorKind::InvalidAnswer
        );
    }
}
