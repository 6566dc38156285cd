//! Between the port's types and those of the scripts.

use super::wire::{self, Data, Decision, Maybe, Spec};
use serde::Serialize;
use trellis_core::limits::{
    Acquired, BucketState, CalendarSpec, CalendarUnit, Charge, ChargeState, ConcurrencySpec,
    Granted, KeyOverride, LevelPolicy, LimitSpec, LimitState, Outcome, RateSpec, ReservationId,
    SettledCharge, Sharing, SpecSource, WindowSpec,
};
use trellis_core::{Error, ErrorCode, Key, Micros, Name, RequestId, Result, Scope};

/// An answer of a script that this daemon cannot read: a defect.
pub(super) fn unreadable(what: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorCode::Internal,
        format!("the store's answer cannot be read: {what}"),
    )
}

pub(super) fn unit_number(unit: CalendarUnit) -> u8 {
    match unit {
        CalendarUnit::Minute => 0,
        CalendarUnit::Hour => 1,
        CalendarUnit::Day => 2,
        CalendarUnit::Week => 3,
        CalendarUnit::Month => 4,
    }
}

pub(super) fn unit_of(number: u8) -> Result<CalendarUnit> {
    Ok(match number {
        0 => CalendarUnit::Minute,
        1 => CalendarUnit::Hour,
        2 => CalendarUnit::Day,
        3 => CalendarUnit::Week,
        4 => CalendarUnit::Month,
        _ => return Err(unreadable("a calendar unit")),
    })
}

pub(crate) fn spec(spec: &LimitSpec) -> Spec {
    match spec {
        LimitSpec::Rate(it) => Spec::Rate {
            amount: it.amount(),
            period: it.period().0,
            burst: it.burst(),
        },
        LimitSpec::Window(it) => Spec::Window {
            amount: it.amount(),
            period: it.period().0,
        },
        LimitSpec::Calendar(it) => Spec::Calendar {
            amount: it.amount(),
            unit: unit_number(it.unit()),
            zone: it.time_zone().to_owned(),
        },
        LimitSpec::Concurrency(it) => Spec::Slots { slots: it.slots() },
    }
}

pub(crate) fn spec_of(spec: Spec) -> Result<LimitSpec> {
    Ok(match spec {
        Spec::Rate {
            amount,
            period,
            burst,
        } => LimitSpec::Rate(RateSpec::new(amount, Micros(period), burst)?),
        Spec::Window { amount, period } => {
            LimitSpec::Window(WindowSpec::new(amount, Micros(period))?)
        }
        Spec::Calendar { amount, unit, zone } => {
            LimitSpec::Calendar(CalendarSpec::new(amount, unit_of(unit)?, &zone)?)
        }
        Spec::Slots { slots } => LimitSpec::Concurrency(ConcurrencySpec::new(slots)?),
    })
}

fn charge(charge: &Charge) -> wire::Charge<'_> {
    let inline = Maybe(charge.spec.as_ref().map(spec));
    let (limit, key) = (charge.limit.as_str(), charge.key.as_str());
    wire::Charge(limit, key, charge.amount(), inline, charge.require_spec)
}

pub(super) fn charges(charges: &[Charge]) -> Vec<wire::Charge<'_>> {
    charges.iter().map(charge).collect()
}

/// Names a request for the scripts. The digest must be the same on every daemon and in every version: it is
/// that of the body as the scripts are given it.
pub(super) fn request<'a>(
    rpc: &'static str,
    id: Option<&'a RequestId>,
    body: &impl Serialize,
) -> wire::Request<'a> {
    Maybe(id.map(|id| (rpc, id.as_str(), crate::packed::digest(body))))
}

pub(super) fn policy(policy: LevelPolicy) -> u8 {
    match policy {
        LevelPolicy::KeepAmount => 0,
        LevelPolicy::KeepProportion => 1,
        LevelPolicy::Refill => 2,
    }
}

pub(super) fn source(source: SpecSource) -> u8 {
    match source {
        SpecSource::Inline => 0,
        SpecSource::Configuration => 1,
        SpecSource::SetLimit => 2,
        SpecSource::Pipeline => 3,
    }
}

pub(super) fn source_of(number: u8) -> Result<SpecSource> {
    Ok(match number {
        0 => SpecSource::Inline,
        1 => SpecSource::Configuration,
        2 => SpecSource::SetLimit,
        3 => SpecSource::Pipeline,
        _ => return Err(unreadable("a spec's source")),
    })
}

pub(super) fn sharing(sharing: Sharing) -> u8 {
    match sharing {
        Sharing::Auto => 0,
        Sharing::Exact => 1,
        Sharing::Leased => 2,
    }
}

fn sharing_of(number: u8) -> Result<Sharing> {
    Ok(match number {
        0 => Sharing::Auto,
        1 => Sharing::Exact,
        2 => Sharing::Leased,
        _ => return Err(unreadable("how a limit is shared")),
    })
}

fn state_of(state: wire::State) -> Result<ChargeState> {
    let wire::State(remaining, wait, spec, source, spec_replaced) = state;
    Ok(ChargeState {
        remaining,
        retry_after: u64::try_from(wait).ok().map(Micros),
        spec: spec_of(spec)?,
        source: source_of(source)?,
        spec_replaced,
    })
}

