//! Between the types of the port and those of the client.
//!
//! The client checks strictly what it decodes; what it hands out and the port cannot express is a
//! defect, and ends the case that met it.

use std::time::{Duration, UNIX_EPOCH};
use trellis_client as client;
use trellis_client::{ErrorReason, RetryAdvice};
use trellis_core::limits::{
    Acquired, ActualAmount, BucketState, CalendarSpec, CalendarUnit, Charge, ChargeState,
    ConcurrencySpec, Granted, KeyOverride, LevelPolicy, LimitSpec, LimitState, Outcome, Priority,
    RateSpec, ReservationId, Settled, SettledCharge, Sharing, SpecSource, WindowSpec,
};
use trellis_core::{Error, ErrorCode, Key, Micros, Name, Result, Scope, Time, Violation};

// To the client.

pub(super) fn spec_out(spec: &LimitSpec) -> client::Spec {
    use client::Spec;
    match spec {
        LimitSpec::Rate(rate) => Spec::rate(rate.amount(), rate.period().into())
            .burst(rate.burst())
            .into(),
        LimitSpec::Window(window) => Spec::window(window.amount(), window.period().into()),
        LimitSpec::Calendar(calendar) => {
            let unit = match calendar.unit() {
                CalendarUnit::Minute => client::CalendarUnit::Minute,
                CalendarUnit::Hour => client::CalendarUnit::Hour,
                CalendarUnit::Day => client::CalendarUnit::Day,
                CalendarUnit::Week => client::CalendarUnit::Week,
                CalendarUnit::Month => client::CalendarUnit::Month,
            };
            Spec::calendar(calendar.amount(), unit, calendar.time_zone())
        }
        LimitSpec::Concurrency(slots) => Spec::concurrency(slots.slots()),
    }
}

fn charge_out(charge: &Charge) -> client::Charge {
    let mut out =
        client::Charge::new(charge.limit.as_str(), charge.amount()).key(charge.key.as_str());
    if let Some(spec) = &charge.spec {
        out = out.spec(spec_out(spec));
    }
    if charge.require_spec {
        out = out.require_spec();
    }
    out
}

pub(super) fn charges_out(charges: &[Charge]) -> Vec<client::Charge> {
    charges.iter().map(charge_out).collect()
}

pub(super) fn priority_out(priority: Priority) -> client::Priority {
    match priority {
        Priority::Interactive => client::Priority::Interactive,
        Priority::Batch => client::Priority::Batch,
    }
}

pub(super) fn policy_out(policy: LevelPolicy) -> client::LevelPolicy {
    match policy {
        LevelPolicy::KeepAmount => client::LevelPolicy::KeepAmount,
        LevelPolicy::KeepProportion => client::LevelPolicy::KeepProportion,
        LevelPolicy::Refill => client::LevelPolicy::Refill,
    }
}

pub(super) fn actuals_out(actuals: &[ActualAmount]) -> Vec<client::Actual> {
    let out = |actual: &ActualAmount| {
        client::Actual::new(actual.limit.as_str(), actual.amount).key(actual.key.as_str())
    };
    actuals.iter().map(out).collect()
}

// From the client.

fn name_in(name: String) -> Name {
    Name::new(name, "name").unwrap()
}

fn key_in(key: String) -> Key {
    Key::new(key, "key").unwrap()
}

fn count_in(count: i64) -> usize {
    usize::try_from(count).unwrap()
}

fn wait_in(wait: Option<Duration>) -> Option<Micros> {
    wait.map(Micros::from)
}

pub(super) fn spec_in(spec: client::Spec) -> LimitSpec {
    use client::{Span, Spec};
    match spec {
        Spec::Rate(rate) => {
            let burst = rate.burst.unwrap_or(rate.amount);
            LimitSpec::Rate(RateSpec::new(rate.amount, rate.period.into(), burst).unwrap())
        }
        Spec::Window { amount, span } => match span {
            Span::Sliding(period) => {
                LimitSpec::Window(WindowSpec::new(amount, period.into()).unwrap())
            }
            Span::Calendar { unit, time_zone } => {
                let unit = match unit {
                    client::CalendarUnit::Minute => CalendarUnit::Minute,
                    client::CalendarUnit::Hour => CalendarUnit::Hour,
                    client::CalendarUnit::Day => CalendarUnit::Day,
                    client::CalendarUnit::Week => CalendarUnit::Week,
                    client::CalendarUnit::Month => CalendarUnit::Month,
                };
                LimitSpec::Calendar(CalendarSpec::new(amount, unit, &time_zone).unwrap())
            }
        },
        Spec::Concurrency { slots } => LimitSpec::Concurrency(ConcurrencySpec::new(slots).unwrap()),
    }
}

