//! What a limit allows: [`Spec`] and its conversions.
//!
//! Amounts are `i64`, as in the contract; their ranges are the daemon's to check. The formulas stand
//! in `trellis/v1/limits.proto`.

use std::time::Duration;

use trellis_proto::v1 as proto;

use crate::convert;
use crate::error::{Error, Result};

/// What a limit allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// A steady rate with a burst: a token bucket.
    Rate(RateSpec),
    /// At most `amount` units in any interval of a span.
    Window {
        /// Units per span. 1 to 10^12.
        amount: i64,
        /// Where the span lies.
        span: Span,
    },
    /// At most `slots` held at a time.
    Concurrency {
        /// Slots. 1 to 10^12.
        slots: i64,
    },
}

/// A token bucket: in any time t at most `burst + amount * t / period` units are admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateSpec {
    /// Units refilled per period. 1 to 10^12.
    pub amount: i64,
    /// The period. 1 ms to 366 days.
    pub period: Duration,
    /// The most that is available at once. Default `amount`.
    pub burst: Option<i64>,
}

/// Where the interval of a window lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    /// Any interval of this length. 1 ms to 366 days.
    Sliding(Duration),
    /// Each period of a calendar, as providers count days.
    Calendar {
        /// The unit that begins anew.
        unit: CalendarUnit,
        /// IANA name, for example `America/Los_Angeles`. Empty means `UTC`.
        time_zone: String,
    },
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarUnit {
    /// From second 0.
    Minute,
    /// From minute 0.
    Hour,
    /// From midnight, or the first instant that the day has.
    Day,
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
}

impl Spec {
    /// A token bucket of `amount` units per `period`; add [`RateSpec::burst`] for another burst.
    #[must_use]
    pub fn rate(amount: i64, period: Duration) -> RateSpec {
        RateSpec {
            amount,
            period,
            burst: None,
        }
    }

    /// At most `amount` units in any interval of length `period`.
    #[must_use]
    pub fn window(amount: i64, period: Duration) -> Self {
        Self::Window {
            amount,
            span: Span::Sliding(period),
        }
    }

    /// At most `amount` units in each `unit` of the calendar of `time_zone` (an IANA name).
    #[must_use]
    pub fn calendar(amount: i64, unit: CalendarUnit, time_zone: impl Into<String>) -> Self {
        Self::Window {
            amount,
            span: Span::Calendar {
                unit,
                time_zone: time_zone.into(),
            },
        }
    }

    /// At most `slots` held at a time, each until its reservation is settled or expires.
    #[must_use]
    pub fn concurrency(slots: i64) -> Self {
        Self::Concurrency { slots }
    }
}

impl RateSpec {
    /// The most that is available at once. 1 to 10^12.
    #[must_use]
    pub fn burst(mut self, burst: i64) -> Self {
        self.burst = Some(burst);
        self
    }
}

impl From<RateSpec> for Spec {
    fn from(rate: RateSpec) -> Self {
        Self::Rate(rate)
    }
}

impl TryFrom<Spec> for proto::LimitSpec {
    type Error = Error;

    fn try_from(spec: Spec) -> Result<Self> {
        use proto::limit_spec::Kind;
        let kind = match spec {
            Spec::Rate(rate) => Kind::Rate(proto::RateSpec {
                amount: rate.amount,
                period: Some(convert::to_proto(rate.period, "spec.rate.period")?),
                burst: rate.burst,
            }),
            Spec::Window { amount, span } => Kind::Window(proto::WindowSpec {
                amount,
                span: Some(span.try_into()?),
            }),
            Spec::Concurrency { slots } => Kind::Concurrency(proto::ConcurrencySpec { slots }),
        };
        Ok(Self { kind: Some(kind) })
    }
}

impl TryFrom<proto::LimitSpec> for Spec {
    type Error = Error;

