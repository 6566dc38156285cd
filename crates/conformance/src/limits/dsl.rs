//! Words for specs, charges and spans, so that a case reads like the sentence that names it.

use trellis_core::limits::{
    ActualAmount, CalendarSpec, CalendarUnit, Charge, ConcurrencySpec, LimitSpec, RateSpec,
    WindowSpec,
};
use trellis_core::{Key, Micros, Name};

/// Longer than any case: what comes back by time does not come back within it.
pub(super) const HOUR: Micros = Micros::from_secs(3600);
/// One second.
pub(super) const SECOND: Micros = Micros::from_secs(1);

pub(super) fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

pub(super) fn name(name: &str) -> Name {
    Name::new(name, "name").unwrap()
}

pub(super) fn key(key: &str) -> Key {
    Key::new(key, "key").unwrap()
}

/// `amount` units refilled per `period`, at most `burst` at once.
pub(super) fn rate(amount: i64, period: Micros, burst: i64) -> LimitSpec {
    LimitSpec::Rate(RateSpec::new(amount, period, burst).unwrap())
}

/// At most `amount` units in any interval of length `period`.
pub(super) fn window(amount: i64, period: Micros) -> LimitSpec {
    LimitSpec::Window(WindowSpec::new(amount, period).unwrap())
}

/// At most `amount` units in each `unit` of the calendar of UTC.
pub(super) fn calendar(amount: i64, unit: CalendarUnit) -> LimitSpec {
    LimitSpec::Calendar(CalendarSpec::new(amount, unit, "UTC").unwrap())
}

/// At most `slots` held at a time.
pub(super) fn slots(slots: i64) -> LimitSpec {
    LimitSpec::Concurrency(ConcurrencySpec::new(slots).unwrap())
}

/// `amount` units of the shared bucket of `limit`.
pub(super) fn charge(limit: &str, amount: i64) -> Charge {
    keyed(limit, "", amount)
}

/// `amount` units of one key's bucket of `limit`.
pub(super) fn keyed(limit: &str, of: &str, amount: i64) -> Charge {
    Charge::new(name(limit), key(of), amount).unwrap()
}

/// A charge that carries its spec.
pub(super) fn inline(limit: &str, amount: i64, spec: LimitSpec) -> Charge {
    let mut charge = charge(limit, amount);
    charge.spec = Some(spec);
    charge
}

/// A charge that insists on its spec.
pub(super) fn strict(limit: &str, amount: i64, spec: LimitSpec) -> Charge {
    let mut charge = inline(limit, amount, spec);
    charge.require_spec = true;
    charge
}

/// What was really used of the shared bucket of `limit`.
pub(super) fn used(limit: &str, amount: i64) -> ActualAmount {
    ActualAmount {
        limit: name(limit),
        key: key(""),
        amount,
    }
}
