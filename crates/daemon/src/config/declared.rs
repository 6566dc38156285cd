//! Limits that the configuration declares: `[[limits.declared]]` in a file.
//!
//! Each is checked as the API checks a `SetLimit`, and refused by its index and field.

use super::effective::{Declarations, show};
use super::error::Problem;
use super::span::Span;
use figment::error::Kind;
use figment::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use trellis_core::limits::{
    CalendarSpec, CalendarUnit, ConcurrencySpec, KeyOverride, LevelPolicy, LimitSpec, RateSpec,
    SetLimit, Sharing, SpecSource, WindowSpec,
};
use trellis_core::{Error, Key, Name, Namespace, Result};

/// The most declared limits.
const MAX_DECLARED: usize = 10_000;
/// The most overrides of one limit, as in the API.
const MAX_OVERRIDES: usize = 1_000;

/// A limit as a file declares it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    #[serde(default = "default_namespace")]
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<Concurrency>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    overrides: Vec<Override>,
    #[serde(default)]
    sharing: SharingName,
}

/// How daemons come to the units of a limit.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SharingName {
    #[default]
    Auto,
    Exact,
    Leased,
}

impl From<SharingName> for Sharing {
    fn from(name: SharingName) -> Self {
        match name {
            SharingName::Auto => Self::Auto,
            SharingName::Exact => Self::Exact,
            SharingName::Leased => Self::Leased,
        }
    }
}

/// Another spec for one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<Concurrency>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    amount: i64,
    period: Span,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar: Option<Unit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Concurrency {
    slots: i64,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// The declared limits as they were written, and as the port takes them.
pub(super) fn read(
    written: &Declarations,
    problems: &mut Vec<Problem>,
) -> (Vec<Declared>, Vec<SetLimit>) {
    let mut problem = |setting: String, value: Option<String>, allowed: String| {
        problems.push(Problem {
            setting,
            origin: written.origin.clone(),
            value,
            allowed,
        });
    };
    let list = match &written.list {
        None => return (Vec::new(), Vec::new()),
        Some(Value::Array(_, list)) if list.len() <= MAX_DECLARED => list,
        Some(other) => {
            let allowed = format!("must be at most {MAX_DECLARED} tables [[limits.declared]]");
            problem("limits.declared".to_owned(), Some(show(other)), allowed);
            return (Vec::new(), Vec::new());
        }
    };
    let (mut declared, mut limits) = (Vec::new(), Vec::new());
    let mut seen = HashMap::new();
    for (index, item) in list.iter().enumerate() {
        let at = |field: &str| match field {
            "" => format!("limits.declared[{index}]"),
            field => format!("limits.declared[{index}].{field}"),
        };
        match read_one(item) {
            Ok((one, limit)) => {
                let name = (limit.namespace.clone(), limit.name.clone());
                if let Some(first) = seen.insert(name, index) {
                    let allowed = format!("is declared already by limits.declared[{first}]");
                    problem(
                        at("name"),
                        Some(format!("{:?}", limit.name.as_str())),
                        allowed,
                    );
                }
                declared.push(one);
                limits.push(limit);
            }
            Err((field, allowed)) => {
                let value = find(item, &field).map(show);
                problem(at(&field), value, allowed);
            }
        }
    }
    (declared, limits)
}

/// One declaration, or the field at fault and what is allowed there.
fn read_one(item: &Value) -> std::result::Result<(Declared, SetLimit), (String, String)> {
    let declared: Declared = item.deserialize().map_err(|error| {
        let path = index_style(&error.path);
        (path, allowed(&error.kind))
    })?;
    match declared.set_limit() {
        Ok(limit) => Ok((declared, limit)),
        Err(error) => {
            let message = error.message;
            Err(error
                .violation
                .map_or((String::new(), message), |it| (it.field, it.allowed)))
        }
    }
}

/// `overrides.2.key` as `overrides[2].key`.
pub(super) fn index_style(path: &[String]) -> String {
    let mut shown = String::new();
    for part in path {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            shown.extend(["[", part, "]"]);
        } else if shown.is_empty() {
            shown.push_str(part);
        } else {
            shown.extend([".", part]);
        }
    }
    shown
}

