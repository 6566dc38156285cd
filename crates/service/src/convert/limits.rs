//! Limits' requests and answers between the contract and the port.

use super::spec::{message, spec};
use super::{Context, count, duration, request_id, scope, span};
use std::collections::HashSet;
use trellis_core::limits::{
    AcquireRequest, Acquired, ActualAmount, BucketState, Charge, ChargeState, DeleteLimit,
    ExtendReservation, FairShare, KeyOverride, LevelPolicy, LimitSpec, LimitState, MAX_AMOUNT,
    Mode, Outcome, Priority, ReportThrottled, ReservationId, ResetLimit, SetLimit, Settle, Settled,
    Sharing, SpecSource, Usage,
};
use trellis_core::{Error, Key, Micros, Name, Namespace, Result};
use trellis_proto::v1;

const MAX_OVERRIDES: usize = 1_000;
/// No reservation has more charges.
const MAX_ACTUAL: usize = 1_024;

pub(crate) fn acquire(
    request: v1::AcquireRequest,
    context: &Context<'_>,
) -> Result<AcquireRequest> {
    let config = context.config;
    let priority = match v1::Priority::try_from(request.priority) {
        Ok(v1::Priority::Unspecified | v1::Priority::Interactive) => Priority::Interactive,
        Ok(v1::Priority::Batch) => Priority::Batch,
        Err(_) => return Err(Error::invalid("priority", "must be INTERACTIVE or BATCH")),
    };
    let mode = match v1::AcquireMode::try_from(request.mode) {
        Ok(v1::AcquireMode::Unspecified | v1::AcquireMode::Try) if request.max_wait.is_some() => {
            return Err(Error::invalid(
                "max_wait",
                "must be unset unless mode is WAIT",
            ));
        }
        Ok(v1::AcquireMode::Unspecified | v1::AcquireMode::Try) => Mode::Try,
        Ok(v1::AcquireMode::Wait) => {
            let wait = span(
                request.max_wait,
                "max_wait",
                (Micros::ZERO, config.max_wait),
            )?;
            let wait = wait.unwrap_or(Micros::ZERO);
            Mode::Wait(context.deadline.map_or(wait, |deadline| wait.min(deadline)))
        }
        Err(_) => return Err(Error::invalid("mode", "must be TRY or WAIT")),
    };
    if request.charges.is_empty() {
        let allowed = format!("must hold 1 to {} charges, has 0", config.max_charges);
        return Err(Error::invalid("charges", allowed));
    }
    Ok(AcquireRequest {
        namespace: context.namespace(request.namespace)?,
        charges: charges(request.charges, config.max_charges)?,
        mode,
        reservation_ttl: reservation_ttl(request.reservation_ttl, context)?,
        request_id: request_id(request.request_id)?,
        priority,
        fair: FairShare::new(request.fair_key, request.weight)?,
        dry_run: request.dry_run,
    })
}

fn reservation_ttl(
    ttl: Option<prost_types::Duration>,
    context: &Context<'_>,
) -> Result<Option<Micros>> {
    span(
        ttl,
        "reservation_ttl",
        (Micros::from_millis(1), context.config.max_reservation_ttl),
    )
}

pub(crate) fn charges(charges: Vec<v1::Charge>, max: usize) -> Result<Vec<Charge>> {
    if charges.len() > max {
        let allowed = format!("must hold at most {max} charges, has {}", charges.len());
        return Err(Error::invalid("charges", allowed));
    }
    // Not collected: that would reuse the larger allocation and cut it to size, which is slow.
    let mut converted = Vec::with_capacity(charges.len());
    for (index, wanted) in charges.into_iter().enumerate() {
        let charge = charge(wanted).map_err(|error| error.within(format!("charges[{index}]")))?;
        converted.push(charge);
    }
    Ok(converted)
}

fn inline_spec(wanted: Option<v1::LimitSpec>) -> Result<Option<LimitSpec>> {
    wanted
        .map(spec)
        .transpose()
        .map_err(|error| error.within("spec"))
}

