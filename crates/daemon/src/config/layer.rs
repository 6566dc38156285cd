//! One layer of the configuration: values from one place, under the names that this place uses.
//!
//! A layer knows how its place spells a setting, so that a problem is told in the user's own words.
//! Only known keys get into a layer; what is unknown is a problem, with a hint where one is close.

use super::error::Problem;
use super::settings;
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

/// Where values come from that nobody has set.
pub(super) const DEFAULT: &str = "default";
/// The list of limits, which only a file can hold.
pub(super) const DECLARED: &str = "limits.declared";
/// The list of pipelines, which only a file can hold.
pub(super) const DECLARED_PIPELINES: &str = "pipelines.declared";
/// What the names of the daemon's own variables start with.
const PREFIX: &str = "TRELLIS_";

/// How a place spells a setting's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As it is: `redis.host`.
    Key,
    /// As the well-known variables: `REDIS_HOST`.
    WellKnown,
    /// As the daemon's own variables: `TRELLIS_REDIS__HOST`.
    Prefixed,
    /// As a flag: `--redis-host`.
    Flag,
}

impl Spelling {
    /// The setting's name in this place.
    pub(super) fn of(self, key: &str) -> String {
        match self {
            Self::Key => key.to_owned(),
            Self::WellKnown => key.to_uppercase().replace('.', "_"),
            Self::Prefixed => format!("{PREFIX}{}", key.to_uppercase().replace('.', "__")),
            Self::Flag => format!("--{}", key.replace(['.', '_'], "-")),
        }
    }
}

/// Values from one place.
pub(super) struct Layer {
    origin: String,
    spelling: Spelling,
    values: Dict,
    problems: Vec<Problem>,
}

impl Layer {
    fn new(origin: &str, spelling: Spelling) -> Self {
        Self {
            origin: origin.to_owned(),
            spelling,
            values: Dict::new(),
            problems: Vec::new(),
        }
    }

    /// What applies when nobody says otherwise.
    pub(super) fn defaults() -> Self {
        let mut layer = Self::new(DEFAULT, Spelling::Key);
        for setting in settings::all() {
            layer.set(setting.key, setting.default.into());
        }
        layer
    }

    /// The settings of a file, read already.
    pub(super) fn file(origin: &str, values: &Dict) -> Self {
        let mut layer = Self::new(origin, Spelling::Key);
        layer.take_table("", values);
        layer
    }

