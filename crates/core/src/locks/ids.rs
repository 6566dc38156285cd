//! Names of what is held: leases and sessions, which only their holders know, and tokens, which everybody may.

use crate::{Error, ErrorCode, Result};
use std::fmt;

/// The highest fencing token: the highest integer that every language holds exactly.
pub const MAX_TOKEN: u64 = (1 << 53) - 1;

/// A fencing token: rises with every exclusive grant in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// Below every token that is given.
    pub const NONE: Self = Self(0);

    /// Checks a token, 1 to [`MAX_TOKEN`]; `field` is the request's field it came from, for the error.
    pub fn new(value: i64, field: &str) -> Result<Self> {
        match u64::try_from(value) {
            Ok(token @ 1..=MAX_TOKEN) => Ok(Self(token)),
            _ => Err(Error::invalid(
                field,
                format!("must be 1 to {MAX_TOKEN}, is {value}"),
            )),
        }
    }

    /// The token that follows both this one and a time in µs.
    pub(crate) fn next(self, micros: u64) -> Result<Self> {
        let next = self.0.saturating_add(1).max(micros);
        if next > MAX_TOKEN {
            let message = "no fencing token is left below 2^53: is the clock right?";
            return Err(Error::new(ErrorCode::Internal, message));
        }
        Ok(Self(next))
    }

    /// The token as a number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

/// The longest text of an id, in bytes: 16 + 1 + 32 digits.
const MAX_ID_BYTES: usize = 49;

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $type {
            pub(crate) number: u64,
            pub(crate) secret: u128,
        }

        impl $type {
            /// An id made by a backend; `secret` must be one that nobody can guess.
            #[must_use]
            pub fn new(number: u64, secret: u128) -> Self {
                Self { number, secret }
            }

            /// What tells it from others to the backend.
            #[must_use]
            pub fn number(&self) -> u64 {
                self.number
            }

            /// What nobody can guess.
            #[must_use]
            pub fn secret(&self) -> u128 {
                self.secret
            }

            /// Reads what a caller sent; `field` is the request's field it came from, for the error. What no
            /// backend can have made is an id that does not exist.
            pub fn parse(text: &str, field: &str) -> Result<Self> {
                if text.is_empty() {
                    return Err(Error::invalid(field, concat!("must be that of a ", $noun)));
                }
                let parsed = text.split_once('-').and_then(|(number, secret)| {
                    Some(Self {
                        number: u64::from_str_radix(number, 16).ok()?,
                        secret: u128::from_str_radix(secret, 16).ok()?,
                    })
                });
                parsed
                    .filter(|_| text.len() <= MAX_ID_BYTES)
                    .ok_or_else(Self::unknown)
            }

            /// The error of an id that names nothing.
            #[must_use]
            pub fn unknown() -> Error {
                let message = concat!(
                    "no such ", $noun, ": never made here, or ended and forgotten"
                );
                Error::new(ErrorCode::LeaseNotFound, message)
            }

            /// The id as callers see it. Whoever knows it may end what it names.
            #[must_use]
            pub fn reveal(&self) -> String {
                format!("{:x}-{:032x}", self.number, self.secret)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($type), "({:x}-***)"), self.number)
            }
        }
    };
}

id! {
    /// Names a lease to its holder.
    LeaseId, "lease"
}
id! {
    /// Names a session to its holder.
    SessionId, "session"
}

/// A session as one stream sees it: another stream that attaches gets another key, and this one is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The session.
    pub id: SessionId,
    /// Which attachment to it, from 1.
    pub attachment: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_as_it_went_out_and_hides_its_secret() {
        let id = LeaseId {
            number: 0x1f,
            secret: u128::MAX,
        };
        assert_eq!(LeaseId::parse(&id.reveal(), "lease_id"), Ok(id));
        assert!(!format!("{id:?}").contains("ffff"));
    }

    #[test]
    fn an_id_that_nobody_made_does_not_exist_and_an_empty_one_is_a_bad_field() {
        for other in [
            "x",
            "1",
            "1-",
            "-1",
            "1-g",
            &"1".repeat(99),
            &format!("1-{}", "0".repeat(99)),
        ] {
            let error = LeaseId::parse(other, "lease_id").unwrap_err();
            assert_eq!(error.code, ErrorCode::LeaseNotFound, "{other}");
        }
        let error = LeaseId::parse("", "lease_id").unwrap_err();
        assert_eq!(error.violation.unwrap().field, "lease_id");
    }

    #[test]
    fn a_token_rises_by_one_at_least_and_ends_below_2_to_the_53() {
        assert_eq!(Token(7).next(3), Ok(Token(8)));
        assert_eq!(Token(7).next(30), Ok(Token(30)));
        assert!(Token(MAX_TOKEN).next(0).is_err());
        assert!(Token::new(0, "token").is_err());
        assert!(Token::new(1 << 53, "token").is_err());
        assert_eq!(Token::new(5, "token").map(Token::get), Ok(5));
    }
}