/// A decision as the port tells it; one that ends in an error of the call is that error.
pub(super) fn acquired(decision: Decision) -> Result<Acquired> {
    let Decision(outcome, data, states) = decision;
    let outcome = match (outcome, data) {
        (wire::GRANTED, Data::Nothing) => Outcome::Granted(None),
        (wire::GRANTED, Data::Reservation(id, ttl)) => Outcome::Granted(Some(Granted {
            id: ReservationId::new(id)?,
            ttl: Micros(ttl),
        })),
        (wire::DENIED, Data::Wait(wait)) => Outcome::Denied(Micros(wait)),
        (wire::NEVER, _) => Outcome::Never,
        (wire::TIMED_OUT, Data::TimedOut(wait, position)) => Outcome::TimedOut {
            retry_after: Micros(wait),
            position,
        },
        (wire::DELETED, Data::Limit(limit)) => {
            let message = format!("limit {limit:?} was deleted");
            return Err(Error::new(ErrorCode::LimitDeleted, message));
        }
        (outcome, data) => return Err(unreadable(format_args!("outcome {outcome} with {data:?}"))),
    };
    let charges = states.into_iter().map(state_of).collect::<Result<_>>()?;
    Ok(Acquired {
        outcome,
        charges,
        scope: Scope::Shared,
    })
}

/// The first answer of a request id, its times counted anew. `until` is when its reservation ends.
pub(super) fn replayed(
    decision: Decision,
    elapsed: u64,
    until: Option<u64>,
    now: u64,
) -> Result<Acquired> {
    let mut acquired = acquired(decision)?;
    let left = |wait: Micros| Micros(wait.0.saturating_sub(elapsed)).max(Micros::TICK);
    match &mut acquired.outcome {
        Outcome::Denied(wait) => *wait = left(*wait),
        Outcome::TimedOut { retry_after, .. } => *retry_after = left(*retry_after),
        Outcome::Granted(Some(granted)) => {
            if let Some(until) = until {
                granted.ttl = Micros(until.saturating_sub(now));
            } else {
                acquired.outcome = Outcome::Lost;
                acquired.charges.clear();
            }
        }
        _ => {}
    }
    for charge in &mut acquired.charges {
        charge.retry_after = charge.retry_after.map(left);
    }
    Ok(acquired)
}

/// Limit, key, reserved, actual, refunded, remaining.
pub(super) type SettledWire = (String, String, i64, i64, i64, i64);

pub(super) fn settled(charges: Vec<SettledWire>) -> Result<Vec<SettledCharge>> {
    let one = |(limit, key, reserved, actual, refunded, remaining)| {
        Ok(SettledCharge {
            limit: Name::new(limit, "limit")?,
            key: Key::new(key, "key")?,
            reserved,
            actual,
            refunded,
            remaining,
        })
    };
    charges.into_iter().map(one).collect()
}

/// Name, spec, overrides, source, buckets, sharing.
pub(super) type LimitWire = (String, Spec, Vec<(String, Spec)>, u8, usize, u8);

pub(super) fn limit(limit: LimitWire) -> Result<LimitState> {
    let (name, spec, overrides, source, buckets, sharing) = limit;
    let one = |(key, spec): (String, Spec)| {
        Ok(KeyOverride {
            key: Key::new(key, "key")?,
            spec: spec_of(spec)?,
        })
    };
    Ok(LimitState {
        name: Name::new(name, "name")?,
        spec: spec_of(spec)?,
        overrides: overrides.into_iter().map(one).collect::<Result<_>>()?,
        source: source_of(source)?,
        buckets,
        sharing: sharing_of(sharing)?,
    })
}

/// Limit, key, spec, source, remaining, capacity, full after, paused for (-1), waiters, sharing, slices, units in
/// them, units over.
pub(super) type BucketWire = (
    String,
    String,
    Spec,
    u8,
    i64,
    i64,
    u64,
    i64,
    usize,
    u8,
    usize,
    i64,
    i64,
);

pub(super) fn bucket(state: BucketWire) -> Result<BucketState> {
    let (limit, key, spec, source, remaining, capacity, full_after, ..) = state;
    let (.., paused_for, waiters, sharing, slices, stranded, overshoot) = state;
    Ok(BucketState {
        limit: Name::new(limit, "limit")?,
        key: Key::new(key, "key")?,
        spec: spec_of(spec)?,
        source: source_of(source)?,
        remaining,
        capacity,
        full_after: Micros(full_after),
        paused_for: u64::try_from(paused_for).ok().map(Micros),
        waiters,
        sharing: sharing_of(sharing)?,
        slices,
        stranded,
        overshoot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_come_back_as_they_went() {
        let specs = [
            LimitSpec::Rate(RateSpec::new(1_000_000_000_000, Micros::from_secs(60), 7).unwrap()),
            LimitSpec::Window(WindowSpec::new(100, Micros::from_millis(1)).unwrap()),
            LimitSpec::Calendar(
                CalendarSpec::new(5, CalendarUnit::Month, "Europe/Berlin").unwrap(),
            ),
            LimitSpec::Concurrency(ConcurrencySpec::new(9).unwrap()),
        ];
        for one in specs {
            let bytes = rmp_serde::to_vec(&Maybe(Some(spec(&one)))).unwrap();
            let back: Maybe<Spec> = rmp_serde::from_slice(&bytes).unwrap();
            assert_eq!(spec_of(back.0.unwrap()).unwrap(), one);
        }
    }
}
