//! Which events a subscription wants.

use super::event::{Attribute, Event};
use crate::{Error, Result};

/// The most values in one part of a filter.
pub const MAX_FILTER_VALUES: usize = 64;

/// A text, or all that begin with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(String),
    /// All that begin so.
    Prefix(String),
}

impl Pattern {
    /// Whether a text is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => text == wanted,
            Self::Prefix(wanted) => text.starts_with(wanted),
        }
    }
}

/// Wants an event that every part agrees to. A part agrees when it is empty or when one of its values matches. An
/// attribute that an event does not have matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    types: Vec<Pattern>,
    sources: Vec<Pattern>,
    subjects: Vec<Pattern>,
    attributes: Vec<(Attribute, Pattern)>,
}

impl Filter {
    /// Checks the bounds of every part. Errors: `InvalidField` with the part.
    pub fn new(
        types: Vec<Pattern>,
        sources: Vec<Pattern>,
        subjects: Vec<Pattern>,
        attributes: Vec<(Attribute, Pattern)>,
    ) -> Result<Self> {
        let sizes = [
            ("types", types.len()),
            ("sources", sources.len()),
            ("subjects", subjects.len()),
            ("attributes", attributes.len()),
        ];
        for (field, size) in sizes {
            if size > MAX_FILTER_VALUES {
                let allowed = format!("must have at most {MAX_FILTER_VALUES} values");
                return Err(Error::invalid(field, allowed));
            }
        }
        Ok(Self {
            types,
            sources,
            subjects,
            attributes,
        })
    }

    /// Types that are wanted; none for all, as in every part.
    #[must_use]
    pub fn types(&self) -> &[Pattern] {
        &self.types
    }

    /// Sources that are wanted.
    #[must_use]
    pub fn sources(&self) -> &[Pattern] {
        &self.sources
    }

    /// Subjects that are wanted.
    #[must_use]
    pub fn subjects(&self) -> &[Pattern] {
        &self.subjects
    }

    /// Further attributes that are demanded, and their values.
    #[must_use]
    pub fn attributes(&self) -> &[(Attribute, Pattern)] {
        &self.attributes
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        let agrees = |part: &[Pattern], text: Option<&str>| {
            part.is_empty() || text.is_some_and(|text| part.iter().any(|it| it.matches(text)))
        };
        agrees(&self.types, Some(event.kind()))
            && agrees(&self.sources, Some(event.source()))
            && agrees(&self.subjects, event.subject())
            && self.attributes.iter().all(|(name, _)| {
                // Values of one name are alternatives, names are demands.
                let mut own = self.attributes.iter().filter(|(it, _)| it == name);
                let value = event.attribute(name.as_str());
                own.any(|(_, pattern)| value.is_some_and(|value| pattern.matches(value)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::NewEvent;
    use super::*;

    fn event() -> Event {
        Event::new(NewEvent {
            source: "/shop/1".to_owned(),
            kind: "order.paid".to_owned(),
            subject: "orders/42".to_owned(),
            attributes: vec![("region".to_owned(), "eu-west".to_owned())],
            ..NewEvent::default()
        })
        .unwrap()
    }

    fn exact(text: &str) -> Pattern {
        Pattern::Exact(text.to_owned())
    }

    fn prefix(text: &str) -> Pattern {
        Pattern::Prefix(text.to_owned())
    }

    fn wants(types: &[Pattern], subjects: &[Pattern], attributes: &[(&str, Pattern)]) -> bool {
        let attributes = attributes.iter().map(|(name, pattern)| {
            (
                Attribute::new(*name, "attributes").unwrap(),
                pattern.clone(),
            )
        });
        let filter = Filter::new(types.into(), vec![], subjects.into(), attributes.collect());
        filter.unwrap().wants(&event())
    }

    #[test]
    fn every_part_must_agree_and_one_value_of_it_is_enough() {
        assert!(Filter::default().wants(&event()));
        assert!(wants(&[exact("other"), exact("order.paid")], &[], &[]));
        assert!(wants(&[prefix("order.")], &[prefix("orders/")], &[]));
        assert!(!wants(&[prefix("order.")], &[exact("orders/4")], &[]));
        assert!(!wants(&[exact("order")], &[], &[]));
    }

    #[test]
    fn attributes_are_demanded_each_with_alternatives() {
        let (eu, us) = (prefix("eu"), exact("us"));
        assert!(wants(
            &[],
            &[],
            &[("region", us.clone()), ("region", eu.clone())]
        ));
        assert!(!wants(&[], &[], &[("region", us)]));
        assert!(!wants(&[], &[], &[("region", eu), ("tier", prefix(""))]));
    }

    #[test]
    fn a_part_above_its_bound_is_refused() {
        let many = vec![exact("a"); MAX_FILTER_VALUES + 1];
        let refused = Filter::new(vec![], many, vec![], vec![]).unwrap_err();
        assert_eq!(refused.violation.unwrap().field, "sources");
    }
}
