//! Names that cannot be malformed.

use crate::{Error, Result};
use std::borrow::Borrow;
use std::fmt;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

const ALLOWED: &str = "must be 1 to 256 bytes of UTF-8 without control characters";
const ALLOWED_KEY: &str = "must be at most 256 bytes of UTF-8 without control characters";

fn check(value: &str, field: &str, allowed: &str) -> Result<()> {
    if value.len() > MAX_NAME_BYTES || has_control(value) {
        return Err(Error::invalid(field, allowed));
    }
    Ok(())
}

/// Whether a text has control characters. Most texts are ASCII, where every byte is a character.
pub(crate) fn has_control(text: &str) -> bool {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    !plain && text.chars().any(char::is_control)
}

/// Whether two texts are equal.
///
/// Of empty ones no byte is looked at. The plain comparison hands their dangling addresses to the C library, which with
/// AVX-512 loads under an empty mask from there; the processor then has a fault to suppress, and that takes it 100 ns.
#[must_use]
pub fn same_text(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Box<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.into()
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

pub(crate) use name;

macro_rules! required {
    ($type:ident) => {
        impl $type {
            /// Checks a name; `field` is the request's field it came from, for the error.
            pub fn new(value: impl Into<String>, field: &str) -> Result<Self> {
                let value = value.into();
                if value.is_empty() {
                    return Err(Error::invalid(field, ALLOWED));
                }
                check(&value, field, ALLOWED)?;
                Ok(Self(value.into()))
            }
        }
    };
}

name! {
    /// The unit of isolation: what is named in one namespace is unknown in every other.
    Namespace
}
required!(Namespace);
name! {
    /// The name of a limit.
    Name
}
required!(Name);
name! {
    /// The caller's name for one mutation, so that its repeat is known as such.
    RequestId
}
required!(RequestId);
name! {
    /// Whose turn it is: waiting calls of different fair keys are served by turns.
    FairKey
}
required!(FairKey);
name! {
    /// Which events reach the members of a group in order.
    OrderingKey
}
required!(OrderingKey);

impl OrderingKey {
    /// Checks a key, or that there is none.
    pub(crate) fn check(value: &str, field: &str) -> Result<()> {
        check(value, field, ALLOWED_KEY)
    }
}

name! {
    /// Of which a queue has one job that has not ended.
    UniqueKey
}
required!(UniqueKey);
name! {
    /// Of whose jobs a queue runs a bounded number at once.
    ConcurrencyKey
}
required!(ConcurrencyKey);
name! {
    /// The key of a cache entry.
    EntryKey
}
required!(EntryKey);
name! {
    /// A name by which cache entries are cleared together.
    Tag
}
required!(Tag);
name! {
    /// Which bucket of a limit. The empty key is the one shared bucket.
    Key
}

impl Key {
    /// Checks a key; `field` is the request's field it came from, for the error.
    pub fn new(value: impl Into<String>, field: &str) -> Result<Self> {
        let value = value.into();
        check(&value, field, ALLOWED_KEY)?;
        Ok(Self(value.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outside_its_bounds_is_refused_with_the_field() {
        for bad in ["", "a\u{0}b", "tab\t", "\u{85}", &"x".repeat(257)] {
            let error = Name::new(bad, "limit").unwrap_err();
            assert_eq!(error.violation.unwrap().field, "limit", "{bad:?}");
        }
        assert!(Name::new("é".repeat(128), "limit").is_ok());
        assert!(Name::new("x".repeat(256), "limit").is_ok());
    }

    #[test]
    fn only_a_key_may_be_empty() {
        assert_eq!(Key::new("", "key").unwrap().as_str(), "");
        assert!(Key::new("x".repeat(257), "key").is_err());
    }
}
