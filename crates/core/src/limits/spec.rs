//! What a limit allows. An illegal spec cannot be built.

use crate::{Error, Micros, Result};
use jiff::tz::TimeZone;

/// The largest amount, burst and number of slots: 10^12 units.
pub const MAX_AMOUNT: i64 = 1_000_000_000_000;
/// The shortest period: 1 ms.
pub const MIN_PERIOD: Micros = Micros::from_millis(1);
/// The longest period: 366 days.
pub const MAX_PERIOD: Micros = Micros::from_secs(366 * 24 * 3600);
/// Into how many sub-windows a sliding period is counted.
pub const SUB_WINDOWS: u64 = 60;

/// Checks that an amount is 1 to [`MAX_AMOUNT`].
pub(crate) fn check_amount(amount: i64, field: &str) -> Result<i64> {
    if (1..=MAX_AMOUNT).contains(&amount) {
        return Ok(amount);
    }
    Err(Error::invalid(
        field,
        format!("must be 1 to {MAX_AMOUNT}, is {amount}"),
    ))
}

fn check_period(period: Micros) -> Result<Micros> {
    if (MIN_PERIOD..=MAX_PERIOD).contains(&period) {
        return Ok(period);
    }
    Err(Error::invalid("period", "must be 1 ms to 366 days"))
}

/// What a limit allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitSpec {
    /// A token bucket.
    Rate(RateSpec),
    /// At most so many in any interval of a period.
    Window(WindowSpec),
    /// At most so many in each period of a calendar.
    Calendar(CalendarSpec),
    /// At most so many at a time.
    Concurrency(ConcurrencySpec),
}

impl LimitSpec {
    /// The most that a full bucket holds, in units. A larger charge can never be admitted.
    #[must_use]
    pub fn capacity(&self) -> i64 {
        match self {
            Self::Rate(spec) => spec.burst,
            Self::Window(spec) => spec.amount,
            Self::Calendar(spec) => spec.amount,
            Self::Concurrency(spec) => spec.slots,
        }
    }
}

/// A token bucket: in any time `t` at most `burst + amount * t / period` is admitted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RateSpec {
    pub(super) amount: i64,
    pub(super) period: Micros,
    pub(super) burst: i64,
}

impl RateSpec {
    /// `amount` units refilled per `period`, at most `burst` at once.
    pub fn new(amount: i64, period: Micros, burst: i64) -> Result<Self> {
        Ok(Self {
            amount: check_amount(amount, "amount")?,
            period: check_period(period)?,
            burst: check_amount(burst, "burst")?,
        })
    }

    /// Units refilled per period.
    #[must_use]
    pub fn amount(&self) -> i64 {
        self.amount
    }

    /// The period.
    #[must_use]
    pub fn period(&self) -> Micros {
        self.period
    }

    /// The most that is available at once.
    #[must_use]
    pub fn burst(&self) -> i64 {
        self.burst
    }
}

/// At most `amount` in any half-open interval of length `period`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowSpec {
    pub(super) amount: i64,
    pub(super) period: Micros,
}

impl WindowSpec {
    /// At most `amount` units in any interval of length `period`.
    pub fn new(amount: i64, period: Micros) -> Result<Self> {
        Ok(Self {
            amount: check_amount(amount, "amount")?,
            period: check_period(period)?,
        })
    }

    /// Units per period.
    #[must_use]
    pub fn amount(&self) -> i64 {
        self.amount
    }

    /// The period.
    #[must_use]
    pub fn period(&self) -> Micros {
        self.period
    }
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// From second 0.
    Minute,
    /// From minute 0.
    Hour,
    /// From the first instant of the day.
    Day,
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
}

/// At most `amount` in each `unit` of the calendar of `zone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarSpec {
    pub(super) amount: i64,
    pub(super) unit: CalendarUnit,
    pub(super) zone: TimeZone,
}

impl std::hash::Hash for CalendarSpec {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.amount, self.unit, self.time_zone()).hash(state);
    }
}

impl CalendarSpec {
    /// At most `amount` units in each `unit`, in the time zone of that IANA name (empty: UTC).
    pub fn new(amount: i64, unit: CalendarUnit, time_zone: &str) -> Result<Self> {
        let zone = match time_zone {
            "" | "UTC" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| {
                Error::invalid(
                    "time_zone",
                    "must be an IANA name such as \"Europe/Berlin\"",
                )
            })?,
        };
        Ok(Self {
            amount: check_amount(amount, "amount")?,
            unit,
            zone,
        })
    }

    /// Units per calendar period.
    #[must_use]
    pub fn amount(&self) -> i64 {
        self.amount
    }

    /// The unit of the calendar.
    #[must_use]
    pub fn unit(&self) -> CalendarUnit {
        self.unit
    }

    /// IANA name of the time zone.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }
}

/// At most `slots` held at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConcurrencySpec {
    pub(super) slots: i64,
}

impl ConcurrencySpec {
    /// At most `slots` held at a time.
    pub fn new(slots: i64) -> Result<Self> {
        Ok(Self {
            slots: check_amount(slots, "slots")?,
        })
    }

    /// Slots.
    #[must_use]
    pub fn slots(&self) -> i64 {
        self.slots
    }
}
