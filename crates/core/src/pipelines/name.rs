//! Names of pipelines and steps, which are parts of other names and so are kept simple.

use crate::name::name;
use crate::{Error, Result};
use std::borrow::Borrow;
use std::fmt;

/// The step that is meant where none is named.
pub const DEFAULT_STEP: &str = "default";

const MAX_BYTES: usize = 64;
const ALLOWED: &str = "must be 1 to 64 of a-z, 0-9 and _, beginning with a letter";

fn is_word(name: &str) -> bool {
    name.len() <= MAX_BYTES
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

macro_rules! word {
    ($(#[$doc:meta])* $type:ident) => {
        name! { $(#[$doc])* $type }

        impl $type {
            /// Checks a name; `field` is the request's field it came from, for the error.
            pub fn new(name: impl Into<String>, field: &str) -> Result<Self> {
                let name = name.into();
                if !is_word(&name) {
                    return Err(Error::invalid(field, ALLOWED));
                }
                Ok(Self(name.into()))
            }
        }
    };
}

word! {
    /// The name of a pipeline.
    PipelineName
}
word! {
    /// The name of one of its steps.
    StepName
}

/// A step of a pipeline, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepRef {
    /// The pipeline.
    pub pipeline: PipelineName,
    /// The step.
    pub step: StepName,
}

impl StepRef {
    /// Reads `<pipeline>.<step>`, or `<pipeline>` for its step `default`.
    pub fn parse(text: &str, field: &str) -> Result<Self> {
        let (pipeline, step) = text.split_once('.').unwrap_or((text, DEFAULT_STEP));
        if !is_word(pipeline) || !is_word(step) {
            let allowed = "must be <pipeline> or <pipeline>.<step>, each 1 to 64 of a-z, 0-9 and _, \
                           beginning with a letter";
            return Err(Error::invalid(field, allowed));
        }
        Ok(Self {
            pipeline: PipelineName(pipeline.into()),
            step: StepName(step.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_that_every_other_name_can_hold() {
        for bad in [
            "",
            "1a",
            "_a",
            "A",
            "a.b",
            "a-b",
            "a b",
            "é",
            &"x".repeat(65),
        ] {
            let error = PipelineName::new(bad, "name").unwrap_err();
            assert_eq!(error.violation.unwrap().field, "name", "{bad:?}");
        }
        assert!(StepName::new("x".repeat(64), "step").is_ok());
    }

    #[test]
    fn a_reference_without_a_step_means_the_default_one() {
        let read = |text: &str| {
            let step = StepRef::parse(text, "pipeline").ok()?;
            Some((step.pipeline.to_string(), step.step.to_string()))
        };
        assert_eq!(read("ocr"), Some(("ocr".into(), "default".into())));
        assert_eq!(read("a.b_2"), Some(("a".into(), "b_2".into())));
        for bad in ["", ".", "a.", ".b", "a.b.c", "a/b"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
