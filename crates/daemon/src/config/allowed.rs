//! What a setting may be: one check per kind of value, and the words for it.
//!
//! Variables and flags are text, a file has types; both spellings of a value end as the same
//! [`Checked`]. A host or password that looks like a number stays the text it was.

use super::checked::Checked;
use super::endpoint::{is_host, is_server, is_url};
use super::filter;
use super::secret::Secret;
use super::span::Span;
use figment::value::Value;
use std::fmt;
use std::net::SocketAddr;

/// The kinds of settings and their bounds.
#[derive(Debug)]
pub(super) enum Allowed {
    /// An IP address and a port.
    Address,
    /// Yes or no.
    Flag,
    /// A whole number, both bounds included.
    Count(u64, u64),
    /// A span of time, both bounds included.
    Span(Span, Span),
    /// One of these, in any case.
    Choice(&'static [&'static str]),
    /// A filter of log events.
    Filter,
    /// Letters, digits and this punctuation.
    Word(&'static str),
    /// At most 256 bytes of text, or none.
    Text,
    /// A host name or IP address.
    Host,
    /// `host:port`, or none.
    Server,
    /// `host:port`, several with commas between them or as an array, or none.
    Servers,
    /// Text that never shows, or none.
    Secret,
    /// A URL with one of these schemes, which never shows, or none.
    SecretUrl(&'static [&'static str]),
}

/// The most `host:port` pairs in one setting.
const MAX_SERVERS: usize = 100;
/// What may be wrong with a URL after its scheme.
const URL_HINT: &str = "it needs a host, its port must be 1 to 65535, and a password is \
                        percent-encoded (%2F for /)";
const MAX_WORD: usize = 64;
const MAX_TEXT: usize = 256;
const MAX_SECRET: usize = 4_096;

impl Allowed {
    /// The value in its one form; `None` when it is not allowed.
    pub(super) fn check(&self, raw: &Value) -> Option<Checked> {
        match self {
            Self::Flag => flag(raw).map(Checked::Flag),
            Self::Count(min, max) => count(raw)
                .filter(|count| (*min..=*max).contains(count))
                .map(Checked::Count),
            Self::Servers => servers(raw).map(Checked::List),
            Self::Secret => raw
                .as_str()
                .filter(|text| text.len() <= MAX_SECRET)
                .map(|text| Checked::Secret(Secret::new(text))),
            Self::SecretUrl(schemes) => raw
                .as_str()
                .filter(|text| {
                    text.is_empty() || (text.len() <= MAX_SECRET && is_url(text, schemes))
                })
                .map(|text| Checked::Secret(Secret::new(text))),
            _ => raw
                .as_str()
                .and_then(|text| self.text(text))
                .map(Checked::Text),
        }
    }

    /// The kinds whose one form is text.
    fn text(&self, text: &str) -> Option<String> {
        match self {
            Self::Address => text.parse::<SocketAddr>().ok().map(|it| it.to_string()),
            Self::Span(min, max) => text
                .parse::<Span>()
                .ok()
                .filter(|span| (*min..=*max).contains(span))
                .map(|span| span.to_string()),
            Self::Choice(choices) => choices
                .iter()
                .find(|choice| choice.eq_ignore_ascii_case(text))
                .map(|&choice| choice.to_owned()),
            Self::Filter => filter::check(text),
            Self::Word(marks) => is_word(text, marks, MAX_WORD).then(|| text.to_owned()),
            Self::Host => is_host(text).then(|| text.to_owned()),
            Self::Server => (text.is_empty() || is_server(text)).then(|| text.to_owned()),
            _ => (text.len() <= MAX_TEXT && !text.chars().any(char::is_control))
                .then(|| text.to_owned()),
        }
    }

    /// What to say of a refused value beside what is allowed, if anything. Shows nothing of a secret.
    pub(super) fn hint(&self, raw: &Value) -> Option<String> {
        let text = raw.as_str()?;
        match self {
            Self::Filter => filter::hint(text).map(|level| format!("did you mean {level}?")),
            Self::SecretUrl(schemes) => schemes
                .iter()
                .any(|scheme| text.starts_with(&format!("{scheme}://")))
                .then(|| URL_HINT.to_owned()),
            _ => None,
        }
    }

    /// Whether values must never show.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Secret | Self::SecretUrl(_))
    }
}

fn flag(raw: &Value) -> Option<bool> {
    if let Some(flag) = raw.to_bool() {
        return Some(flag);
    }
    match spelled(raw)?.to_ascii_lowercase().as_str() {
        "1" | "yes" | "on" | "true" => Some(true),
        "0" | "no" | "off" | "false" => Some(false),
        _ => None,
    }
}

fn count(raw: &Value) -> Option<u64> {
    spelled(raw)?.parse().ok()
}

/// Text or a whole number, as text.
fn spelled(raw: &Value) -> Option<String> {
    match raw {
        Value::String(_, text) => Some(text.trim().to_owned()),
        Value::Num(_, number) => number.to_i128().map(|number| number.to_string()),
        _ => None,
    }
}

