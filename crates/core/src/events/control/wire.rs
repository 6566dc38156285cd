//! Numbers and texts as bytes: big-endian, a text behind its length.

use super::super::event::Topic;
use super::super::port::{GroupId, GroupSpec, TopicRetention};
use crate::{Micros, Name, Namespace};

/// Writes.
#[derive(Default)]
pub(super) struct Put(pub Vec<u8>);

impl Put {
    pub fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        // Names are bounded far below.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn topic(&mut self, topic: &Topic) {
        self.text(topic.namespace.as_str());
        self.text(topic.name.as_str());
    }

    pub fn group(&mut self, id: &GroupId) {
        self.topic(&id.topic);
        self.text(id.name.as_str());
    }

    fn optional(&mut self, number: Option<u64>) {
        self.0.push(u8::from(number.is_some()));
        self.number(number.unwrap_or(0));
    }

    pub fn retention(&mut self, retention: &TopicRetention) {
        self.optional(retention.max_age.map(|age| age.0));
        self.optional(retention.max_bytes);
        self.optional(retention.max_events);
    }

    pub fn spec(&mut self, spec: &GroupSpec) {
        let spans = [spec.lease, spec.min_backoff, spec.max_backoff];
        for span in spans {
            self.number(span.0);
        }
        self.number(u64::from(spec.max_attempts));
        self.0.push(u8::from(spec.ordered));
    }
}

/// Reads; `None` for what is not there.
pub(super) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.chunk().map(|[byte]| byte)
    }

    pub fn number(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_be_bytes)
    }

    pub fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u16::from_be_bytes(self.chunk()?);
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    pub fn topic(&mut self) -> Option<Topic> {
        Some(Topic {
            namespace: Namespace::new(self.text()?, "namespace").ok()?,
            name: Name::new(self.text()?, "topic").ok()?,
        })
    }

    pub fn group(&mut self) -> Option<GroupId> {
        Some(GroupId {
            topic: self.topic()?,
            name: Name::new(self.text()?, "group").ok()?,
        })
    }

    /// Reads into `number`; `None` for what is not there.
    fn optional(&mut self, number: &mut Option<u64>) -> Option<()> {
        let there = self.flag()?;
        let read = self.number()?;
        *number = there.then_some(read);
        Some(())
    }

    pub fn retention(&mut self) -> Option<TopicRetention> {
        let (mut retention, mut max_age) = (TopicRetention::default(), None);
        self.optional(&mut max_age)?;
        self.optional(&mut retention.max_bytes)?;
        self.optional(&mut retention.max_events)?;
        retention.max_age = max_age.map(Micros);
        Some(retention)
    }

    pub fn spec(&mut self) -> Option<GroupSpec> {
        Some(GroupSpec {
            lease: Micros(self.number()?),
            min_backoff: Micros(self.number()?),
            max_backoff: Micros(self.number()?),
            max_attempts: self.small()?,
            ordered: self.flag()?,
        })
    }

    /// What is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
