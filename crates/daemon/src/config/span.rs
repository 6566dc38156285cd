//! Spans of time as settings spell them: a whole number and one unit, `100ms`, `10s`, `2h`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use trellis_core::Micros;

/// The units and their length in microseconds, longest first.
const UNITS: [(&str, u64); 6] = [
    ("d", 24 * 3_600_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// A span of time with a resolution of one microsecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(u64);

impl Span {
    pub(super) const fn millis(count: u64) -> Self {
        Self(count * 1_000)
    }

    pub(super) const fn secs(count: u64) -> Self {
        Self::millis(count * 1_000)
    }

    pub(super) const fn days(count: u64) -> Self {
        Self::secs(count * 24 * 3_600)
    }
}

/// The text is not a span.
#[derive(Debug, thiserror::Error)]
#[error("must be a whole number and one of us, ms, s, m, h, d, such as \"10s\"")]
pub(crate) struct NotASpan;

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
        let (count, (_, micros)) = (count.parse::<u64>().ok(), unit.ok_or(NotASpan)?);
        let span = count.and_then(|count| count.checked_mul(*micros));
        span.map(Self).ok_or(NotASpan)
    }
}

impl fmt::Display for Span {
    /// In the longest unit that needs no fraction.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, micros)| self.0 >= *micros && self.0.is_multiple_of(*micros));
        match whole {
            Some((unit, micros)) => write!(formatter, "{}{unit}", self.0 / micros),
            None => formatter.write_str("0s"),
        }
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(span.0)
    }
}

impl From<Span> for Micros {
    fn from(span: Span) -> Self {
        Self(span.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_prints_as_it_can_be_read() {
        for text in ["1us", "100ms", "10s", "90s", "1m", "2h", "366d", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("120 s".parse::<Span>().unwrap().to_string(), "2m");
    }

    #[test]
    fn what_is_not_a_number_and_a_unit_is_refused() {
        let huge = format!("{}d", u64::MAX);
        for text in ["", "10", "s", "1.5s", "-1s", "10 sec", "1h30m", &huge] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
