//! Filters of log events: `level`, `target=level` and spans, with commas between them.
//!
//! The library takes any bare word that is no level for a target of which everything is logged, so a
//! mistyped level would log nothing else. Here a bare word must be a level.

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter without spaces around its parts; `None` when it is none.
pub(super) fn check(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let filter = parts(text).collect::<Vec<_>>().join(",");
    let levels_are_known = parts(text).filter_map(level).all(is_level);
    (!filter.is_empty() && levels_are_known && EnvFilter::try_new(&filter).is_ok())
        .then_some(filter)
}

/// The level that the first mistyped one was probably meant to be.
pub(super) fn hint(text: &str) -> Option<&'static str> {
    let written = parts(text).filter_map(level).find(|word| !is_level(word))?;
    let written = written.trim().to_ascii_lowercase();
    let begins = |level: &&str| {
        !written.is_empty() && (level.starts_with(&written) || written.starts_with(*level))
    };
    let is_near = |level: &&str| strsim::damerau_levenshtein(&written, level) <= 1;
    let mut levels = LEVELS.into_iter();
    levels.clone().find(begins).or_else(|| levels.find(is_near))
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// The word of a part that must be a level; `None` where a span stands for itself.
fn level(part: &str) -> Option<&str> {
    let after_span = part.rsplit(']').next().unwrap_or(part);
    let word = after_span.rsplit('=').next().unwrap_or(after_span);
    (!part.ends_with(']')).then_some(word)
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_levels_targets_and_spans() {
        for filter in [
            "off",
            "error",
            "WARN",
            "info",
            "debug",
            "trace",
            "trellisd=error,info",
            "info,trellis_daemon::run=off",
            "[call]",
            "[call]=debug",
            "info,tonic[call{id=7}]=debug",
        ] {
            assert_eq!(check(filter).as_deref(), Some(filter));
        }
        assert_eq!(check(" info, tonic=debug,").unwrap(), "info,tonic=debug");
    }

    #[test]
    fn what_is_no_level_is_refused_with_the_one_that_was_probably_meant() {
        for (written, meant) in [
            ("warning", Some("warn")),
            ("inf", Some("info")),
            ("Information", Some("info")),
            ("err", Some("error")),
            ("dbeug", Some("debug")),
            ("trellis_daemon=warning", Some("warn")),
            ("info,trellis_daemon", None),
            ("verbose", None),
            ("5", None),
            ("trellis_daemon=", None),
            ("[call]=loud", None),
            ("", None),
            (",", None),
        ] {
            assert_eq!(check(written), None, "{written}");
            assert_eq!(hint(written), meant, "{written}");
        }
    }

    #[test]
    fn a_filter_is_one_line() {
        for text in ["info\n", "info\r\nwarn", "info,\ttonic=debug"] {
            assert_eq!(check(text), None, "{text:?}");
        }
    }
}