/// The value at `overrides[2].key`, if there is one.
pub(super) fn find<'a>(item: &'a Value, field: &str) -> Option<&'a Value> {
    let mut found = item;
    for part in field.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        found = match found {
            Value::Dict(_, table) => table.get(part)?,
            Value::Array(_, list) => list.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

/// What is allowed where reading failed.
pub(super) fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::UnknownField(name, known) => {
            format!("has no field {name:?}; known are {}", known.join(", "))
        }
        Kind::MissingField(name) => format!("needs a field {name:?}"),
        Kind::InvalidType(_, wanted) | Kind::InvalidValue(_, wanted) => format!("must be {wanted}"),
        Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
        Kind::Message(message) => message.clone(),
        other => other.to_string(),
    }
}

impl Declared {
    fn set_limit(&self) -> Result<SetLimit> {
        if self.overrides.len() > MAX_OVERRIDES {
            let allowed = format!("must be at most {MAX_OVERRIDES}");
            return Err(Error::invalid("overrides", allowed));
        }
        let mut keys = HashSet::new();
        let mut overrides = Vec::new();
        for (index, one) in self.overrides.iter().enumerate() {
            let at = format!("overrides[{index}]");
            let read = one.read().map_err(|error| error.within(&at))?;
            if !keys.insert(&one.key) {
                return Err(Error::invalid(format!("{at}.key"), "must stand there once"));
            }
            overrides.push(read);
        }
        Ok(SetLimit {
            namespace: Namespace::new(self.namespace.as_str(), "namespace")?,
            name: Name::new(self.name.as_str(), "name")?,
            spec: one_spec(
                self.rate.as_ref(),
                self.window.as_ref(),
                self.concurrency.as_ref(),
            )?,
            overrides,
            level_policy: LevelPolicy::KeepAmount,
            source: SpecSource::Configuration,
            sharing: self.sharing.into(),
            request_id: None,
        })
    }
}

impl Override {
    fn read(&self) -> Result<KeyOverride> {
        Ok(KeyOverride {
            key: Key::new(self.key.as_str(), "key")?,
            spec: one_spec(
                self.rate.as_ref(),
                self.window.as_ref(),
                self.concurrency.as_ref(),
            )?,
        })
    }
}

/// The one spec that is given.
pub(super) fn one_spec(
    rate: Option<&Rate>,
    window: Option<&Window>,
    concurrency: Option<&Concurrency>,
) -> Result<LimitSpec> {
    match (rate, window, concurrency) {
        (Some(rate), None, None) => rate.spec().map_err(|error| error.within("rate")),
        (None, Some(window), None) => window.spec().map_err(|error| error.within("window")),
        (None, None, Some(slots)) => ConcurrencySpec::new(slots.slots)
            .map(LimitSpec::Concurrency)
            .map_err(|error| error.within("concurrency")),
        _ => Err(Error::invalid(
            "",
            "needs exactly one of rate, window, concurrency",
        )),
    }
}

impl Rate {
    fn spec(&self) -> Result<LimitSpec> {
        let burst = self.burst.unwrap_or(self.amount);
        RateSpec::new(self.amount, self.period.into(), burst).map(LimitSpec::Rate)
    }
}

impl Window {
    fn spec(&self) -> Result<LimitSpec> {
        match (self.period, self.calendar) {
            (Some(_), None) if self.time_zone.is_some() => Err(Error::invalid(
                "time_zone",
                "belongs to a calendar, not to a period",
            )),
            (Some(period), None) => {
                WindowSpec::new(self.amount, period.into()).map(LimitSpec::Window)
            }
            (None, Some(unit)) => {
                let zone = self.time_zone.as_deref().unwrap_or("UTC");
                CalendarSpec::new(self.amount, unit.into(), zone).map(LimitSpec::Calendar)
            }
            _ => Err(Error::invalid("period", "give either period or calendar")),
        }
    }
}

impl From<Unit> for CalendarUnit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::Minute => Self::Minute,
            Unit::Hour => Self::Hour,
            Unit::Day => Self::Day,
            Unit::Week => Self::Week,
            Unit::Month => Self::Month,
        }
    }
}
