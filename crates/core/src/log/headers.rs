//! The named values beside a record's own, and how records are written, many into one allocation.

use super::types::Record;
use super::wire::{put_length, put_string, take_string};
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::mem::take;
use std::ops::Range;

/// Named values, in the order in which they were given. A name may occur several times; [`Batch::new`](super::Batch::new) checks
/// that names are 1 to 256 bytes of UTF-8. Values are any bytes.
///
/// All stand in one piece, which clones share: name and value of each, as [`put_string`] writes them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers {
    written: Bytes,
    count: usize,
    /// Of names and values.
    size: usize,
}

/// A named value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl Headers {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Each, in order.
    #[must_use]
    pub fn iter(&self) -> HeaderIter<'_> {
        HeaderIter(&self.written)
    }

    /// As they are written; [`Headers::read`] reads them.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// Reads so many that stand in shared bytes from a place on, and tells where they end. `None` where they do not.
    #[must_use]
    pub fn read(bytes: &Bytes, from: usize, count: usize) -> Option<(Self, usize)> {
        let mut left = bytes.get(from..)?;
        let mut size = 0;
        for _ in 0..count {
            size += take_string(&mut left)?.len();
            size += take_string(&mut left)?.len();
        }
        let end = bytes.len() - left.len();
        let written = if end > from {
            bytes.slice(from..end)
        } else {
            Bytes::new()
        };
        Some((
            Self {
                written,
                count,
                size,
            },
            end,
        ))
    }
}

/// Headers that are left to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderIter<'a>(&'a [u8]);

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let name = take_string(&mut self.0)?;
        let value = take_string(&mut self.0)?;
        Some(Header { name, value })
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut record = RecordWriter::default();
        for (name, value) in headers {
            record.put(name.as_ref(), value.as_ref());
        }
        record.finish(0..0, &[]).headers
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        let headers = self.iter().map(|it| (text(it.name), text(it.value)));
        formatter.debug_map().entries(headers).finish()
    }
}

/// Bytes of a block. Whoever holds a record of it holds all of it, so it is small.
const BLOCK: usize = 2 * 1024;

/// Writes records, one after the other, each with its headers first and its value behind in one piece.
#[derive(Debug, Default)]
pub struct RecordWriter {
    /// The headers of the record at hand.
    out: Vec<u8>,
    count: usize,
    size: usize,
    /// What is left of the block at hand.
    block: BytesMut,
    /// Larger records have an allocation of their own.
    most_in_block: usize,
}

impl RecordWriter {
    /// One whose small records share blocks: many are made and dropped at the price of one allocation, and those that are read
    /// one after the other lie so.
    #[must_use]
    pub fn in_blocks() -> Self {
        Self {
            most_in_block: BLOCK / 4,
            ..Self::default()
        }
    }

    /// Adds a header; tells where its value stands.
    pub fn put(&mut self, name: &[u8], value: &[u8]) -> Range<usize> {
        put_string(&mut self.out, name);
        put_string(&mut self.out, value);
        self.count += 1;
        self.size += name.len() + value.len();
        self.out.len() - value.len()..self.out.len()
    }

    /// Adds a header whose value is two parts, one behind the other.
    pub fn put_joined(&mut self, name: &[u8], (one, other): (&[u8], &[u8])) {
        let length = one.len() + other.len();
        put_string(&mut self.out, name);
        put_length(&mut self.out, length);
        self.out.extend_from_slice(one);
        self.out.extend_from_slice(other);
        self.count += 1;
        self.size += name.len() + length;
    }

    /// Adds headers that are written already.
    pub fn put_all(&mut self, headers: &Headers) {
        self.out.extend_from_slice(&headers.written);
        self.count += headers.count;
        self.size += headers.size;
    }

    /// The record with these headers and this value; `key` is where its key stands, as [`RecordWriter::put`] told. The next one
    /// begins.
    pub fn finish(&mut self, key: Range<usize>, value: &[u8]) -> Record {
        let (end, bytes) = (self.out.len(), self.out.len() + value.len());
        let mut own = BytesMut::new();
        let (room, least) = if bytes > self.most_in_block {
            (&mut own, bytes)
        } else {
            (&mut self.block, BLOCK)
        };
        if room.capacity() < bytes {
            *room = BytesMut::with_capacity(least);
        }
        room.extend_from_slice(&self.out);
        room.extend_from_slice(value);
        let mut written = room.split().freeze();
        let value = written.split_off(end);
        self.out.clear();
        Record {
            key: if key.is_empty() {
                Bytes::new()
            } else {
                written.slice(key)
            },
            headers: Headers {
                written,
                count: take(&mut self.count),
                size: take(&mut self.size),
            },
            value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn pairs() -> impl Strategy<Value = Pairs> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
        proptest::collection::vec((bytes(20), bytes(300)), 0..6)
    }

    proptest! {
        #[test]
        fn headers_are_read_as_they_were_written(pairs in pairs(), before in 0_usize..5) {
            let headers: Headers = pairs.iter().map(|(name, value)| (name, value)).collect();
            let seen: Vec<_> = headers.iter().map(|it| (it.name.to_vec(), it.value.to_vec())).collect();
            prop_assert_eq!(&seen, &pairs);
            prop_assert_eq!(headers.size(), pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>());
            let mut bytes = vec![0xff; before];
            bytes.extend_from_slice(headers.written());
            let end = bytes.len();
            bytes.push(7);
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(Headers::read(&bytes, before, pairs.len()), Some((headers, end)));
            prop_assert_eq!(Headers::read(&bytes.slice(..end), before, pairs.len() + 1), None);
        }

        #[test]
        fn a_value_of_two_parts_stands_like_any_other(one in ".{0,200}", other in ".{0,200}", value in ".{0,20}") {
            let mut joined = RecordWriter::default();
            joined.put_joined(b"n", (one.as_bytes(), other.as_bytes()));
            let mut given = RecordWriter::default();
            let text = one + &other;
            let key = given.put(b"n", text.as_bytes());
            let record = given.finish(key, value.as_bytes());
            prop_assert_eq!(&record.headers, &joined.finish(0..0, &[]).headers);
            prop_assert_eq!((&record.key[..], &record.value[..]), (text.as_bytes(), value.as_bytes()));
        }

        #[test]
        fn records_that_share_blocks_are_those_that_stand_alone(
            records in proptest::collection::vec((pairs(), 0_usize..1_500), 1..20),
        ) {
            let mut shared = RecordWriter::in_blocks();
            let write = |writer: &mut RecordWriter, (pairs, value): &(Pairs, usize)| {
                let keys = pairs.iter().map(|(name, value)| writer.put(name, value));
                let key = keys.last().unwrap_or_default();
                writer.finish(key, &vec![7; *value])
            };
            let written: Vec<_> = records.iter().map(|it| write(&mut shared, it)).collect();
            let alone: Vec<_> = records.iter().map(|it| write(&mut RecordWriter::default(), it)).collect();
            prop_assert_eq!(written, alone);
        }
    }
}
