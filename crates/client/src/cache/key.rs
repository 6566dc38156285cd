//! Keys of computations: the same for the same computation, whoever asks.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a computation depends on, as one key.
///
/// The key is the kind, a colon, and the whole SHA-256 of model, parameters by name, and text. Each is hashed
/// with its length, so that no two computations have one key because of where a text ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheKey {
    kind: String,
    model: String,
    parameters: BTreeMap<String, String>,
    text: String,
}

impl CacheKey {
    /// A kind of computation, for example `embedding`: at most 191 bytes, for the key to be short enough.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            ..Self::default()
        }
    }

    /// The model that computes.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// A parameter, in whichever order. Leave out what has its default.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// The text that it is computed from.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// The key.
    #[must_use]
    pub fn build(&self) -> String {
        let mut hash = Sha256::new();
        let mut take = |part: &str| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        };
        take(&self.model);
        take(&self.text);
        for (name, value) in &self.parameters {
            take(name);
            take(value);
        }
        let mut key = format!("{}:", self.kind);
        for byte in hash.finalize() {
            // Writing to a string does not fail.
            let _ = write!(key, "{byte:02x}");
        }
        key
    }
}

impl From<CacheKey> for String {
    fn from(key: CacheKey) -> Self {
        key.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_what_is_computed_and_not_on_how_it_was_said() {
        let key = || CacheKey::new("embedding").model("m").text("Hello");
        let both = key().parameter("a", "1").parameter("b", "2").build();
        let turned = key().parameter("b", "2").parameter("a", "1").build();
        assert_eq!(both, turned);
        assert_eq!(both.len(), "embedding:".len() + 64);
        let keys = [
            both,
            key().build(),
            key().model("n").build(),
            key().text("hello").build(),
            key().parameter("a", "1").build(),
            key().parameter("a", "1b2").build(),
            CacheKey::new("embedding").model("mH").text("ello").build(),
            CacheKey::new("answer").model("m").text("Hello").build(),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(one), "{index}");
        }
    }
}