fn charge(wanted: v1::Charge) -> Result<Charge> {
    let limit = Name::new(wanted.limit, "limit")?;
    let key = Key::new(wanted.key, "key")?;
    let mut charge = Charge::new(limit, key, wanted.amount)?;
    charge.spec = inline_spec(wanted.spec)?;
    if wanted.require_spec && charge.spec.is_none() {
        return Err(Error::invalid("require_spec", "needs a spec to require"));
    }
    charge.require_spec = wanted.require_spec;
    Ok(charge)
}

pub(crate) fn acquired(acquired: Acquired) -> v1::AcquireResponse {
    let mut response = v1::AcquireResponse {
        charges: acquired.charges.iter().map(charge_state).collect(),
        scope: Some(scope(&acquired.scope)),
        ..Default::default()
    };
    let outcome = match acquired.outcome {
        Outcome::Granted(granted) => {
            if let Some(granted) = granted {
                response.reservation_id = granted.id.into();
                response.reservation_ttl = Some(duration(granted.ttl));
            }
            v1::Outcome::Granted
        }
        Outcome::Denied(wait) => {
            response.retry_after = Some(duration(wait));
            v1::Outcome::Denied
        }
        Outcome::Never => v1::Outcome::Never,
        Outcome::TimedOut {
            retry_after,
            position,
        } => {
            response.retry_after = Some(duration(retry_after));
            response.position = position;
            v1::Outcome::TimedOut
        }
        Outcome::Lost => v1::Outcome::Lost,
    };
    response.set_outcome(outcome);
    response
}

fn charge_state(state: &ChargeState) -> v1::ChargeResult {
    v1::ChargeResult {
        remaining: state.remaining,
        retry_after: state.retry_after.map(duration),
        spec: Some(message(&state.spec)),
        source: source(state.source).into(),
        spec_replaced: state.spec_replaced,
    }
}

fn source(source: SpecSource) -> v1::SpecSource {
    match source {
        SpecSource::Inline => v1::SpecSource::Inline,
        SpecSource::Configuration => v1::SpecSource::Configuration,
        SpecSource::SetLimit => v1::SpecSource::SetLimit,
        SpecSource::Pipeline => v1::SpecSource::Pipeline,
    }
}

pub(crate) fn settle(request: v1::SettleRequest, context: &Context<'_>) -> Result<Settle> {
    let namespace = context.namespace(request.namespace)?;
    let reservation = ReservationId::new(request.reservation_id)?;
    if request.refund_all && !request.actual.is_empty() {
        return Err(Error::invalid(
            "refund_all",
            "must be false when actual amounts are given",
        ));
    }
    let usage = if request.refund_all {
        Usage::RefundAll
    } else {
        Usage::Actual(actual_amounts(request.actual, "actual")?)
    };
    Ok(Settle {
        namespace,
        reservation,
        usage,
    })
}

/// Amounts that stand in this field of a request.
pub(crate) fn actual_amounts(
    amounts: Vec<v1::ActualAmount>,
    field: &str,
) -> Result<Vec<ActualAmount>> {
    if amounts.len() > MAX_ACTUAL {
        let allowed = format!(
            "must hold at most {MAX_ACTUAL} amounts, has {}",
            amounts.len()
        );
        return Err(Error::invalid(field, allowed));
    }
    let mut seen = HashSet::new();
    let amounts = amounts.into_iter().enumerate().map(|(index, actual)| {
        let within = |error: Error| error.within(format!("{field}[{index}]"));
        let limit = Name::new(actual.limit, "limit").map_err(within)?;
        let key = Key::new(actual.key, "key").map_err(within)?;
        let amount = actual.amount;
        if !(0..=MAX_AMOUNT).contains(&amount) {
            let allowed = format!("must be 0 to {MAX_AMOUNT}, is {amount}");
            return Err(within(Error::invalid("amount", allowed)));
        }
        if !seen.insert((limit.clone(), key.clone())) {
            return Err(within(Error::invalid(
                "limit",
                "names the same bucket a second time",
            )));
        }
        Ok(ActualAmount { limit, key, amount })
    });
    amounts.collect()
}

