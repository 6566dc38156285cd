//! A setting's value in its one form, whatever spelling it came in.

use super::secret::Secret;
use figment::value::Value;
use std::fmt;

/// A value that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Flag(bool),
    Count(u64),
    Text(String),
    List(Vec<String>),
    Secret(Secret),
}

impl Checked {
    /// Whether it is text, a list or a secret that holds nothing.
    pub(super) fn is_none(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Secret(secret) => secret.is_empty(),
            Self::Flag(_) | Self::Count(_) => false,
        }
    }
}

/// As TOML spells it.
impl fmt::Display for Checked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "{flag}"),
            Self::Count(count) => write!(formatter, "{count}"),
            Self::Text(text) => write!(formatter, "{}", toml::Value::from(text.as_str())),
            Self::List(list) => write!(formatter, "{}", toml::Value::from(list.clone())),
            Self::Secret(secret) => write!(formatter, "{secret}"),
        }
    }
}

impl From<&Checked> for Value {
    fn from(checked: &Checked) -> Self {
        match checked {
            Checked::Flag(flag) => (*flag).into(),
            Checked::Count(count) => (*count).into(),
            Checked::Text(text) => text.as_str().into(),
            Checked::List(list) => list.clone().into(),
            // Nothing uses a secret yet, so none is handed on.
            Checked::Secret(secret) => secret.to_string().into(),
        }
    }
}
