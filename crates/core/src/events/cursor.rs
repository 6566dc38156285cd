//! Where a subscription goes on: opaque to callers, and never misread in a log that is not the one it came from.

use super::event::Topic;
use crate::log::{Bounds, History, Offset};
use crate::{Error, Result};
use bytes::{Bytes, BytesMut};
use crc32c::{crc32c, crc32c_append};

/// The first byte of every cursor of this version.
const VERSION: u8 = 1;

/// Bytes of a cursor.
const LENGTH: usize = 1 + 16 + 8 + 8 + 4 + 4;

/// Bytes that blocks grow to.
const BLOCK: usize = 32 * LENGTH;

/// A place between two events of a topic.
///
/// `epoch` is that of the record before it. A log whose tail was lost, and which was then written by another owner, has
/// another epoch there, so the place is known to be none of its own. A change of owner alone changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Whose offsets these are.
    pub history: History,
    /// The first offset that has not been seen.
    pub next: Offset,
    /// The epoch of the record before `next`; 0 where there is none, or none is known.
    pub epoch: u64,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Here, with nothing missed.
    At(Offset),
    /// Here, and something may have been missed before.
    Gap(GapReason, Offset),
}

/// Why something may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// It was dropped for its age or for the topic's size.
    Retention,
    /// The log is another one than that which the cursor came from.
    History,
    /// The log has lost its tail: the place lies beyond its end, or what was before it is not there any more.
    LostTail,
}

impl Cursor {
    /// Its bytes, for a topic: those of another topic are refused. The check in them tells accidents, not forgers, and a forged
    /// cursor shows nothing that its topic does not.
    #[must_use]
    pub fn encode(&self, topic: &Topic) -> Bytes {
        CursorWriter::new(topic, 1).write(self)
    }

    /// Reads a cursor of a topic. Errors: `InvalidField` for anything that this topic did not give.
    pub fn decode(bytes: &[u8], topic: &Topic, field: &str) -> Result<Self> {
        let other = || Error::invalid(field, "must be a cursor that this topic gave");
        let (checked, check) = bytes.split_last_chunk::<4>().ok_or_else(other)?;
        if bytes.len() != LENGTH || u32::from_be_bytes(*check) != crc32c(checked) {
            return Err(other());
        }
        let mut rest = checked;
        let [version] = take(&mut rest).ok_or_else(other)?;
        let history = u128::from_be_bytes(take(&mut rest).ok_or_else(other)?);
        let next = u64::from_be_bytes(take(&mut rest).ok_or_else(other)?);
        let epoch = u64::from_be_bytes(take(&mut rest).ok_or_else(other)?);
        let topic_hash = u32::from_be_bytes(take(&mut rest).ok_or_else(other)?);
        if version != VERSION || topic_hash != hash_of(topic) {
            return Err(other());
        }
        Ok(Self {
            history: History(history),
            next: Offset(next),
            epoch,
        })
    }

    /// Where to go on in a log with these bounds. `start` is where the topic starts, at or after the log's own start;
    /// `epoch_before` is the epoch of the record before the cursor, where that can still be read.
    #[must_use]
    pub fn resume(&self, bounds: Bounds, start: Offset, epoch_before: Option<u64>) -> Resume {
        let start = start.max(bounds.start);
        if self.history != bounds.history {
            return Resume::Gap(GapReason::History, start);
        }
        if self.next > bounds.end {
            return Resume::Gap(GapReason::LostTail, bounds.end);
        }
        if self.next < start {
            return Resume::Gap(GapReason::Retention, start);
        }
        let known = self.epoch != 0;
        match epoch_before {
            // What stands there now was written instead; where that began is not known.
            Some(epoch) if known && epoch != self.epoch => Resume::Gap(GapReason::LostTail, start),
            _ => Resume::At(self.next),
        }
    }
}

/// Which of so many partitions a topic stands in, from 0.
#[must_use]
pub fn partition_of(topic: &Topic, partitions: u32) -> u32 {
    hash_of(topic) % partitions.max(1)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (value, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*value)
}

/// CRC32C, the same in every version and on every machine. It tells accidents, not forgers, and a forged cursor shows nothing
/// that its topic does not.
fn hash_of(topic: &Topic) -> u32 {
    let namespace = crc32c(topic.namespace.as_str().as_bytes());
    // No name contains a control character, so the parts cannot run together.
    let separated = crc32c_append(namespace, b"\0");
    crc32c_append(separated, topic.name.as_str().as_bytes())
}