fn source_in(source: client::SpecSource) -> SpecSource {
    match source {
        client::SpecSource::Inline => SpecSource::Inline,
        client::SpecSource::Configuration => SpecSource::Configuration,
        client::SpecSource::SetLimit => SpecSource::SetLimit,
        client::SpecSource::Pipeline => SpecSource::Pipeline,
    }
}

pub(super) fn scope_in(scope: client::Scope) -> Scope {
    match scope {
        client::Scope::Shared => Scope::Shared,
        client::Scope::Local => Scope::Local,
        client::Scope::Degraded { since, reason } => {
            let since = Micros::from(since.duration_since(UNIX_EPOCH).unwrap());
            Scope::Degraded {
                since: Time(since.0),
                reason: reason.into(),
            }
        }
    }
}

fn states_in(charges: Vec<client::ChargeResult>) -> Vec<ChargeState> {
    let state_in = |charge: client::ChargeResult| ChargeState {
        remaining: charge.remaining,
        retry_after: wait_in(charge.retry_after),
        spec: spec_in(charge.spec),
        source: source_in(charge.source),
        spec_replaced: charge.spec_replaced,
    };
    charges.into_iter().map(state_in).collect()
}

pub(super) fn acquired_in(acquired: client::Acquired) -> Acquired {
    use client::Acquired as In;
    let (outcome, charges, scope) = match acquired {
        In::Granted(grant) => {
            let reservation = grant.reservation.map(|reservation| Granted {
                ttl: reservation.expires_in().into(),
                // Taken out of its guard, which would settle it.
                id: ReservationId::new(reservation.into_id()).unwrap(),
            });
            (Outcome::Granted(reservation), grant.charges, grant.scope)
        }
        In::Denied {
            retry_after,
            charges,
            scope,
        } => (Outcome::Denied(retry_after.into()), charges, scope),
        In::Never { charges, scope } => (Outcome::Never, charges, scope),
        In::TimedOut {
            retry_after,
            position,
            charges,
            scope,
        } => {
            let retry_after = retry_after.into();
            let outcome = Outcome::TimedOut {
                retry_after,
                position,
            };
            (outcome, charges, scope)
        }
        In::Lost { charges, scope } => (Outcome::Lost, charges, scope),
    };
    Acquired {
        outcome,
        charges: states_in(charges),
        scope: scope_in(scope),
    }
}

pub(super) fn extended_in(extended: client::Extended, id: ReservationId) -> Acquired {
    use client::Extended as In;
    let (outcome, charges, scope) = match extended {
        In::Granted {
            expires_in,
            charges,
            scope,
        } => {
            let ttl = expires_in.into();
            (Outcome::Granted(Some(Granted { id, ttl })), charges, scope)
        }
        In::Denied {
            retry_after,
            charges,
            scope,
        } => (Outcome::Denied(retry_after.into()), charges, scope),
        In::Never { charges, scope } => (Outcome::Never, charges, scope),
        In::Lost { charges, scope } => (Outcome::Lost, charges, scope),
    };
    Acquired {
        outcome,
        charges: states_in(charges),
        scope: scope_in(scope),
    }
}

pub(super) fn settled_in(settled: client::Settled) -> Settled {
    let charge_in = |charge: client::SettledCharge| SettledCharge {
        limit: name_in(charge.limit),
        key: key_in(charge.key),
        reserved: charge.reserved,
        actual: charge.actual,
        refunded: charge.refunded,
        remaining: charge.remaining,
    };
    Settled {
        charges: settled.charges.into_iter().map(charge_in).collect(),
        scope: scope_in(settled.scope),
    }
}

pub(super) fn bucket_in(bucket: client::Bucket) -> BucketState {
    BucketState {
        limit: name_in(bucket.limit),
        key: key_in(bucket.key),
        spec: spec_in(bucket.spec),
        source: source_in(bucket.source),
        remaining: bucket.remaining,
        capacity: bucket.capacity,
        full_after: bucket.full_after.into(),
        paused_for: wait_in(bucket.paused_for),
        waiters: count_in(bucket.waiters),
        sharing: sharing_in(bucket.sharing),
        slices: count_in(bucket.slices),
        stranded: bucket.stranded,
        overshoot: bucket.overshoot,
    }
}

pub(super) fn limit_in(limit: client::Limit) -> LimitState {
    let override_in = |other: client::KeyOverride| KeyOverride {
        key: key_in(other.key),
        spec: spec_in(other.spec),
    };
    LimitState {
        name: name_in(limit.name),
        spec: spec_in(limit.spec),
        overrides: limit.overrides.into_iter().map(override_in).collect(),
        source: source_in(limit.source),
        buckets: count_in(limit.buckets),
        sharing: sharing_in(limit.sharing),
    }
}

