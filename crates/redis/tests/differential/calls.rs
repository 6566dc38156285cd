//! Random requests, and the shapes in which scripts take them and answer.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use trellis_conformance::leases::Random;
use trellis_core::limits::{
    AcquireRequest, Acquired, BucketState, CalendarSpec, CalendarUnit, Charge, ChargeState,
    ConcurrencySpec, FairShare, LevelPolicy, LimitSpec, Mode, Outcome, Priority, RateSpec,
    SpecSource, WindowSpec,
};
use trellis_core::{Error, Key, Micros, Name, Namespace, RequestId};

pub const SECOND: u64 = 1_000_000;

/// Limits that are declared at first, and inline ones.
pub const LIMITS: [&str; 7] = [
    "rate", "slots", "window", "calendar", "big", "inline", "other",
];
pub const KEYS: [&str; 3] = ["", "k", "over"];

pub fn name(text: &str) -> Name {
    Name::new(text, "limit").unwrap()
}

pub fn key(text: &str) -> Key {
    Key::new(text, "key").unwrap()
}

pub fn namespace() -> Namespace {
    Namespace::new("default", "namespace").unwrap()
}

pub fn request_id(text: &str) -> RequestId {
    RequestId::new(text, "request_id").unwrap()
}

pub fn spec(random: &mut Random) -> LimitSpec {
    let amount = random.amount(3, 25);
    match random.between(0, 6) {
        0 | 1 => {
            let period = Micros(random.between(SECOND / 3, 7 * SECOND));
            LimitSpec::Rate(RateSpec::new(amount, period, random.amount(3, 25)).unwrap())
        }
        2 | 3 => {
            let period = Micros(random.between(SECOND / 3, 7 * SECOND));
            LimitSpec::Window(WindowSpec::new(amount, period).unwrap())
        }
        4 => {
            LimitSpec::Calendar(CalendarSpec::new(4 * amount, CalendarUnit::Minute, "UTC").unwrap())
        }
        _ => LimitSpec::Concurrency(ConcurrencySpec::new(amount).unwrap()),
    }
}

/// Figures near the bounds, where doubles would round.
pub fn big_spec(random: &mut Random) -> LimitSpec {
    let amount = random.amount(900_000_000_000, 1_000_000_000_000);
    let period = Micros(random.between(30_000_000_000_000, 31_622_400_000_000));
    match random.between(0, 2) {
        0 => LimitSpec::Rate(RateSpec::new(amount, period, amount - 1).unwrap()),
        _ => LimitSpec::Rate(
            RateSpec::new(amount - 12_345, Micros(period.0 / 7_000_000), amount).unwrap(),
        ),
    }
}

/// A charge of a limit that is not declared brings a spec: an idle inline one may have been swept on one
/// side only.
///
/// Where specs are `steady` no call changes one: among several daemons those whom such a call lets pass are
/// granted a moment after it, and it cannot pass them.
pub fn acquire(
    random: &mut Random,
    ids: usize,
    declared: &BTreeSet<String>,
    steady: bool,
) -> AcquireRequest {
    let mut charges: Vec<Charge> = Vec::new();
    for _ in 0..random.between(1, 4) {
        let most = if random.percent(70) { 2 } else { LIMITS.len() };
        let limit = LIMITS[random.index(most)];
        let of = if limit == "slots" || random.percent(60) {
            ""
        } else {
            KEYS[random.index(KEYS.len())]
        };
        let amount = match limit {
            "big" => random.amount(1, 600_000_000_000),
            _ if random.percent(4) => random.amount(10, 40),
            _ => random.amount(1, 9),
        };
        let mut charge = Charge::new(name(limit), key(of), amount).unwrap();
        if charges.iter().any(|other| other.limit == charge.limit) {
            continue;
        }
        if !declared.contains(limit) || random.percent(5) {
            charge.spec = Some(inline(random, limit, steady));
            charge.require_spec = random.percent(10);
        }
        charges.push(charge);
    }
    AcquireRequest {
        namespace: namespace(),
        charges,
        mode: if random.percent(55) {
            Mode::Wait(Micros(random.between(0, 5 * SECOND)))
        } else {
            Mode::Try
        },
        reservation_ttl: random
            .percent(30)
            .then(|| Micros(random.between(1, 3 * SECOND))),
        request_id: random
            .percent(15)
            .then(|| request_id(&random.index(ids).to_string())),
        priority: if random.percent(30) {
            Priority::Batch
        } else {
            Priority::Interactive
        },
        dry_run: random.percent(5),
        fair: fair(random),
    }
}

