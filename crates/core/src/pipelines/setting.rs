//! Settings by step: which there are, how they are named, and what their values may be.

use super::base::PipelineBounds;
use super::name::{DEFAULT_STEP, StepName};
use crate::limits::LimitSpec;
use crate::{Error, Micros, Result};
use std::collections::BTreeMap;

/// The shortest TTL of a cache entry.
const MIN_CACHE_TTL: Micros = Micros::from_millis(1);
/// The shortest TTL of a lock.
const MIN_LOCK_TTL: Micros = Micros::from_millis(100);

/// What a setting is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingKind {
    /// How long values are fresh in the cache.
    CacheTtl,
    /// How often a step may run.
    Limit,
    /// How many may run at a time.
    Concurrency,
    /// How long a lock lasts unless it is kept alive.
    LockTtl,
}

impl SettingKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 4] = [
        Self::CacheTtl,
        Self::Limit,
        Self::Concurrency,
        Self::LockTtl,
    ];

    /// The name of the map that holds them.
    #[must_use]
    pub const fn map(self) -> &'static str {
        match self {
            Self::CacheTtl => "cache_ttls",
            Self::Limit => "limits",
            Self::Concurrency => "concurrency",
            Self::LockTtl => "lock_ttls",
        }
    }

    /// The kind whose map has this name.
    #[must_use]
    pub fn of_map(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.map() == name)
    }
}

/// One setting of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingKey {
    /// What it is about.
    pub kind: SettingKind,
    /// Of which step.
    pub step: StepName,
}

impl SettingKey {
    /// Its path: `cache_ttls.embedding`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.kind.map(), self.step)
    }

    /// Its name in one word: `embedding_cache_ttl`; `cache_ttl` for the default step.
    #[must_use]
    pub fn alias(&self) -> String {
        let step = Some(self.step.as_str()).filter(|step| *step != DEFAULT_STEP);
        match (self.kind, step) {
            (SettingKind::CacheTtl, None) => "cache_ttl".to_owned(),
            (SettingKind::CacheTtl, Some(step)) => format!("{step}_cache_ttl"),
            (SettingKind::Limit, None) => "rate_limit".to_owned(),
            (SettingKind::Limit, Some(step)) => format!("{step}_rate_limit"),
            (SettingKind::Concurrency, None) => "max_concurrent".to_owned(),
            (SettingKind::Concurrency, Some(step)) => format!("max_concurrent_{step}"),
            (SettingKind::LockTtl, None) => "lock_ttl".to_owned(),
            (SettingKind::LockTtl, Some(step)) => format!("{step}_lock_ttl"),
        }
    }

    /// Reads a path or an alias.
    pub fn parse(text: &str, field: &str) -> Result<Self> {
        let parts = match text.split_once('.') {
            Some((map, step)) => SettingKind::of_map(map).map(|kind| (kind, step)),
            None => of_alias(text),
        };
        let Some((kind, step)) = parts else {
            let allowed = format!(
                "must be one of cache_ttls, limits, concurrency, lock_ttls, alone or with .<step>, or an alias \
                 such as embedding_cache_ttl, is {text:?}"
            );
            return Err(Error::invalid(field, allowed));
        };
        let step = StepName::new(step, field)?;
        Ok(Self { kind, step })
    }
}

/// The kind and step of an alias.
fn of_alias(alias: &str) -> Option<(SettingKind, &str)> {
    match alias {
        "cache_ttl" => return Some((SettingKind::CacheTtl, DEFAULT_STEP)),
        "rate_limit" => return Some((SettingKind::Limit, DEFAULT_STEP)),
        "max_concurrent" => return Some((SettingKind::Concurrency, DEFAULT_STEP)),
        "lock_ttl" => return Some((SettingKind::LockTtl, DEFAULT_STEP)),
        _ => {}
    }
    if let Some(step) = alias.strip_prefix("max_concurrent_") {
        return Some((SettingKind::Concurrency, step));
    }
    [
        ("_cache_ttl", SettingKind::CacheTtl),
        ("_rate_limit", SettingKind::Limit),
        ("_lock_ttl", SettingKind::LockTtl),
    ]
    .into_iter()
    .find_map(|(end, kind)| alias.strip_suffix(end).map(|step| (kind, step)))
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SettingValue {
    /// Of a cache entry or a lock.
    Ttl(Micros),
    /// Of a limit: a rate or a window, or slots for [`SettingKind::Concurrency`].
    Limit(LimitSpec),
}

impl SettingValue {
    /// Refuses a value that is not of this kind or not within the bounds.
    fn check(&self, kind: SettingKind, bounds: &PipelineBounds) -> std::result::Result<(), String> {
        let range = |ttl: Micros, min: Micros, max: Micros| {
            let allowed = format!(
                "must be {} ms to {} ms, is {} us",
                min.0 / 1_000,
                max.0 / 1_000,
                ttl.0
            );
            (min..=max).contains(&ttl).then_some(()).ok_or(allowed)
        };
        match (kind, self) {
            (SettingKind::CacheTtl, Self::Ttl(ttl)) => {
                range(*ttl, MIN_CACHE_TTL, bounds.max_cache_ttl)
            }
            (SettingKind::LockTtl, Self::Ttl(ttl)) => {
                range(*ttl, MIN_LOCK_TTL, bounds.max_lock_ttl)
            }
            (SettingKind::Limit, Self::Limit(LimitSpec::Concurrency(_))) => {
                Err("must be a rate or a window; slots belong into `concurrency`".to_owned())
            }
            (SettingKind::Concurrency, Self::Limit(LimitSpec::Concurrency(_)))
            | (SettingKind::Limit, Self::Limit(_)) => Ok(()),
            (SettingKind::CacheTtl | SettingKind::LockTtl, Self::Limit(_)) => {
                Err("must be a time".to_owned())
            }
            (SettingKind::Limit, Self::Ttl(_)) => Err("must be a rate or a window".to_owned()),
            (SettingKind::Concurrency, _) => Err("must be a number of slots".to_owned()),
        }
    }
}

/// Values by kind and step. Every value is of its kind and within the bounds it was set under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// By [`SettingKind`].
    maps: [BTreeMap<StepName, SettingValue>; 4],
}