/// Writes many cursors of one topic: it hashes the topic once, and puts them into blocks that they share.
#[derive(Debug)]
pub struct CursorWriter {
    topic_hash: u32,
    /// What is left of the block at hand.
    block: BytesMut,
    /// Of the next one.
    block_bytes: usize,
}

impl CursorWriter {
    /// For the cursors of a topic, so many of which are known to come. Of further ones each block has room for twice as many as
    /// the one before, up to 32.
    #[must_use]
    pub fn new(topic: &Topic, coming: usize) -> Self {
        Self {
            topic_hash: hash_of(topic),
            block: BytesMut::new(),
            block_bytes: coming.max(1) * LENGTH,
        }
    }

    /// As [`Cursor::encode`].
    pub fn write(&mut self, cursor: &Cursor) -> Bytes {
        let mut bytes = [0; LENGTH];
        bytes[0] = VERSION;
        bytes[1..17].copy_from_slice(&cursor.history.0.to_be_bytes());
        bytes[17..25].copy_from_slice(&cursor.next.0.to_be_bytes());
        bytes[25..33].copy_from_slice(&cursor.epoch.to_be_bytes());
        bytes[33..37].copy_from_slice(&self.topic_hash.to_be_bytes());
        let check = crc32c(&bytes[..37]);
        bytes[37..].copy_from_slice(&check.to_be_bytes());
        if self.block.capacity() < LENGTH {
            self.block = BytesMut::with_capacity(self.block_bytes);
            self.block_bytes = (2 * self.block_bytes).min(BLOCK);
        }
        self.block.extend_from_slice(&bytes);
        self.block.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, Namespace};
    use proptest::prelude::*;

    fn topic(name: &str) -> Topic {
        Topic {
            namespace: Namespace::new("default", "namespace").unwrap(),
            name: Name::new(name, "topic").unwrap(),
        }
    }

    const CURSOR: Cursor = Cursor {
        history: History(7),
        next: Offset(50),
        epoch: 3,
    };

    fn bounds(start: u64, end: u64) -> Bounds {
        Bounds {
            start: Offset(start),
            end: Offset(end),
            history: History(7),
        }
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written_and_no_other_bytes_are(
            (history, next, epoch) in any::<(u128, u64, u64)>(), at in 0..LENGTH, flip in 1..=255_u8,
        ) {
            let cursor = Cursor { history: History(history), next: Offset(next), epoch };
            let bytes = cursor.encode(&topic("a"));
            prop_assert_eq!(Cursor::decode(&bytes, &topic("a"), "cursor"), Ok(cursor));
            let mut changed = bytes.to_vec();
            changed[at] ^= flip;
            prop_assert!(Cursor::decode(&changed, &topic("a"), "cursor").is_err());
        }

        #[test]
        fn whatever_bytes_come_they_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let refused = Cursor::decode(&bytes, &topic("a"), "from.cursor").unwrap_err();
            prop_assert_eq!(refused.violation.unwrap().field, "from.cursor");
        }
    }

    #[test]
    fn a_cursor_of_another_topic_is_refused() {
        let bytes = CURSOR.encode(&topic("a"));
        assert!(Cursor::decode(&bytes, &topic("b"), "cursor").is_err());
    }

    #[test]
    fn a_cursor_goes_on_where_it_was_and_a_new_owner_changes_nothing() {
        let at = Resume::At(Offset(50));
        assert_eq!(CURSOR.resume(bounds(0, 90), Offset(0), Some(3)), at);
        assert_eq!(CURSOR.resume(bounds(50, 50), Offset(50), None), at);
    }

    #[test]
    fn what_was_missed_is_told_with_its_reason() {
        let gap = |reason, at| Resume::Gap(reason, Offset(at));
        let retention = gap(GapReason::Retention, 60);
        assert_eq!(CURSOR.resume(bounds(60, 90), Offset(0), None), retention);
        assert_eq!(CURSOR.resume(bounds(0, 90), Offset(60), Some(3)), retention);
        let lost = gap(GapReason::LostTail, 40);
        assert_eq!(CURSOR.resume(bounds(0, 40), Offset(0), None), lost);
        let rewritten = gap(GapReason::LostTail, 10);
        assert_eq!(CURSOR.resume(bounds(0, 90), Offset(10), Some(4)), rewritten);
        let mut other = bounds(5, 90);
        other.history = History(8);
        assert_eq!(
            CURSOR.resume(other, Offset(0), Some(3)),
            gap(GapReason::History, 5)
        );
    }
}
