//! The pipelines that exist without being told, as data.

use super::base::PipelineBounds;
use super::name::{PipelineName, StepName};
use super::setting::{SettingKey, SettingKind, SettingValue, Settings};
use crate::limits::{ConcurrencySpec, LimitSpec, RateSpec};
use crate::{Micros, Result};
use SettingKind::{CacheTtl, Concurrency, Limit, LockTtl};

/// A step's value: seconds of a TTL, calls a second of a limit, slots of a concurrency.
type Row = (SettingKind, &'static str, u32);

const BUILT_IN: [(&str, &[Row]); 5] = [
    (
        "ocr",
        &[
            (CacheTtl, "default", 3_600),
            (Limit, "default", 10),
            (Concurrency, "default", 4),
            (LockTtl, "default", 60),
        ],
    ),
    (
        "vision_rag",
        &[
            (CacheTtl, "embedding", 7_200),
            (CacheTtl, "search", 3_600),
            (Limit, "embedding", 20),
            (Limit, "llm", 10),
            (Concurrency, "images", 10),
            (LockTtl, "default", 120),
        ],
    ),
    (
        "multi_agent",
        &[
            (CacheTtl, "agent", 1_800),
            (Limit, "agent", 10),
            (LockTtl, "default", 300),
        ],
    ),
    (
        "chain",
        &[
            (CacheTtl, "chain", 300),
            (Limit, "default", 10),
            (LockTtl, "default", 300),
        ],
    ),
    (
        "graph",
        &[
            (CacheTtl, "default", 3_600),
            (Limit, "default", 10),
            (LockTtl, "default", 600),
        ],
    ),
];

/// The built-in pipelines. A TTL above a bound counts as the bound, so that a lower bound needs no more words.
pub(super) fn built_in(bounds: &PipelineBounds) -> Result<Vec<(PipelineName, Settings)>> {
    let pipelines = BUILT_IN.into_iter().map(|(name, rows)| {
        let mut settings = Settings::default();
        for (kind, step, number) in rows {
            let step = StepName::new(*step, "step")?;
            let key = SettingKey { kind: *kind, step };
            settings.set(key, value(*kind, *number, bounds)?, bounds)?;
        }
        Ok((PipelineName::new(name, "name")?, settings))
    });
    pipelines.collect()
}

fn value(kind: SettingKind, number: u32, bounds: &PipelineBounds) -> Result<SettingValue> {
    let (amount, span) = (i64::from(number), Micros::from_secs(u64::from(number)));
    Ok(match kind {
        CacheTtl => SettingValue::Ttl(span.min(bounds.max_cache_ttl)),
        LockTtl => SettingValue::Ttl(span.min(bounds.max_lock_ttl)),
        Limit => {
            let rate = RateSpec::new(amount, Micros::from_secs(1), amount)?;
            SettingValue::Limit(LimitSpec::Rate(rate))
        }
        Concurrency => SettingValue::Limit(LimitSpec::Concurrency(ConcurrencySpec::new(amount)?)),
    })
}