    /// Flags, by key.
    pub(super) fn flags<'a>(flags: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut layer = Self::new("flag", Spelling::Flag);
        for (key, text) in flags {
            layer.take(key, text.into());
        }
        layer
    }

    /// The well-known variables among these. Others are somebody else's.
    pub(super) fn well_known<'a>(
        origin: &str,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut layer = Self::new(origin, Spelling::WellKnown);
        for (name, text) in variables.filter(is_meant) {
            if let Some(setting) = settings::all().find(|setting| {
                is_well_known(setting.key) && Spelling::WellKnown.of(setting.key) == name
            }) {
                layer.set(setting.key, text.into());
            }
        }
        layer
    }

    /// The daemon's own variables among these. An unknown one is a problem.
    pub(super) fn prefixed<'a>(
        origin: &str,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut layer = Self::new(origin, Spelling::Prefixed);
        for (name, text) in variables.filter(is_meant) {
            if let Some(rest) = name.strip_prefix(PREFIX) {
                layer.take(&rest.to_lowercase().replace("__", "."), text.into());
            }
        }
        layer
    }

    /// The problems met so far.
    pub(super) fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    fn take_table(&mut self, parent: &str, table: &Dict) {
        for (name, value) in table {
            let key = match parent {
                "" => name.clone(),
                parent => format!("{parent}.{name}"),
            };
            match value {
                Value::Dict(_, inner) if !is_list(&key) && settings::find(&key).is_none() => {
                    self.take_table(&key, inner);
                }
                value => self.take(&key, value.clone()),
            }
        }
    }

    fn take(&mut self, key: &str, value: Value) {
        let may_be_list = is_list(key) && self.spelling == Spelling::Key;
        if may_be_list || settings::find(key).is_some() {
            return self.set(key, value);
        }
        let hint = closest(key).map(|key| format!("; did you mean {}?", self.spelling.of(key)));
        self.problems.push(Problem {
            setting: self.spelling.of(key),
            origin: self.origin.clone(),
            value: None,
            allowed: format!("no such setting{}", hint.unwrap_or_default()),
        });
    }

    fn set(&mut self, key: &str, value: Value) {
        let Some((group, name)) = key.split_once('.') else {
            self.values.insert(key.to_owned(), value);
            return;
        };
        let group = self.values.entry(group.to_owned());
        if let Value::Dict(_, group) = group.or_insert_with(|| Dict::new().into()) {
            group.insert(name.to_owned(), value);
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let spelling = self.spelling;
        Metadata::named(self.origin.clone())
            .interpolater(move |_: &Profile, keys: &[&str]| spelling.of(&keys.join(".")))
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

fn is_list(key: &str) -> bool {
    key == DECLARED || key == DECLARED_PIPELINES
}

/// The settings of Redis whose variables go by names that other programs use as well. No others do: a
/// `REDIS_CONNECT_TIMEOUT` is somebody else's, in somebody else's units.
const WELL_KNOWN_OF_REDIS: [&str; 7] = [
    "redis.host",
    "redis.port",
    "redis.db",
    "redis.username",
    "redis.password",
    "redis.url",
    "redis.key_prefix",
];

/// The settings whose variables go by names that other programs use as well.
pub(super) fn is_well_known(key: &str) -> bool {
    key == "use_distributed" || WELL_KNOWN_OF_REDIS.contains(&key) || key.starts_with("kafka.")
}

/// Whether a variable was set on purpose. Compose files pass on what is unset as empty, and Kubernetes
/// sets `TRELLIS_PORT=tcp://…`, `REDIS_PORT=tcp://…` and their kin for services of these names.
fn is_meant((name, text): &(&str, &str)) -> bool {
    let of_kubernetes = name.starts_with("TRELLIS_SERVICE_")
        || name.starts_with("TRELLIS_PORT")
        || (name.ends_with("_PORT") && text.starts_with("tcp://"));
    !text.is_empty() && !of_kubernetes
}

/// The key that was probably meant: the same name in another group, or a near spelling.
fn closest(written: &str) -> Option<&'static str> {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let keys = || settings::all().map(|setting| setting.key);
    if let Some(key) = keys().find(|key| last(key) == last(written)) {
        return Some(key);
    }
    let distance = |key: &&str| strsim::damerau_levenshtein(written, key);
    let nearest = keys().min_by_key(distance)?;
    (distance(&nearest) * 4 <= nearest.len().max(8)).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(name: &str) -> Option<String> {
        let mut layer = Layer::prefixed("environment", [(name, "1")].into_iter());
        let problem = layer.take_problems().pop()?;
        assert_eq!(problem.setting, name);
        Some(problem.allowed)
    }

    #[test]
    fn an_unknown_variable_is_told_with_the_name_that_was_probably_meant() {
        for (written, meant) in [
            ("TRELLIS_LISTN", "TRELLIS_LISTEN"),
            ("TRELLIS_MAX_CALLS", "TRELLIS_GRPC__MAX_CALLS"),
            ("TRELLIS_GRPC_MAX_CALLS", "TRELLIS_GRPC__MAX_CALLS"),
            ("TRELLIS_REDIS_HOST", "TRELLIS_REDIS__HOST"),
        ] {
            let hint = format!("no such setting; did you mean {meant}?");
            assert_eq!(allowed(written), Some(hint));
        }
        assert_eq!(allowed("TRELLIS_ZZZ").unwrap(), "no such setting");
    }

    #[test]
    fn only_the_names_that_all_programs_share_are_well_known() {
        let taken = |name: &str, text: &str| {
            !Layer::well_known("environment", [(name, text)].into_iter())
                .values
                .is_empty()
        };
        for name in [
            "USE_DISTRIBUTED",
            "REDIS_HOST",
            "REDIS_URL",
            "REDIS_KEY_PREFIX",
        ] {
            assert!(taken(name, "1"), "{name}");
        }
        for name in [
            "REDIS_CONNECT_TIMEOUT",
            "REDIS_TLS",
            "REDIS_MAX_IN_FLIGHT",
            "ADVERTISE",
        ] {
            assert!(!taken(name, "5"), "{name}");
        }
    }

    #[test]
    fn what_kubernetes_or_compose_set_is_not_taken_for_a_setting() {
        for (name, text) in [
            ("TRELLIS_PORT_7117_TCP_ADDR", "10.0.0.1"),
            ("TRELLIS_SERVICE_HOST", "10.0.0.1"),
            ("TRELLIS_LISTEN", ""),
        ] {
            let mut layer = Layer::prefixed("environment", [(name, text)].into_iter());
            assert!(
                layer.take_problems().is_empty() && layer.values.is_empty(),
                "{name}"
            );
        }
        let service = [("REDIS_PORT", "tcp://10.0.0.1:6379")];
        assert!(
            Layer::well_known("environment", service.into_iter())
                .values
                .is_empty()
        );
    }
}