impl Settings {
    /// Sets a value. Errors: `InvalidField`, with the value's path, for one that is out of its range.
    pub fn set(
        &mut self,
        key: SettingKey,
        value: SettingValue,
        bounds: &PipelineBounds,
    ) -> Result<()> {
        value
            .check(key.kind, bounds)
            .map_err(|allowed| Error::invalid(key.path(), allowed))?;
        let map = &mut self.maps[key.kind as usize];
        if map.len() >= bounds.max_steps && !map.contains_key(&key.step) {
            let allowed = format!("must hold at most {} steps", bounds.max_steps);
            return Err(Error::invalid(key.kind.map(), allowed));
        }
        map.insert(key.step, value);
        Ok(())
    }

    /// Forgets a value.
    pub fn remove(&mut self, key: &SettingKey) {
        self.maps[key.kind as usize].remove(&key.step);
    }

    /// Forgets all values of a kind.
    pub fn clear(&mut self, kind: SettingKind) {
        self.maps[kind as usize].clear();
    }

    /// The values of a kind, by step.
    #[must_use]
    pub fn of(&self, kind: SettingKind) -> &BTreeMap<StepName, SettingValue> {
        &self.maps[kind as usize]
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (SettingKind, &StepName, &SettingValue)> {
        SettingKind::ALL.into_iter().flat_map(|kind| {
            let values = self.of(kind).iter();
            values.map(move |(step, value)| (kind, step, value))
        })
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.maps.iter().all(BTreeMap::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ConcurrencySpec;

    fn key(text: &str) -> SettingKey {
        SettingKey::parse(text, "path").unwrap()
    }

    #[test]
    fn a_path_and_its_alias_are_the_same_setting() {
        for (path, alias) in [
            ("cache_ttls.embedding", "embedding_cache_ttl"),
            ("cache_ttls.default", "cache_ttl"),
            ("limits.llm", "llm_rate_limit"),
            ("limits.default", "rate_limit"),
            ("concurrency.images", "max_concurrent_images"),
            ("concurrency.default", "max_concurrent"),
            ("lock_ttls.index", "index_lock_ttl"),
            ("lock_ttls.default", "lock_ttl"),
        ] {
            assert_eq!(key(path), key(alias));
            assert_eq!(
                (key(path).path(), key(path).alias()),
                (path.into(), alias.into())
            );
        }
        for bad in [
            "",
            "ttl",
            "x.y",
            "cache_ttls.",
            "cache_ttls.A",
            "_cache_ttl",
        ] {
            let error = SettingKey::parse(bad, "path").unwrap_err();
            assert_eq!(error.violation.unwrap().field, "path", "{bad:?}");
        }
    }

    #[test]
    fn a_value_out_of_its_range_is_refused_by_its_path_and_the_last_one_stays() {
        let bounds = PipelineBounds::default();
        let slots = |slots| {
            let spec = ConcurrencySpec::new(slots).unwrap();
            SettingValue::Limit(LimitSpec::Concurrency(spec))
        };
        let mut settings = Settings::default();
        let good = SettingValue::Ttl(Micros::from_secs(9));
        settings
            .set(key("cache_ttl"), good.clone(), &bounds)
            .unwrap();
        for (path, value) in [
            ("cache_ttls.default", SettingValue::Ttl(Micros::ZERO)),
            ("cache_ttls.default", SettingValue::Ttl(Micros(u64::MAX))),
            ("cache_ttls.default", slots(1)),
            ("lock_ttls.a", SettingValue::Ttl(Micros::from_millis(99))),
            ("lock_ttls.a", SettingValue::Ttl(Micros::from_secs(3_601))),
            ("limits.a", slots(1)),
            ("limits.a", good.clone()),
            ("concurrency.a", good.clone()),
        ] {
            let error = settings.set(key(path), value, &bounds).unwrap_err();
            assert_eq!(error.violation.unwrap().field, path);
        }
        let all: Vec<_> = settings.iter().collect();
        assert_eq!(
            all,
            [(SettingKind::CacheTtl, &key("cache_ttl").step, &good)]
        );
    }
}
