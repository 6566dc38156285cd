//! Who has appended a record, and in which order: by this, readers know the repeats that a log may bring.

use crate::log::{Record, RecordWriter};

pub(super) const NAME: &[u8] = b"trellis-writer";

/// The identity of a record within its partition. Whoever opens a log for writing takes a higher writer than all before, and a
/// higher sequence for each record; so, in the order of the log, a record counts only if its stamp is above all before it. One that
/// is not is a copy, or has landed so late that its append was answered as unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The life that wrote it. It is the epoch of cursors too.
    pub writer: u64,
    /// Its place among the records of that life.
    pub sequence: u64,
}

impl Stamp {
    /// Puts it on a record, in place of one that it has.
    pub fn put(self, record: &mut Record) {
        let mut stamped = RecordWriter::default();
        self.begin(&mut stamped);
        let others = record.headers.iter().filter(|header| header.name != NAME);
        for header in others {
            stamped.put(header.name, header.value);
        }
        record.headers = stamped.finish(0..0, &[]).headers;
    }

    /// Puts it on a record that is begun: it stands first.
    pub(super) fn begin(self, record: &mut RecordWriter) {
        let mut value = [0; 16];
        let (writer, sequence) = value.split_at_mut(8);
        writer.copy_from_slice(&self.writer.to_be_bytes());
        sequence.copy_from_slice(&self.sequence.to_be_bytes());
        record.put(NAME, &value);
    }

    /// The stamp of a record; `None` for one that Trellis did not write.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let header = record.headers.iter().next()?;
        if header.name != NAME {
            return None;
        }
        let (writer, sequence) = header.value.split_first_chunk::<8>()?;
        Some(Self {
            writer: u64::from_be_bytes(*writer),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_put_and_lives_come_before_sequences() {
        let stamp = |writer, sequence| Stamp { writer, sequence };
        let mut record = Record::default();
        assert_eq!(Stamp::of(&record), None);
        stamp(7, 9).put(&mut record);
        assert_eq!(Stamp::of(&record), Some(stamp(7, 9)));
        stamp(7, 10).put(&mut record);
        assert_eq!(
            (Stamp::of(&record), record.headers.len()),
            (Some(stamp(7, 10)), 1)
        );
        assert!(stamp(8, 0) > stamp(7, 9) && stamp(7, 10) > stamp(7, 9));
    }
}