    fn try_from(spec: proto::LimitSpec) -> Result<Self> {
        use proto::limit_spec::Kind;
        Ok(match convert::required(spec.kind, "spec.kind")? {
            Kind::Rate(rate) => Self::Rate(RateSpec {
                amount: rate.amount,
                period: convert::duration(rate.period, "spec.rate.period")?,
                burst: rate.burst,
            }),
            Kind::Window(window) => Self::Window {
                amount: window.amount,
                span: convert::required(window.span, "spec.window.span")?.try_into()?,
            },
            Kind::Concurrency(concurrency) => Self::Concurrency {
                slots: concurrency.slots,
            },
        })
    }
}

impl TryFrom<Span> for proto::window_spec::Span {
    type Error = Error;

    fn try_from(span: Span) -> Result<Self> {
        Ok(match span {
            Span::Sliding(period) => Self::Period(convert::to_proto(period, "spec.window.period")?),
            Span::Calendar { unit, time_zone } => Self::Calendar(proto::CalendarPeriod {
                unit: proto::CalendarUnit::from(unit).into(),
                time_zone,
            }),
        })
    }
}

impl TryFrom<proto::window_spec::Span> for Span {
    type Error = Error;

    fn try_from(span: proto::window_spec::Span) -> Result<Self> {
        use proto::window_spec::Span as Wire;
        Ok(match span {
            Wire::Period(period) => {
                Self::Sliding(convert::duration(Some(period), "spec.window.period")?)
            }
            Wire::Calendar(calendar) => Self::Calendar {
                unit: CalendarUnit::decode(calendar.unit)?,
                time_zone: calendar.time_zone,
            },
        })
    }
}

impl From<CalendarUnit> for proto::CalendarUnit {
    fn from(unit: CalendarUnit) -> Self {
        match unit {
            CalendarUnit::Minute => Self::Minute,
            CalendarUnit::Hour => Self::Hour,
            CalendarUnit::Day => Self::Day,
            CalendarUnit::Week => Self::Week,
            CalendarUnit::Month => Self::Month,
        }
    }
}

impl CalendarUnit {
    fn decode(value: i32) -> Result<Self> {
        use proto::CalendarUnit as Wire;
        match Wire::try_from(value) {
            Ok(Wire::Minute) => Ok(Self::Minute),
            Ok(Wire::Hour) => Ok(Self::Hour),
            Ok(Wire::Day) => Ok(Self::Day),
            Ok(Wire::Week) => Ok(Self::Week),
            Ok(Wire::Month) => Ok(Self::Month),
            Ok(Wire::Unspecified) | Err(_) => Err(convert::unknown(value, "spec.calendar.unit")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn every_spec_survives_the_way_to_the_wire_and_back() {
        let minute = Duration::from_mins(1);
        for spec in [
            Spec::rate(100, minute).into(),
            Spec::rate(100, minute).burst(7).into(),
            Spec::window(5, minute),
            Spec::calendar(5, CalendarUnit::Minute, "UTC"),
            Spec::calendar(5, CalendarUnit::Hour, ""),
            Spec::calendar(5, CalendarUnit::Day, "America/Los_Angeles"),
            Spec::calendar(5, CalendarUnit::Week, "UTC"),
            Spec::calendar(5, CalendarUnit::Month, "UTC"),
            Spec::concurrency(3),
        ] {
            let wire = proto::LimitSpec::try_from(spec.clone()).unwrap();
            assert_eq!(Spec::try_from(wire).unwrap(), spec);
        }
    }

    #[test]
    fn a_period_out_of_range_is_an_error() {
        let spec = Spec::window(5, Duration::MAX);
        let error = proto::LimitSpec::try_from(spec).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }

    #[test]
    fn an_unknown_or_missing_part_is_an_error() {
        let empty = proto::LimitSpec { kind: None };
        assert_eq!(
            Spec::try_from(empty).unwrap_err().kind(),
            ErrorKind::InvalidAnswer
        );
        let future = proto::CalendarPeriod {
            unit: 99,
            time_zone: String::new(),
        };
        let span = proto::window_spec::Span::Calendar(future);
        assert_eq!(
            Span::try_from(span).unwrap_err().kind(),
            ErrorKind::InvalidAnswer
        );
    }
}
