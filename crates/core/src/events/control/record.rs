//! One record of the control partition, and its bytes.

use super::super::event::Topic;
use super::super::group::GroupRecord;
use super::super::port::{GroupId, GroupSpec, TopicRetention};
use crate::wire::{Put, Take};
use crate::{Error, ErrorCode, Result};

/// The first byte of every record of this version.
const VERSION: u8 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// The first of a log: over so many partitions topics are spread, for ever.
    Partitions(u32),
    /// A life has begun.
    Started,
    /// What a topic keeps.
    TopicSet {
        /// Which.
        topic: Topic,
        /// How long.
        retention: TopicRetention,
    },
    /// There is a group; one that there is already stays as it is.
    GroupMade {
        /// Which.
        id: GroupId,
        /// The first offset that is its concern.
        floor: u64,
        /// How it deals its events out.
        spec: GroupSpec,
    },
    /// A group deals its events out otherwise.
    GroupSet {
        /// Which.
        id: GroupId,
        /// How.
        spec: GroupSpec,
    },
    /// There is no such group any more.
    GroupDeleted(GroupId),
    /// Something happened to a group.
    Group {
        /// Which.
        id: GroupId,
        /// What.
        record: GroupRecord,
    },
    /// Here a checkpoint begins.
    CheckpointBegin {
        /// Which.
        number: u64,
        /// As `Partitions` said.
        partitions: u32,
    },
    /// A part of a checkpoint.
    Part(Box<ControlRecord>),
    /// Here a checkpoint ends.
    CheckpointEnd {
        /// Which.
        number: u64,
    },
}

impl ControlRecord {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Put(vec![VERSION]);
        self.put(&mut out);
        out.0
    }

    fn put(&self, out: &mut Put) {
        match self {
            Self::Partitions(count) => {
                out.0.push(1);
                out.number(u64::from(*count));
            }
            Self::Started => out.0.push(2),
            Self::TopicSet { topic, retention } => {
                out.0.push(3);
                out.topic(topic);
                out.retention(retention);
            }
            Self::GroupMade { id, floor, spec } => {
                out.0.push(4);
                out.group(id);
                out.number(*floor);
                out.spec(spec);
            }
            Self::GroupSet { id, spec } => {
                out.0.push(5);
                out.group(id);
                out.spec(spec);
            }
            Self::GroupDeleted(id) => {
                out.0.push(6);
                out.group(id);
            }
            Self::Group { id, record } => {
                out.0.push(7);
                out.group(id);
                out.0.extend(record.encode());
            }
            Self::CheckpointBegin { number, partitions } => {
                out.0.push(8);
                out.number(*number);
                out.number(u64::from(*partitions));
            }
            Self::Part(part) => {
                out.0.push(9);
                part.put(out);
            }
            Self::CheckpointEnd { number } => {
                out.0.push(10);
                out.number(*number);
            }
        }
    }

    /// Reads a record. Errors: `Internal` for one of a version or kind that is not known, which must not be passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let unknown = || {
            let message = "a record of topics and groups was written by another version";
            Error::new(ErrorCode::Internal, message)
        };
        let mut rest = Take(bytes);
        if rest.byte() != Some(VERSION) {
            return Err(unknown());
        }
        let record = Self::take(&mut rest, true).ok_or_else(unknown)?;
        if rest.rest().is_empty() {
            Ok(record)
        } else {
            Err(unknown())
        }
    }

    fn take(rest: &mut Take<'_>, outermost: bool) -> Option<Self> {
        Some(match rest.byte()? {
            1 => Self::Partitions(rest.small()?),
            2 => Self::Started,
            3 => Self::TopicSet {
                topic: rest.topic()?,
                retention: rest.retention()?,
            },
            4 => Self::GroupMade {
                id: rest.group()?,
                floor: rest.number()?,
                spec: rest.spec()?,
            },
            5 => Self::GroupSet {
                id: rest.group()?,
                spec: rest.spec()?,
            },
            6 => Self::GroupDeleted(rest.group()?),
            7 => Self::Group {
                id: rest.group()?,
                record: GroupRecord::decode(rest.rest()).ok()?,
            },
            8 => Self::CheckpointBegin {
                number: rest.number()?,
                partitions: rest.small()?,
            },
            9 if outermost => Self::Part(Box::new(Self::take(rest, false)?)),
            10 => Self::CheckpointEnd {
                number: rest.number()?,
            },
            _ => return None,
        })
    }
}
