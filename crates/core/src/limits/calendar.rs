//! The calendar window: at most `amount` in each minute, hour, day, week or month of a time zone.
//!
//! The wall clock chooses the period. When it steps back into a former period the bucket stays in the
//! later one, so that no period is opened twice.

use super::spec::{CalendarSpec, CalendarUnit};
use crate::{Micros, Now, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime, civil::Weekday};

/// A calendar period and what was used in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarBucket {
    pub(super) spec: CalendarSpec,
    /// First instant of the period, as wall-clock time.
    start: Time,
    /// First instant after the period, as wall-clock time.
    end: Time,
    /// Units used in the period; above the amount while there is debt.
    used: i64,
}

impl CalendarBucket {
    /// The period that holds `wall`, with `available` units unused.
    pub(super) fn new(spec: CalendarSpec, available: i64, wall: Time) -> Self {
        let (start, end) = period_around(&spec, wall);
        let used = spec.amount.saturating_sub(available).max(0);
        Self {
            spec,
            start,
            end,
            used,
        }
    }

    /// The same window under another spec: what was used stays used. The period stays when the
    /// calendar does, even where the clock has stepped back before it.
    pub(super) fn respec(&self, spec: CalendarSpec, wall: Time) -> Self {
        let same = spec.unit == self.spec.unit && spec.zone == self.spec.zone;
        let (start, end) = if same {
            (self.start, self.end)
        } else {
            period_around(&spec, wall)
        };
        Self {
            spec,
            start,
            end,
            used: self.used,
        }
    }

    /// Opens the period that holds `wall` when the current one is over.
    pub(super) fn roll(&mut self, wall: Time) {
        if wall >= self.end {
            (self.start, self.end) = period_around(&self.spec, wall);
            self.used = 0;
        }
    }

    /// Units available. Call [`CalendarBucket::roll`] first.
    pub(super) fn available(&self) -> i64 {
        self.spec.amount.saturating_sub(self.used)
    }

    /// The first time at which `need` units are available, when nothing is taken. `need` may exceed
    /// the amount: then later periods serve the last of several takers, each taken to be as long as
    /// this one.
    pub(super) fn ready_at(&self, need: i64, now: Now) -> Time {
        // Debt is not carried into the next period, so it does not put more periods in between.
        let beyond = need.saturating_sub(self.available().max(0));
        if need <= self.available() {
            return now.mono;
        }
        let later_periods = ((beyond - 1) / self.spec.amount).unsigned_abs();
        let length = self.end - self.start;
        now.mono + (self.end - now.wall) + Micros(length.0.saturating_mul(later_periods))
    }

    /// Takes `amount` units, into debt if need be. Debt ends with the period.
    pub(super) fn take(&mut self, amount: i64) {
        self.used = self.used.saturating_add(amount);
    }

    /// Whether the current period had begun by then.
    pub(super) fn is_in_period(&self, wall: Time) -> bool {
        wall >= self.start
    }

    /// Gives back up to `amount` units taken at `taken_at`: none when that was in a former period.
    /// Returns how many.
    pub(super) fn give_back(&mut self, amount: i64, taken_at: Time) -> i64 {
        if !self.is_in_period(taken_at) {
            return 0;
        }
        let given = amount.min(self.used).max(0);
        self.used -= given;
        given
    }

    /// Lowers what is available to `level`; never raises it.
    pub(super) fn lower_to(&mut self, level: i64) {
        self.used = self.used.max(self.spec.amount.saturating_sub(level));
    }
}

impl CalendarSpec {
    /// First instant of the period that holds `wall`, and first instant after it, as wall-clock times.
    #[must_use]
    pub fn period_at(&self, wall: Time) -> (Time, Time) {
        period_around(self, wall)
    }
}

/// Start and end of the calendar period that holds `wall`.
fn period_around(spec: &CalendarSpec, wall: Time) -> (Time, Time) {
    let micros = i64::try_from(wall.0).unwrap_or(i64::MAX);
    let at = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    let bounds = match spec.unit {
        CalendarUnit::Minute => aligned(&at, &spec.zone, 60),
        CalendarUnit::Hour => aligned(&at, &spec.zone, 3_600),
        CalendarUnit::Day | CalendarUnit::Week | CalendarUnit::Month => {
            whole_days(&at.to_zoned_datetime(spec.zone.clone()), spec.unit)
        }
    };
    // Only times at the end of jiff's range (year 9999) have no such period: one endless period then.
    bounds.unwrap_or((Time(0), Time::NEVER))
}

/// Periods of a fixed length, counted on the zone's own clock: a zone 30 minutes off UTC has its hours
/// there. The end is a fixed length after the start, so an hour repeated in autumn counts twice.
fn aligned(at: &Timestamp, zone: &TimeZone, seconds: i64) -> Option<(Time, Time)> {
    let local = at.as_second() + i64::from(zone.to_offset(*at).seconds());
    let start = at.as_second() - local.rem_euclid(seconds);
    let time = |second: i64| {
        u64::try_from(second)
            .ok()
            .map(|second| Time(second * 1_000_000))
    };
    Some((time(start)?, time(start + seconds)?))
}

