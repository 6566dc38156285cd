//! The limits of a campaign, and what their arithmetic is.

use crate::checker::Rule;
use crate::history::Micros;
use std::collections::BTreeMap;
use trellis_proto::v1::{self, limit_spec::Kind, window_spec::Span};

const MINUTE: Micros = 60_000_000;

/// One bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub limit: &'static str,
    pub key: String,
    pub rule: Rule,
    /// The most that one charge takes.
    pub most: u64,
}

impl Bucket {
    /// Its name in what is printed.
    pub fn name(&self) -> String {
        match self.key.as_str() {
            "" => self.limit.to_owned(),
            key => format!("{} of {key}", self.limit),
        }
    }

    /// Whether its units come back when they are settled.
    pub fn is_slots(&self) -> bool {
        matches!(self.rule, Rule::Slots(_))
    }

    /// A charge of it.
    pub fn charge(&self, amount: u64) -> v1::Charge {
        v1::Charge {
            limit: self.limit.into(),
            key: self.key.clone(),
            amount: amount.cast_signed(),
            ..v1::Charge::default()
        }
    }

    /// What its limit is declared with.
    pub fn spec(&self) -> v1::LimitSpec {
        spec(self.rule)
    }
}

/// What a rule is in the contract's words.
pub fn spec(rule: Rule) -> v1::LimitSpec {
    let window = |amount: u64, span| {
        Kind::Window(v1::WindowSpec {
            amount: amount.cast_signed(),
            span: Some(span),
        })
    };
    let kind = match rule {
        Rule::Rate {
            amount,
            period,
            burst,
        } => Kind::Rate(v1::RateSpec {
            amount: amount.cast_signed(),
            period: Some(duration(period)),
            burst: Some(burst.cast_signed()),
        }),
        Rule::Window { amount, period } => window(amount, Span::Period(duration(period))),
        Rule::Calendar { amount, .. } => {
            let calendar = v1::CalendarPeriod {
                unit: v1::CalendarUnit::Minute.into(),
                time_zone: String::new(),
            };
            window(amount, Span::Calendar(calendar))
        }
        Rule::Slots(slots) => Kind::Concurrency(v1::ConcurrencySpec {
            slots: slots.cast_signed(),
        }),
    };
    v1::LimitSpec { kind: Some(kind) }
}

/// All limits as a daemon's configuration declares them, so that they are there again when the store has lost them.
pub fn configuration() -> String {
    let mut declared = BTreeMap::new();
    for bucket in all(0) {
        let spec = match bucket.rule {
            Rule::Rate {
                amount,
                period,
                burst,
            } => format!(
                "rate = {{ amount = {amount}, period = \"{}ms\", burst = {burst} }}",
                period / 1_000
            ),
            Rule::Window { amount, period } => format!(
                "window = {{ amount = {amount}, period = \"{}ms\" }}",
                period / 1_000
            ),
            Rule::Calendar { amount, .. } => {
                format!("window = {{ amount = {amount}, calendar = \"minute\" }}")
            }
            Rule::Slots(slots) => format!("concurrency = {{ slots = {slots} }}"),
        };
        declared.insert(bucket.limit, spec);
    }
    let one = |(name, spec)| format!("[[limits.declared]]\nname = \"{name}\"\n{spec}\n");
    declared.into_iter().map(one).collect()
}

/// A time as messages carry it.
pub fn duration(micros: Micros) -> prost_types::Duration {
    std::time::Duration::from_micros(micros)
        .try_into()
        .unwrap_or_default()
}

/// All buckets. The first minute of the calendar begins at `minute` of the campaign's clock.
pub fn all(minute: i64) -> Vec<Bucket> {
    let rate = |amount, burst| Rule::Rate {
        amount,
        period: 1_000_000,
        burst,
    };
    let window = |amount, period| Rule::Window { amount, period };
    let calendar = Rule::Calendar {
        amount: 400,
        period: MINUTE,
        start: minute,
    };
    let bucket = |limit, key: u64, rule, most| Bucket {
        limit,
        key: if key == 0 {
            String::new()
        } else {
            format!("user-{key}")
        },
        rule,
        most,
    };
    let mut buckets = vec![
        bucket("rate", 0, rate(100, 50), 3),
        bucket("tokens", 0, rate(20_000, 5_000), 1_000),
        bucket("window", 0, window(60, 500_000), 3),
        bucket("long-window", 0, window(200, 2_000_000), 5),
        bucket("minute", 0, calendar, 5),
        bucket("slots", 0, Rule::Slots(6), 2),
    ];
    for user in 1..=3 {
        buckets.push(bucket("user-rate", user, rate(30, 10), 2));
        buckets.push(bucket("user-window", user, window(30, 1_000_000), 2));
        buckets.push(bucket("user-slots", user, Rule::Slots(3), 1));
    }
    buckets
}