fn servers(raw: &Value) -> Option<Vec<String>> {
    let servers: Vec<String> = match raw {
        Value::Array(_, items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        _ => raw
            .as_str()?
            .split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect(),
    };
    // Commas alone name nobody, which was hardly meant.
    let names_some = !servers.is_empty() || raw.as_str().is_none_or(str::is_empty);
    let fits = servers.len() <= MAX_SERVERS && servers.iter().all(|server| is_server(server));
    (names_some && fits).then_some(servers)
}

/// Whether it is up to `max` ASCII letters, digits and these marks.
pub(super) fn is_word(text: &str, marks: &str, max: usize) -> bool {
    let fits = |mark: char| mark.is_ascii_alphanumeric() || marks.contains(mark);
    (1..=max).contains(&text.len()) && text.chars().all(fits)
}

impl fmt::Display for Allowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => {
                formatter.write_str("an IP address and a port, such as 127.0.0.1:7117")
            }
            Self::Flag => formatter.write_str("true or false (also 1, 0, yes, no, on, off)"),
            Self::Count(min, max) => write!(formatter, "{min} to {max}"),
            Self::Span(min, max) => write!(formatter, "{min} to {max}, such as \"10s\""),
            Self::Choice(choices) => formatter.write_str(&choices.join(", ")),
            Self::Filter => formatter.write_str(
                "off, error, warn, info, debug, trace, or a filter such as info,trellis_daemon=debug",
            ),
            Self::Word(marks) => write!(
                formatter,
                "1 to {MAX_WORD} letters, digits or any of {marks:?}"
            ),
            Self::Text => write!(
                formatter,
                "at most {MAX_TEXT} bytes of text, or \"\" for none"
            ),
            Self::Host => formatter.write_str("a host name or an IP address, without a port"),
            Self::Server => formatter.write_str("host:port, or none"),
            Self::Servers => write!(
                formatter,
                "at most {MAX_SERVERS} of host:port with commas between them, or none"
            ),
            Self::Secret => write!(formatter, "at most {MAX_SECRET} bytes of text, or none"),
            Self::SecretUrl(schemes) => {
                write!(
                    formatter,
                    "a URL that starts with {}://, or none",
                    schemes.join(":// or ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &Allowed, raw: impl Into<Value>) -> Option<Checked> {
        allowed.check(&raw.into())
    }

    #[test]
    fn a_flag_has_eight_spellings_in_any_case_and_two_types() {
        for yes in ["1", "yes", "on", "true", "TRUE", "Yes", "oN"] {
            assert_eq!(
                check(&Allowed::Flag, yes),
                Some(Checked::Flag(true)),
                "{yes}"
            );
        }
        for no in ["0", "no", "off", "false", "FALSE", "No", "OFF"] {
            assert_eq!(
                check(&Allowed::Flag, no),
                Some(Checked::Flag(false)),
                "{no}"
            );
        }
        assert_eq!(check(&Allowed::Flag, true), Some(Checked::Flag(true)));
        assert_eq!(check(&Allowed::Flag, 0), Some(Checked::Flag(false)));
        for other in ["", "2", "y", "truth"] {
            assert_eq!(check(&Allowed::Flag, other), None, "{other}");
        }
    }

    #[test]
    fn a_count_is_a_number_or_its_text_within_both_bounds() {
        let count = Allowed::Count(2, 10);
        for raw in [Value::from(2), Value::from("2")] {
            assert_eq!(count.check(&raw), Some(Checked::Count(2)));
        }
        assert_eq!(check(&count, "10"), Some(Checked::Count(10)));
        for raw in [
            Value::from(1),
            Value::from(11),
            Value::from(-3),
            Value::from(2.5),
        ] {
            assert_eq!(count.check(&raw), None, "{raw:?}");
        }
        for raw in ["", "two", "0x2", "2s"] {
            assert_eq!(check(&count, raw), None, "{raw}");
        }
    }

    #[test]
    fn numbers_stay_text_where_text_is_wanted() {
        assert_eq!(
            check(&Allowed::Host, "42"),
            Some(Checked::Text("42".into()))
        );
        assert_eq!(
            check(&Allowed::Secret, "00123"),
            Some(Checked::Secret(Secret::new("00123")))
        );
    }

    #[test]
    fn servers_are_a_comma_list_or_an_array() {
        let both = Some(Checked::List(vec!["a:9092".into(), "[::1]:9093".into()]));
        assert_eq!(check(&Allowed::Servers, "a:9092, [::1]:9093,"), both);
        assert_eq!(check(&Allowed::Servers, vec!["a:9092", "[::1]:9093"]), both);
        assert_eq!(
            check(&Allowed::Servers, ""),
            Some(Checked::List(Vec::new()))
        );
        for bad in ["a", "a:0", "a:b:1", "http://a:1", ",", ",,", " , ", " "] {
            assert_eq!(check(&Allowed::Servers, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_choice_comes_back_in_its_own_case() {
        let choice = Allowed::Choice(&["PLAINTEXT", "SASL_SSL"]);
        assert_eq!(
            check(&choice, "sasl_ssl"),
            Some(Checked::Text("SASL_SSL".into()))
        );
        assert_eq!(check(&choice, "tls"), None);
    }
}
