//! Between the contract's messages and the ports' types: everything that a request may get wrong is
//! found here, and named by its field.

pub(crate) mod cache;
pub(crate) mod events;
pub(crate) mod jobs;
mod limits;
pub(crate) mod locks;
mod pages;
pub(crate) mod pipelines;
mod spec;

pub(crate) use limits::{
    acquire, acquired, bucket_state, delete_limit, extend, extended, limit_state, peek,
    report_throttled, reset_limit, set_limit, settle, settled,
};
pub(crate) use pages::{
    bucket_page, buckets_token, limit_page, limits_token, list_buckets, list_limits,
};
use pages::{fitting, page_after, page_size};

use crate::ServiceConfig;
use prost_types::{Duration, Timestamp};
use trellis_core::{Error, Micros, Namespace, RequestId, Result, Scope, Time};
use trellis_proto::{DEFAULT_NAMESPACE, v1};

/// What the requests of one call or stream are converted with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub config: &'a ServiceConfig,
    /// The namespace meant by an empty field.
    pub namespace: &'a Namespace,
    /// How long the call may wait at most, by its gRPC deadline.
    pub deadline: Option<Micros>,
}

impl Context<'_> {
    pub fn namespace(&self, namespace: String) -> Result<Namespace> {
        if namespace.is_empty() {
            return Ok(self.namespace.clone());
        }
        Namespace::new(namespace, "namespace")
    }
}

/// The namespace of that name; `default` for an empty one.
pub(crate) fn namespace(name: String) -> Result<Namespace> {
    let name = if name.is_empty() {
        DEFAULT_NAMESPACE.to_owned()
    } else {
        name
    };
    Namespace::new(name, "namespace")
}

pub(crate) fn request_id(id: String) -> Result<Option<RequestId>> {
    if id.is_empty() {
        return Ok(None);
    }
    RequestId::new(id, "request_id").map(Some)
}

/// A duration within bounds; `None` when the field is unset.
pub(crate) fn span(
    duration: Option<Duration>,
    field: &str,
    (min, max): (Micros, Micros),
) -> Result<Option<Micros>> {
    let Some(duration) = duration else {
        return Ok(None);
    };
    let within = micros(&duration).filter(|span| (min..=max).contains(span));
    within.map(Some).ok_or_else(|| {
        let given = format!("{} s and {} ns", duration.seconds, duration.nanos);
        Error::invalid(
            field,
            format!("must be {} to {}, is {given}", spell(min), spell(max)),
        )
    })
}

/// A span in the largest unit that tells it whole.
fn spell(span: Micros) -> String {
    const UNITS: [(u64, &str); 6] = [
        (48 * 3_600_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "min"),
        (1_000_000, "s"),
        (1_000, "ms"),
        (1, "us"),
    ];
    match UNITS
        .iter()
        .find(|(unit, _)| span.0 > 0 && span.0.is_multiple_of(*unit))
    {
        Some((_, "d")) => format!("{} d", span.0 / 86_400_000_000),
        Some((unit, name)) => format!("{} {name}", span.0 / unit),
        None => "0 s".to_owned(),
    }
}

/// The microseconds of a duration; `None` when it is negative or malformed.
fn micros(duration: &Duration) -> Option<Micros> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u64::try_from(duration.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Micros(
        seconds.checked_mul(1_000_000)?.checked_add(nanos / 1_000)?,
    ))
}

/// A wall-clock time that the ports can express.
pub(crate) fn wall(time: &Timestamp, field: &str) -> Result<Time> {
    /// The last second of the year 9999, where the timestamps of protobuf end.
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(time.seconds).ok().filter(|it| *it <= LAST);
    let nanos = u64::try_from(time.nanos).ok();
    let nanos = nanos.filter(|nanos| *nanos < 1_000_000_000);
    match (seconds, nanos) {
        (Some(seconds), Some(nanos)) => Ok(Time(seconds * 1_000_000 + nanos / 1_000)),
        _ => Err(Error::invalid(field, "must be a time from 1970 to 9999")),
    }
}

#[allow(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "2^64 us are 2^45 s"
)]
pub(crate) fn duration(span: Micros) -> Duration {
    Duration {
        seconds: (span.0 / 1_000_000) as i64,
        nanos: (span.0 % 1_000_000) as i32 * 1_000,
    }
}

pub(crate) fn timestamp(time: Time) -> Timestamp {
    let Duration { seconds, nanos } = duration(Micros(time.0));
    Timestamp { seconds, nanos }
}

pub(crate) fn scope(scope: &Scope) -> v1::Scope {
    let (kind, since, reason) = match scope {
        Scope::Shared => (v1::ScopeKind::Shared, None, String::new()),
        Scope::Local => (v1::ScopeKind::Local, None, String::new()),
        Scope::Degraded { since, reason } => (
            v1::ScopeKind::Degraded,
            Some(timestamp(*since)),
            reason.to_string(),
        ),
    };
    v1::Scope {
        kind: kind.into(),
        since,
        reason,
    }
}

/// A count as the contract carries it.
pub(crate) fn count<T: TryInto<i64>>(count: T) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_outside_its_bounds_is_refused_with_the_field() {
        let bounds = (Micros(1), Micros::from_secs(10));
        for (seconds, nanos) in [
            (-1, 0),
            (0, -1),
            (0, 0),
            (0, 999),
            (11, 0),
            (i64::MAX, 0),
            (1, 1_000_000_000),
        ] {
            let error = span(Some(Duration { seconds, nanos }), "max_wait", bounds).unwrap_err();
            assert_eq!(
                error.violation.unwrap().field,
                "max_wait",
                "{seconds} {nanos}"
            );
        }
        let ten = Duration {
            seconds: 10,
            nanos: 0,
        };
        assert_eq!(
            span(Some(ten), "max_wait", bounds),
            Ok(Some(Micros::from_secs(10)))
        );
        assert_eq!(span(None, "max_wait", bounds), Ok(None));
    }

    #[test]
    fn a_time_outside_its_bounds_is_refused_with_the_field() {
        for (seconds, nanos) in [(-1, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)] {
            let error = wall(&Timestamp { seconds, nanos }, "time").unwrap_err();
            assert_eq!(error.violation.unwrap().field, "time", "{seconds} {nanos}");
        }
        let (seconds, nanos) = (253_402_300_799, 999_999_999);
        assert!(wall(&Timestamp { seconds, nanos }, "time").is_ok());
    }

    #[test]
    fn spans_are_told_in_units_that_people_use() {
        for (micros, told) in [
            (0, "0 s"),
            (1, "1 us"),
            (1_500, "1500 us"),
            (50_000, "50 ms"),
            (60_000_000, "1 min"),
            (24 * 3_600_000_000, "24 h"),
            (366 * 24 * 3_600_000_000, "366 d"),
        ] {
            assert_eq!(spell(Micros(micros)), told);
        }
    }
}
