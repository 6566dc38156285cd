//! [`Filter`]: which events are wanted.

use trellis_proto::v1 as proto;
use trellis_proto::v1::event_pattern::Pattern;

/// Wants the events that every part agrees to: of the types, sources, subjects and attributes named, where any are.
///
/// ```
/// use trellis_client::events::Filter;
///
/// let filter = Filter::new().kind("order.paid").kind_prefix("refund.").attribute("region", "eu");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter(proto::EventFilter);

impl Filter {
    /// Wants everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A type that is wanted.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.0.types.push(exact(kind.into()));
        self
    }

    /// Types that are wanted: all that begin so.
    #[must_use]
    pub fn kind_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.types.push(begins(prefix.into()));
        self
    }

    /// A source that is wanted.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.0.sources.push(exact(source.into()));
        self
    }

    /// Sources that are wanted: all that begin so.
    #[must_use]
    pub fn source_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.sources.push(begins(prefix.into()));
        self
    }

    /// A subject that is wanted.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.0.subjects.push(exact(subject.into()));
        self
    }

    /// Subjects that are wanted: all that begin so.
    #[must_use]
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.subjects.push(begins(prefix.into()));
        self
    }

    /// A further attribute and its value, demanded of every event. Values of one name are alternatives.
    #[must_use]
    pub fn attribute(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.demand(name.into(), exact(value.into()))
    }

    /// As [`Filter::attribute`], all values that begin so.
    #[must_use]
    pub fn attribute_prefix(self, name: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.demand(name.into(), begins(prefix.into()))
    }

    fn demand(mut self, name: String, value: proto::EventPattern) -> Self {
        let value = Some(value);
        let demand = proto::EventAttributePattern { name, value };
        self.0.attributes.push(demand);
        self
    }

    pub(super) fn to_proto(&self) -> proto::EventFilter {
        self.0.clone()
    }
}

fn exact(text: String) -> proto::EventPattern {
    let pattern = Some(Pattern::Exact(text));
    proto::EventPattern { pattern }
}

fn begins(text: String) -> proto::EventPattern {
    let pattern = Some(Pattern::Prefix(text));
    proto::EventPattern { pattern }
}
