//! Topics and groups as bytes.

use super::super::event::Topic;
use super::super::port::{GroupId, GroupSpec, TopicRetention};
use crate::wire::{Put, Take};
use crate::{Micros, Name, Namespace};

impl Put {
    pub(super) fn topic(&mut self, topic: &Topic) {
        self.text(topic.namespace.as_str());
        self.text(topic.name.as_str());
    }

    pub(super) fn group(&mut self, id: &GroupId) {
        self.topic(&id.topic);
        self.text(id.name.as_str());
    }

    pub(super) fn retention(&mut self, retention: &TopicRetention) {
        self.optional(retention.max_age.map(|age| age.0));
        self.optional(retention.max_bytes);
        self.optional(retention.max_events);
    }

    pub(super) fn spec(&mut self, spec: &GroupSpec) {
        let spans = [spec.lease, spec.min_backoff, spec.max_backoff];
        for span in spans {
            self.number(span.0);
        }
        self.number(u64::from(spec.max_attempts));
        self.flag(spec.ordered);
    }
}

impl Take<'_> {
    pub(super) fn topic(&mut self) -> Option<Topic> {
        Some(Topic {
            namespace: Namespace::new(self.text()?, "namespace").ok()?,
            name: Name::new(self.text()?, "topic").ok()?,
        })
    }

    pub(super) fn group(&mut self) -> Option<GroupId> {
        Some(GroupId {
            topic: self.topic()?,
            name: Name::new(self.text()?, "group").ok()?,
        })
    }

    pub(super) fn retention(&mut self) -> Option<TopicRetention> {
        let (mut retention, mut max_age) = (TopicRetention::default(), None);
        self.optional(&mut max_age)?;
        self.optional(&mut retention.max_bytes)?;
        self.optional(&mut retention.max_events)?;
        retention.max_age = max_age.map(Micros);
        Some(retention)
    }

    pub(super) fn spec(&mut self) -> Option<GroupSpec> {
        Some(GroupSpec {
            lease: Micros(self.number()?),
            min_backoff: Micros(self.number()?),
            max_backoff: Micros(self.number()?),
            max_attempts: self.small()?,
            ordered: self.flag()?,
        })
    }
}
