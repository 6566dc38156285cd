//! What is kept of a pipeline: the values that updates have set, as msgpack of
//!
//! ```text
//! {format, {{kind, step, TTL in us}, ...}, {{kind, step, spec as limits write it}, ...}}
//! ```
//!
//! A record that this version cannot read is told to the operator and changes nothing here: the last good values stay.

use crate::limits::{Spec, spec, spec_of};
use serde::{Deserialize, Serialize};
use trellis_core::pipelines::{
    PipelineBounds, SettingKey, SettingKind, SettingValue, Settings, StepName,
};
use trellis_core::{Error, Micros, Result};

const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Written(u8, Vec<(u8, String, u64)>, Vec<(u8, String, Spec)>);

const fn number(kind: SettingKind) -> u8 {
    match kind {
        SettingKind::CacheTtl => 0,
        SettingKind::Limit => 1,
        SettingKind::Concurrency => 2,
        SettingKind::LockTtl => 3,
    }
}

fn key(kind: u8, step: String) -> Result<SettingKey> {
    let mut all = SettingKind::ALL.into_iter();
    let kind = all.find(|known| number(*known) == kind);
    let kind = kind.ok_or_else(|| Error::invalid("kind", "is of a later version"))?;
    let step = StepName::new(step, "step")?;
    Ok(SettingKey { kind, step })
}

/// Values as they stand in the store.
pub(super) fn write(settings: &Settings) -> Result<bytes::Bytes> {
    let (mut ttls, mut limits) = (Vec::new(), Vec::new());
    for (kind, step, value) in settings.iter() {
        let (kind, step) = (number(kind), step.to_string());
        match value {
            SettingValue::Ttl(ttl) => ttls.push((kind, step, ttl.0)),
            SettingValue::Limit(limit) => limits.push((kind, step, spec(limit))),
        }
    }
    crate::packed::pack(&Written(FORMAT, ttls, limits))
}

/// Values from the store; refused, with the reason, where they are not within this daemon's bounds or of a later version.
pub(super) fn read(bytes: &[u8], bounds: &PipelineBounds) -> std::result::Result<Settings, String> {
    let format = bytes.get(1).copied();
    if format != Some(FORMAT) {
        return Err("it is of a later version".to_owned());
    }
    let written: Written = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    settings(written, bounds).map_err(|error| match error.violation {
        Some(violation) => format!("{} {}", violation.field, violation.allowed),
        None => error.message,
    })
}

fn settings(Written(_, ttls, limits): Written, bounds: &PipelineBounds) -> Result<Settings> {
    let mut settings = Settings::default();
    for (kind, step, ttl) in ttls {
        let ttl = SettingValue::Ttl(Micros(ttl));
        settings.set(key(kind, step)?, ttl, bounds)?;
    }
    for (kind, step, spec) in limits {
        let limit = SettingValue::Limit(spec_of(spec)?);
        settings.set(key(kind, step)?, limit, bounds)?;
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trellis_core::limits::{ConcurrencySpec, LimitSpec, WindowSpec};

    fn some() -> Settings {
        let mut settings = Settings::default();
        let window = WindowSpec::new(7, Micros::from_secs(60)).unwrap();
        let slots = ConcurrencySpec::new(3).unwrap();
        for (path, value) in [
            (
                "embedding_cache_ttl",
                SettingValue::Ttl(Micros::from_secs(5)),
            ),
            ("lock_ttl", SettingValue::Ttl(Micros::from_secs(9))),
            (
                "llm_rate_limit",
                SettingValue::Limit(LimitSpec::Window(window)),
            ),
            (
                "max_concurrent",
                SettingValue::Limit(LimitSpec::Concurrency(slots)),
            ),
        ] {
            let key = SettingKey::parse(path, "path").unwrap();
            settings
                .set(key, value, &PipelineBounds::default())
                .unwrap();
        }
        settings
    }

    #[test]
    fn values_come_back_as_they_went() {
        for settings in [Settings::default(), some()] {
            let bytes = write(&settings).unwrap();
            assert_eq!(read(&bytes, &PipelineBounds::default()), Ok(settings));
        }
    }

    #[test]
    fn a_record_of_a_later_version_and_one_out_of_bounds_are_refused() {
        let bytes = write(&some()).unwrap();
        let mut later = bytes.to_vec();
        later[1] += 1;
        assert!(read(&later, &PipelineBounds::default()).is_err());
        assert!(read(b"", &PipelineBounds::default()).is_err());
        assert!(read(&bytes[..9], &PipelineBounds::default()).is_err());
        let strict = PipelineBounds {
            max_lock_ttl: Micros::from_secs(1),
            ..PipelineBounds::default()
        };
        let refused = read(&bytes, &strict).unwrap_err();
        assert!(
            refused.starts_with("lock_ttls.default must be"),
            "{refused}"
        );
    }
}
