//! Specs between the contract and the vocabulary.

use super::{duration, span};
use trellis_core::limits::{
    CalendarSpec, CalendarUnit, ConcurrencySpec, LimitSpec, MAX_PERIOD, MIN_PERIOD, RateSpec,
    WindowSpec,
};
use trellis_core::{Error, Micros, Result};
use trellis_proto::v1::{self, limit_spec::Kind, window_spec::Span};

fn period(duration: Option<prost_types::Duration>) -> Result<Micros> {
    let period = span(duration, "period", (MIN_PERIOD, MAX_PERIOD))?;
    period.ok_or_else(|| Error::invalid("period", "is required: 1 ms to 366 days"))
}

pub(super) fn spec(spec: v1::LimitSpec) -> Result<LimitSpec> {
    match spec.kind {
        Some(Kind::Rate(rate)) => {
            let burst = rate.burst.unwrap_or(rate.amount);
            period(rate.period)
                .and_then(|period| RateSpec::new(rate.amount, period, burst))
                .map(LimitSpec::Rate)
                .map_err(|error| error.within("rate"))
        }
        Some(Kind::Window(window)) => window_spec(window).map_err(|error| error.within("window")),
        Some(Kind::Concurrency(concurrency)) => ConcurrencySpec::new(concurrency.slots)
            .map(LimitSpec::Concurrency)
            .map_err(|error| error.within("concurrency")),
        None => Err(Error::invalid(
            "kind",
            "is required: one of rate, window, concurrency",
        )),
    }
}

fn window_spec(window: v1::WindowSpec) -> Result<LimitSpec> {
    match window.span {
        Some(Span::Period(length)) => {
            WindowSpec::new(window.amount, period(Some(length))?).map(LimitSpec::Window)
        }
        Some(Span::Calendar(calendar)) => {
            let unit = match calendar.unit() {
                v1::CalendarUnit::Minute => CalendarUnit::Minute,
                v1::CalendarUnit::Hour => CalendarUnit::Hour,
                v1::CalendarUnit::Day => CalendarUnit::Day,
                v1::CalendarUnit::Week => CalendarUnit::Week,
                v1::CalendarUnit::Month => CalendarUnit::Month,
                v1::CalendarUnit::Unspecified => {
                    let allowed = "is required: one of MINUTE, HOUR, DAY, WEEK, MONTH";
                    return Err(Error::invalid("calendar.unit", allowed));
                }
            };
            CalendarSpec::new(window.amount, unit, &calendar.time_zone)
                .map(LimitSpec::Calendar)
                .map_err(|error| match &error.violation {
                    Some(violation) if violation.field == "time_zone" => error.within("calendar"),
                    _ => error,
                })
        }
        None => Err(Error::invalid(
            "span",
            "is required: one of period, calendar",
        )),
    }
}

pub(super) fn message(spec: &LimitSpec) -> v1::LimitSpec {
    let kind = match spec {
        LimitSpec::Rate(spec) => Kind::Rate(v1::RateSpec {
            amount: spec.amount(),
            period: Some(duration(spec.period())),
            burst: Some(spec.burst()),
        }),
        LimitSpec::Window(spec) => Kind::Window(v1::WindowSpec {
            amount: spec.amount(),
            span: Some(Span::Period(duration(spec.period()))),
        }),
        LimitSpec::Calendar(spec) => {
            let unit = match spec.unit() {
                CalendarUnit::Minute => v1::CalendarUnit::Minute,
                CalendarUnit::Hour => v1::CalendarUnit::Hour,
                CalendarUnit::Day => v1::CalendarUnit::Day,
                CalendarUnit::Week => v1::CalendarUnit::Week,
                CalendarUnit::Month => v1::CalendarUnit::Month,
            };
            let time_zone = spec.time_zone().to_owned();
            let calendar = v1::CalendarPeriod {
                unit: unit.into(),
                time_zone,
            };
            Kind::Window(v1::WindowSpec {
                amount: spec.amount(),
                span: Some(Span::Calendar(calendar)),
            })
        }
        LimitSpec::Concurrency(spec) => Kind::Concurrency(v1::ConcurrencySpec {
            slots: spec.slots(),
        }),
    };
    v1::LimitSpec { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_round_trip() {
        let second = Micros::from_secs(1);
        let specs = [
            LimitSpec::Rate(RateSpec::new(5, second, 7).unwrap()),
            LimitSpec::Window(WindowSpec::new(5, Micros(1_001)).unwrap()),
            LimitSpec::Calendar(
                CalendarSpec::new(5, CalendarUnit::Month, "America/Los_Angeles").unwrap(),
            ),
            LimitSpec::Concurrency(ConcurrencySpec::new(5).unwrap()),
        ];
        for wanted in specs {
            assert_eq!(spec(message(&wanted)), Ok(wanted));
        }
    }

    #[test]
    fn the_burst_is_one_period_unless_given() {
        let period = Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        });
        let rate = v1::RateSpec {
            amount: 9,
            period,
            burst: None,
        };
        assert_eq!(
            spec(v1::LimitSpec {
                kind: Some(Kind::Rate(rate))
            })
            .unwrap()
            .capacity(),
            9
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_by_its_path() {
        let window = |span| v1::LimitSpec {
            kind: Some(Kind::Window(v1::WindowSpec { amount: 1, span })),
        };
        let calendar = |unit, zone: &str| {
            window(Some(Span::Calendar(v1::CalendarPeriod {
                unit,
                time_zone: zone.into(),
            })))
        };
        let cases = [
            (v1::LimitSpec { kind: None }, "kind"),
            (
                v1::LimitSpec {
                    kind: Some(Kind::Rate(v1::RateSpec {
                        amount: 1,
                        ..Default::default()
                    })),
                },
                "rate.period",
            ),
            (
                v1::LimitSpec {
                    kind: Some(Kind::Concurrency(v1::ConcurrencySpec { slots: 0 })),
                },
                "concurrency.slots",
            ),
            (window(None), "window.span"),
            (calendar(0, ""), "window.calendar.unit"),
            (calendar(99, ""), "window.calendar.unit"),
            (calendar(1, "Mars/Olympus"), "window.calendar.time_zone"),
        ];
        for (message, field) in cases {
            assert_eq!(spec(message).unwrap_err().violation.unwrap().field, field);
        }
    }
}