fn sharing_in(sharing: client::Sharing) -> Sharing {
    match sharing {
        client::Sharing::Auto => Sharing::Auto,
        client::Sharing::Exact => Sharing::Exact,
        client::Sharing::Leased => Sharing::Leased,
    }
}

pub(super) fn sharing_out(sharing: Sharing) -> client::Sharing {
    match sharing {
        Sharing::Auto => client::Sharing::Auto,
        Sharing::Exact => client::Sharing::Exact,
        Sharing::Leased => client::Sharing::Leased,
    }
}

pub(super) fn buckets_in(count: i64) -> usize {
    count_in(count)
}

/// The client's answer, its error as the port has it.
pub(super) fn answer<T>(result: client::Result<T>) -> Result<T> {
    result.map_err(|error| Error {
        code: error.reason().map_or(ErrorCode::Internal, code_in),
        message: error.to_string(),
        violation: error.field_violations().first().map(|first| Violation {
            field: first.field.clone(),
            allowed: first.allowed.clone(),
        }),
        retry_after: match error.retry_advice() {
            RetryAdvice::Later(pause) => Some(pause.into()),
            RetryAdvice::Never | RetryAdvice::SameRequestId => None,
        },
    })
}

fn code_in(reason: ErrorReason) -> ErrorCode {
    match reason {
        ErrorReason::InvalidField => ErrorCode::InvalidField,
        ErrorReason::NotImplemented => ErrorCode::NotImplemented,
        ErrorReason::Draining => ErrorCode::Draining,
        ErrorReason::Cancelled => ErrorCode::Cancelled,
        ErrorReason::LimitNotFound => ErrorCode::LimitNotFound,
        ErrorReason::LimitDeleted => ErrorCode::LimitDeleted,
        ErrorReason::SpecMismatch => ErrorCode::SpecMismatch,
        ErrorReason::ReservationNotFound => ErrorCode::ReservationNotFound,
        ErrorReason::ReservationExpired => ErrorCode::ReservationExpired,
        ErrorReason::ReservationSettled => ErrorCode::ReservationSettled,
        ErrorReason::RequestIdReused => ErrorCode::RequestIdReused,
        ErrorReason::TooManyWaiters => ErrorCode::TooManyWaiters,
        ErrorReason::TooManyBuckets => ErrorCode::TooManyBuckets,
        ErrorReason::TooManyLimits => ErrorCode::TooManyLimits,
        ErrorReason::TooManyNamespaces => ErrorCode::TooManyNamespaces,
        ErrorReason::TooManyReservations => ErrorCode::TooManyReservations,
        ErrorReason::TooManyRequestIds => ErrorCode::TooManyRequestIds,
        ErrorReason::TooManyCalls => ErrorCode::TooManyCalls,
        ErrorReason::TooManyStreams => ErrorCode::TooManyStreams,
        ErrorReason::TooManyBytes => ErrorCode::TooManyBytes,
        ErrorReason::StoreUnavailable => ErrorCode::StoreUnavailable,
        ErrorReason::OutcomeUnknown => ErrorCode::OutcomeUnknown,
        ErrorReason::LeaseNotFound => ErrorCode::LeaseNotFound,
        ErrorReason::LeaseLost => ErrorCode::LeaseLost,
        ErrorReason::TokenMismatch => ErrorCode::TokenMismatch,
        ErrorReason::TooManyLocks => ErrorCode::TooManyLocks,
        ErrorReason::StaleFence => ErrorCode::StaleFence,
        ErrorReason::PipelineNotFound => ErrorCode::PipelineNotFound,
        ErrorReason::PipelineChanged => ErrorCode::PipelineChanged,
        ErrorReason::TooManyPipelines => ErrorCode::TooManyPipelines,
        ErrorReason::GroupNotFound => ErrorCode::GroupNotFound,
        ErrorReason::TooManyTopics => ErrorCode::TooManyTopics,
        ErrorReason::TooManyGroups => ErrorCode::TooManyGroups,
        ErrorReason::JobNotFound => ErrorCode::JobNotFound,
        ErrorReason::TooManyJobs => ErrorCode::TooManyJobs,
        ErrorReason::TooManyQueues => ErrorCode::TooManyQueues,
        ErrorReason::TooManyLeases => ErrorCode::TooManyLeases,
        // The port has no such codes.
        ErrorReason::Unspecified
        | ErrorReason::MalformedMessage
        | ErrorReason::Internal
        | ErrorReason::Unauthenticated
        | ErrorReason::PermissionDenied => ErrorCode::Internal,
    }
}