pub(crate) fn settled(settled: Settled) -> v1::SettleResponse {
    let charges = settled.charges.into_iter().map(|charge| v1::SettledCharge {
        limit: charge.limit.into(),
        key: charge.key.into(),
        reserved: charge.reserved,
        actual: charge.actual,
        refunded: charge.refunded,
        remaining: charge.remaining,
    });
    v1::SettleResponse {
        charges: charges.collect(),
        scope: Some(scope(&settled.scope)),
    }
}

pub(crate) fn extend(
    request: v1::ExtendReservationRequest,
    context: &Context<'_>,
) -> Result<ExtendReservation> {
    let ttl = reservation_ttl(request.reservation_ttl, context)?;
    Ok(ExtendReservation {
        namespace: context.namespace(request.namespace)?,
        reservation: ReservationId::new(request.reservation_id)?,
        ttl: ttl.unwrap_or(context.config.default_reservation_ttl),
        charges: charges(request.charges, context.config.max_charges)?,
        request_id: request_id(request.request_id)?,
    })
}

pub(crate) fn extended(extended: Acquired) -> v1::ExtendReservationResponse {
    let answer = acquired(extended);
    v1::ExtendReservationResponse {
        outcome: answer.outcome,
        retry_after: answer.retry_after,
        charges: answer.charges,
        reservation_ttl: answer.reservation_ttl,
        scope: answer.scope,
    }
}

pub(crate) fn peek(
    request: v1::PeekRequest,
    context: &Context<'_>,
) -> Result<(Namespace, Name, Key)> {
    Ok((
        context.namespace(request.namespace)?,
        Name::new(request.limit, "limit")?,
        Key::new(request.key, "key")?,
    ))
}

pub(crate) fn bucket_state(state: BucketState) -> v1::Bucket {
    v1::Bucket {
        spec: Some(message(&state.spec)),
        limit: state.limit.into(),
        key: state.key.into(),
        source: source(state.source).into(),
        remaining: state.remaining,
        capacity: state.capacity,
        full_after: Some(duration(state.full_after)),
        paused_for: state.paused_for.map(duration),
        waiters: count(state.waiters),
        sharing: sharing_out(state.sharing).into(),
        slices: count(state.slices),
        stranded: state.stranded,
        overshoot: state.overshoot,
    }
}

fn sharing_in(sharing: i32) -> Result<Sharing> {
    match v1::Sharing::try_from(sharing) {
        Ok(v1::Sharing::Unspecified | v1::Sharing::Auto) => Ok(Sharing::Auto),
        Ok(v1::Sharing::Exact) => Ok(Sharing::Exact),
        Ok(v1::Sharing::Leased) => Ok(Sharing::Leased),
        Err(_) => Err(Error::invalid("sharing", "must be AUTO, EXACT or LEASED")),
    }
}

fn sharing_out(sharing: Sharing) -> v1::Sharing {
    match sharing {
        Sharing::Auto => v1::Sharing::Auto,
        Sharing::Exact => v1::Sharing::Exact,
        Sharing::Leased => v1::Sharing::Leased,
    }
}

/// What becomes of the level of a limit that changes.
pub(super) fn level_policy(policy: i32) -> Result<LevelPolicy> {
    match v1::LevelPolicy::try_from(policy) {
        Ok(v1::LevelPolicy::Unspecified | v1::LevelPolicy::KeepAmount) => {
            Ok(LevelPolicy::KeepAmount)
        }
        Ok(v1::LevelPolicy::KeepProportion) => Ok(LevelPolicy::KeepProportion),
        Ok(v1::LevelPolicy::Refill) => Ok(LevelPolicy::Refill),
        Err(_) => {
            let allowed = "must be KEEP_AMOUNT, KEEP_PROPORTION or REFILL";
            Err(Error::invalid("level_policy", allowed))
        }
    }
}