/// Periods of whole days, from the first instant that the first day has.
fn whole_days(at: &ZonedDateTime, unit: CalendarUnit) -> Option<(Time, Time)> {
    let today = at.date();
    let (first, next) = match unit {
        CalendarUnit::Week => {
            let back = today.weekday().since(Weekday::Monday);
            let first = today.checked_sub(i64::from(back).days()).ok()?;
            (first, first.checked_add(1.week()).ok()?)
        }
        CalendarUnit::Month => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).ok()?)
        }
        _ => (today, today.tomorrow().ok()?),
    };
    let time = |date: jiff::civil::Date| {
        let midnight = date.to_zoned_datetime(at.time_zone().clone()).ok()?;
        u64::try_from(midnight.timestamp().as_microsecond())
            .ok()
            .map(Time)
    };
    Some((time(first)?, time(next)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(unit: CalendarUnit, zone: &str, at: &str) -> (String, String) {
        let spec = CalendarSpec::new(1, unit, zone).unwrap();
        let at: Timestamp = at.parse().unwrap();
        let (start, end) = period_around(&spec, Time(at.as_microsecond().unsigned_abs()));
        let show = |time: Time| {
            Timestamp::from_microsecond(i64::try_from(time.0).unwrap())
                .unwrap()
                .to_string()
        };
        (show(start), show(end))
    }

    #[test]
    fn periods_lie_where_the_calendar_of_the_zone_puts_them() {
        use CalendarUnit::{Day, Hour, Minute, Month, Week};
        let cases = [
            (
                Minute,
                "UTC",
                "2026-11-25T10:20:30.5Z",
                "2026-11-25T10:20:00Z",
                "2026-11-25T10:21:00Z",
            ),
            (
                Hour,
                "Asia/Kolkata",
                "2026-11-25T10:20:30Z",
                "2026-11-25T09:30:00Z",
                "2026-11-25T10:30:00Z",
            ),
            (
                Day,
                "America/Los_Angeles",
                "2026-11-25T07:59:59Z",
                "2026-11-24T08:00:00Z",
                "2026-11-25T08:00:00Z",
            ),
            // The day on which summer time ends has 25 hours.
            (
                Day,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            // Midnight does not exist on this day in this zone: the day starts at 01:00.
            (
                Day,
                "Africa/Cairo",
                "2024-04-26T12:00:00Z",
                "2024-04-25T22:00:00Z",
                "2024-04-26T21:00:00Z",
            ),
            (
                Week,
                "UTC",
                "2026-11-25T10:20:30Z",
                "2026-11-23T00:00:00Z",
                "2026-11-30T00:00:00Z",
            ),
            (
                Month,
                "UTC",
                "2028-02-29T10:20:30Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
        ];
        for (unit, zone, at, start, end) in cases {
            assert_eq!(
                bounds(unit, zone, at),
                (start.into(), end.into()),
                "{unit:?} {zone} {at}"
            );
        }
    }

    #[test]
    fn a_clock_that_steps_back_does_not_open_a_period_twice() {
        let spec = CalendarSpec::new(5, CalendarUnit::Minute, "").unwrap();
        let minute = 60_000_000;
        let mut bucket = CalendarBucket::new(spec, 5, Time(10 * minute));
        bucket.take(5);
        bucket.roll(Time(11 * minute));
        assert_eq!(bucket.available(), 5);
        bucket.take(3);
        bucket.roll(Time(10 * minute));
        assert_eq!(bucket.available(), 2);
        bucket.roll(Time(11 * minute + 1));
        assert_eq!(bucket.available(), 2);
    }

    #[test]
    fn retry_after_ends_with_the_period() {
        let spec = CalendarSpec::new(5, CalendarUnit::Minute, "").unwrap();
        let mut bucket = CalendarBucket::new(spec, 5, Time(60_000_000));
        bucket.take(5);
        let now = Now {
            mono: Time(1_000),
            wall: Time(100_000_000),
        };
        assert_eq!(bucket.ready_at(1, now), Time(1_000 + 20_000_000));
        assert_eq!(bucket.ready_at(6, now), Time(1_000 + 80_000_000));
    }

    #[test]
    fn debt_does_not_outlast_its_period_in_retry_after_either() {
        let spec = CalendarSpec::new(5, CalendarUnit::Minute, "").unwrap();
        let mut bucket = CalendarBucket::new(spec, 5, Time(60_000_000));
        bucket.take(23);
        let now = Now {
            mono: Time(1_000),
            wall: Time(100_000_000),
        };
        assert_eq!(bucket.ready_at(5, now), Time(1_000 + 20_000_000));
        bucket.roll(Time(120_000_000));
        assert_eq!(bucket.available(), 5);
    }
}