/// Few keys, so that they meet. Among several daemons every call must name one, for those without are an
/// account per daemon.
fn fair(random: &mut Random) -> FairShare {
    let keys = ["all", "all", "a", "b", "c"];
    let weight = [1, 1, 2, 5][random.index(4)];
    FairShare::new(keys[random.index(keys.len())], weight).unwrap()
}

fn inline(random: &mut Random, limit: &str, steady: bool) -> LimitSpec {
    if !steady && (limit == "other" || random.percent(10)) {
        return spec(random);
    }
    LimitSpec::Rate(RateSpec::new(5, Micros(SECOND), 9).unwrap())
}

pub fn spec_value(spec: &LimitSpec) -> Value {
    match spec {
        LimitSpec::Rate(it) => json!([1, it.amount(), it.period().0, it.burst()]),
        LimitSpec::Window(it) => json!([2, it.amount(), it.period().0]),
        LimitSpec::Calendar(it) => json!([3, it.amount(), 0, it.time_zone()]),
        LimitSpec::Concurrency(it) => json!([4, it.slots()]),
    }
}

pub fn charge_value(charge: &Charge) -> Value {
    let spec = charge.spec.as_ref().map_or(json!(false), spec_value);
    json!([
        charge.limit.as_str(),
        charge.key.as_str(),
        charge.amount(),
        spec,
        charge.require_spec
    ])
}

pub fn charge_values(charges: &[Charge]) -> Vec<Value> {
    charges.iter().map(charge_value).collect()
}

/// What names a request, with a digest of what distinguishes it.
pub fn request_value(rpc: &str, id: Option<&RequestId>, body: &str) -> Value {
    id.map_or(json!(false), |id| json!([rpc, id.as_str(), body]))
}

pub fn policy_value(policy: LevelPolicy) -> u8 {
    match policy {
        LevelPolicy::KeepAmount => 0,
        LevelPolicy::KeepProportion => 1,
        LevelPolicy::Refill => 2,
    }
}

pub fn source_value(source: SpecSource) -> u8 {
    match source {
        SpecSource::Inline => 0,
        SpecSource::Configuration => 1,
        SpecSource::SetLimit => 2,
        SpecSource::Pipeline => 3,
    }
}

fn state_value(state: &ChargeState) -> Value {
    let wait = state.retry_after.map_or(json!(-1), |wait| json!(wait.0));
    json!([
        state.remaining,
        wait,
        spec_value(&state.spec),
        source_value(state.source)
    ])
}

/// An answer of the machine as a script gives it; a reservation's id is left out.
pub fn acquired_value(acquired: &Acquired) -> Value {
    let states: Vec<_> = acquired.charges.iter().map(state_value).collect();
    let (outcome, data) = match &acquired.outcome {
        Outcome::Granted(None) => (1, json!(false)),
        Outcome::Granted(Some(granted)) => (1, json!(granted.ttl.0)),
        Outcome::Denied(wait) => (2, json!(wait.0)),
        Outcome::Never => (3, json!(false)),
        Outcome::TimedOut {
            retry_after,
            position,
        } => (4, json!([retry_after.0, position])),
        Outcome::Lost => (5, json!(false)),
    };
    json!([outcome, data, states])
}

/// The payload of a script without the reservation's id, and that id.
pub fn without_id(payload: &Value) -> (Value, Option<String>) {
    let mut payload = payload.clone();
    for state in payload[2].as_array_mut().into_iter().flatten() {
        // Whether an inline spec replaced another depends on when idle limits are swept.
        state.as_array_mut().unwrap().truncate(4);
    }
    if payload[0] != 1 || payload[1] == false {
        return (payload, None);
    }
    let id = payload[1][0].as_str().unwrap().to_owned();
    payload[1] = payload[1][1].clone();
    (payload, Some(id))
}

/// What a bucket shows. Who claims it besides others is brought up to date only when that matters.
pub fn bucket_value(state: &BucketState) -> Value {
    json!([
        state.limit.as_str(),
        state.key.as_str(),
        spec_value(&state.spec),
        source_value(state.source),
        state.remaining,
        state.capacity,
        state.full_after.0,
        state.paused_for.map_or(json!(-1), |pause| json!(pause.0)),
    ])
}

/// `LimitNotFound` as `LIMIT_NOT_FOUND`.
pub fn error_value(error: &Error) -> Value {
    let mut text = String::new();
    for (index, letter) in format!("{:?}", error.code).char_indices() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    json!(text)
}
