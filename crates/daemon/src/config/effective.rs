//! The value in force of every setting, and which place it comes from.

use super::checked::Checked;
use super::error::Problem;
use super::layer::{DECLARED, DECLARED_PIPELINES, DEFAULT, Layer};
use super::secret::REDACTED;
use super::settings::{self, Setting};
use figment::value::{Dict, Value};
use figment::{Figment, Profile};

/// One setting in force.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub setting: &'static Setting,
    pub value: Checked,
    /// Its name in the place it comes from.
    pub written: String,
    /// The place.
    pub origin: String,
}

/// Everything in force.
#[derive(Clone, Debug)]
pub(super) struct Effective {
    entries: Vec<Entry>,
    /// The keys whose written value was refused; their entries hold the defaults, so that the rules
    /// can look at all others.
    refused: Vec<&'static str>,
}

impl Effective {
    /// Puts layers over each other, the last one strongest, and checks every value. The second part is
    /// what files declare, as it was written.
    pub(super) fn merge(layers: Vec<Layer>, problems: &mut Vec<Problem>) -> (Self, Written) {
        let mut figment = Figment::new();
        for mut layer in layers {
            problems.append(&mut layer.take_problems());
            figment = figment.merge(layer);
        }
        let (mut entries, mut refused) = (Vec::new(), Vec::new());
        for setting in settings::all() {
            match entry(&figment, setting) {
                Ok(entry) => entries.push(entry),
                Err(problem) => {
                    problems.push(problem);
                    refused.push(setting.key);
                    entries.extend(entry(&Figment::new(), setting));
                }
            }
        }
        let list = |key: &str| Declarations {
            origin: figment
                .find_metadata(key)
                .map_or_else(String::new, |metadata| metadata.name.to_string()),
            list: figment.find_value(key).ok(),
        };
        let written = Written {
            limits: list(DECLARED),
            pipelines: list(DECLARED_PIPELINES),
        };
        (Self { entries, refused }, written)
    }

    /// All settings, in the order of the table.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether the written value of a setting was refused already.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        self.refused.contains(&key)
    }

    /// Whether somebody has set it, be it to its default.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.setting.key == key);
        entry.is_some_and(|entry| entry.origin != DEFAULT)
    }

    /// Whether somebody has set it and meant it: a default that stands in a file may have been printed
    /// there, as in `deploy/trellis.toml`.
    pub(super) fn is_meant(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.setting.key == key);
        entry.is_some_and(|entry| {
            let default = entry.setting.allowed.check(&entry.setting.default.into());
            let in_a_file = entry.written == entry.setting.key;
            entry.origin != DEFAULT && !(in_a_file && default.as_ref() == Some(&entry.value))
        })
    }

    /// The name of a setting as it was written, and where.
    pub(super) fn place(&self, key: &str) -> String {
        let Problem {
            setting, origin, ..
        } = self.problem(key, "");
        format!("{setting} ({origin})")
    }

    /// A problem with the value in force of a setting.
    pub(super) fn problem(&self, key: &str, allowed: &str) -> Problem {
        let entry = self.entries.iter().find(|entry| entry.setting.key == key);
        Problem {
            setting: entry.map_or_else(|| key.to_owned(), |entry| entry.written.clone()),
            origin: entry.map_or_else(String::new, |entry| entry.origin.clone()),
            value: entry.map(|entry| entry.value.to_string()),
            allowed: allowed.to_owned(),
        }
    }

    /// A secret in force; empty when there is none. The typed settings hold none.
    pub(super) fn secret(&self, key: &str) -> &str {
        let entry = self.entries.iter().find(|entry| entry.setting.key == key);
        match entry.map(|entry| &entry.value) {
            Some(Checked::Secret(secret)) => secret.expose(),
            _ => "",
        }
    }

    /// The values as a tree, to be read into typed settings. Secrets are hidden.
    pub(super) fn tree(&self) -> Value {
        let mut tree = Dict::new();
        for entry in &self.entries {
            let value = Value::from(&entry.value);
            match entry.setting.key.split_once('.') {
                None => {
                    tree.insert(entry.setting.key.to_owned(), value);
                }
                Some((group, name)) => {
                    let group = tree.entry(group.to_owned());
                    if let Value::Dict(_, group) = group.or_insert_with(|| Dict::new().into()) {
                        group.insert(name.to_owned(), value);
                    }
                }
            }
        }
        tree.into()
    }
}

/// What files declare, as it was written.
pub(super) struct Written {
    /// Limits.
    pub limits: Declarations,
    /// Pipelines.
    pub pipelines: Declarations,
}

/// A list as it was written.
pub(super) struct Declarations {
    /// The place it comes from.
    pub origin: String,
    /// The list, if there is one.
    pub list: Option<Value>,
}

fn entry(figment: &Figment, setting: &'static Setting) -> Result<Entry, Problem> {
    let raw = figment
        .find_value(setting.key)
        .unwrap_or_else(|_| setting.default.into());
    let metadata = figment.get_metadata(raw.tag());
    let keys: Vec<&str> = setting.key.split('.').collect();
    let (written, origin) = match metadata {
        Some(metadata) => (
            metadata.interpolate(&Profile::Default, &keys),
            metadata.name.to_string(),
        ),
        None => (setting.key.to_owned(), DEFAULT.to_owned()),
    };
    match setting.allowed.check(&raw) {
        Some(value) => Ok(Entry {
            setting,
            value,
            written,
            origin,
        }),
        None => Err(Problem {
            setting: written,
            origin,
            value: Some(shown(setting, &raw)),
            allowed: refusal(setting, &raw),
        }),
    }
}

/// What is allowed, and what was probably meant.
fn refusal(setting: &Setting, raw: &Value) -> String {
    let allowed = format!("must be {}", setting.allowed);
    match setting.allowed.hint(raw) {
        Some(hint) => format!("{allowed}; {hint}"),
        None => allowed,
    }
}

/// A refused value as a problem may show it.
fn shown(setting: &Setting, raw: &Value) -> String {
    if setting.allowed.is_secret() {
        return REDACTED.to_owned();
    }
    show(raw)
}

/// A value as it was written, or what kind of thing it is.
pub(super) fn show(raw: &Value) -> String {
    match raw {
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, fraction) => fraction.unwrap_or(f64::NAN).to_string(),
        },
        Value::Array(..) => "an array".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        _ => "nothing".to_owned(),
    }
}