pub(crate) fn set_limit(request: v1::SetLimitRequest, context: &Context<'_>) -> Result<SetLimit> {
    let level_policy = level_policy(request.level_policy)?;
    Ok(SetLimit {
        namespace: context.namespace(request.namespace)?,
        name: Name::new(request.name, "name")?,
        spec: required_spec(request.spec)?,
        overrides: overrides(request.overrides)?,
        level_policy,
        source: SpecSource::SetLimit,
        sharing: sharing_in(request.sharing)?,
        request_id: request_id(request.request_id)?,
    })
}

fn required_spec(wanted: Option<v1::LimitSpec>) -> Result<LimitSpec> {
    let wanted = wanted.ok_or_else(|| Error::invalid("spec", "is required"))?;
    spec(wanted).map_err(|error| error.within("spec"))
}

fn overrides(overrides: Vec<v1::KeyOverride>) -> Result<Vec<KeyOverride>> {
    if overrides.len() > MAX_OVERRIDES {
        let allowed = format!("must hold at most {MAX_OVERRIDES}, has {}", overrides.len());
        return Err(Error::invalid("overrides", allowed));
    }
    let mut seen = HashSet::new();
    let overrides = overrides.into_iter().enumerate().map(|(index, wanted)| {
        let within = |error: Error| error.within(format!("overrides[{index}]"));
        let key = Key::new(wanted.key, "key").map_err(within)?;
        if key.as_str().is_empty() || !seen.insert(key.clone()) {
            return Err(within(Error::invalid(
                "key",
                "must be a key, and each key once",
            )));
        }
        Ok(KeyOverride {
            key,
            spec: required_spec(wanted.spec).map_err(within)?,
        })
    });
    overrides.collect()
}

pub(crate) fn limit_state(state: LimitState) -> v1::Limit {
    let overrides = state.overrides.into_iter().map(|other| v1::KeyOverride {
        key: other.key.into(),
        spec: Some(message(&other.spec)),
    });
    v1::Limit {
        name: state.name.into(),
        spec: Some(message(&state.spec)),
        overrides: overrides.collect(),
        source: source(state.source).into(),
        buckets: count(state.buckets),
        sharing: sharing_out(state.sharing).into(),
    }
}

pub(crate) fn delete_limit(
    request: v1::DeleteLimitRequest,
    context: &Context<'_>,
) -> Result<DeleteLimit> {
    Ok(DeleteLimit {
        namespace: context.namespace(request.namespace)?,
        name: Name::new(request.name, "name")?,
        request_id: request_id(request.request_id)?,
    })
}

pub(crate) fn reset_limit(
    request: v1::ResetLimitRequest,
    context: &Context<'_>,
) -> Result<ResetLimit> {
    Ok(ResetLimit {
        namespace: context.namespace(request.namespace)?,
        name: Name::new(request.name, "name")?,
        key: request.key.map(|key| Key::new(key, "key")).transpose()?,
        request_id: request_id(request.request_id)?,
    })
}

pub(crate) fn report_throttled(
    request: v1::ReportThrottledRequest,
    context: &Context<'_>,
) -> Result<ReportThrottled> {
    let pause = (Micros::TICK, context.config.max_pause);
    let retry_after = span(request.retry_after, "retry_after", pause)?;
    if let Some(remaining) = request.remaining
        && !(0..=MAX_AMOUNT).contains(&remaining)
    {
        let allowed = format!("must be 0 to {MAX_AMOUNT}, is {remaining}");
        return Err(Error::invalid("remaining", allowed));
    }
    Ok(ReportThrottled {
        namespace: context.namespace(request.namespace)?,
        limit: Name::new(request.limit, "limit")?,
        key: Key::new(request.key, "key")?,
        retry_after: retry_after.ok_or_else(|| Error::invalid("retry_after", "is required"))?,
        remaining: request.remaining,
        spec: inline_spec(request.spec)?,
        request_id: request_id(request.request_id)?,
    })
}
