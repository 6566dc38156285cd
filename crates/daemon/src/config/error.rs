//! What is wrong with a configuration, in the words of whoever wrote it.
//!
//! A problem names the setting as it was written (a variable, a key or a flag), where that was, the
//! value (secrets show as `***`) and what is allowed. All problems are told at once.

use std::fmt;

/// One setting that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting as it was written, for example `TRELLIS_GRPC__MAX_CALLS` or `grpc.max_calls`.
    pub setting: String,
    /// Where it was written, for example `environment`.
    pub origin: String,
    /// The value, unless the setting itself is the problem.
    pub value: Option<String>,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.setting)?;
        if let Some(value) = &self.value {
            write!(formatter, " = {value}")?;
        }
        write!(formatter, " ({}): {}", self.origin, self.allowed)
    }
}

/// A configuration that is refused: every problem found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the configuration is refused:")?;
        for problem in &self.problems {
            write!(formatter, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// Refuses a configuration that has problems.
    pub(super) fn unless_empty(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Self { problems })
    }
}
