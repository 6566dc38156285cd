//! The named values beside a record's own, and how a record is written into one allocation.

use super::types::Record;
use super::wire::{put_length, put_string, take_string};
use bytes::Bytes;
use std::fmt::{self, Display};
use std::io::Write as _;
use std::ops::Range;

/// Named values, in the order in which they were given. A name may occur several times; [`Batch::new`](super::Batch::new) checks
/// that names are 1 to 256 bytes of UTF-8. Values are any bytes.
///
/// All stand in one allocation, which clones share: name and value of each, as [`put_string`] writes them.
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
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        Iter(&self.written)
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

/// What is left of them.
struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        let name = take_string(&mut self.0)?;
        let value = take_string(&mut self.0)?;
        Some(Header { name, value })
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut record = RecordWriter::with_capacity(0);
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

/// Writes a record, headers first, into one allocation.
#[derive(Debug)]
pub struct RecordWriter {
    out: Vec<u8>,
    count: usize,
    size: usize,
}

impl RecordWriter {
    /// One that has room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
            count: 0,
            size: 0,
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

    /// Adds a header whose value is a text to be formed.
    pub fn put_shown(&mut self, name: &[u8], value: impl Display) {
        put_string(&mut self.out, name);
        let at = self.out.len();
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{value}");
        let length = self.out.len() - at;
        put_length(&mut self.out, length);
        let behind = self.out.len() - at - length;
        // The length was known last and stands first.
        self.out[at..].rotate_right(behind);
        self.count += 1;
        self.size += name.len() + length;
    }

    /// Adds headers that are written already.
    pub fn put_all(&mut self, headers: &Headers) {
        self.out.extend_from_slice(&headers.written);
        self.count += headers.count;
        self.size += headers.size;
    }

    /// The record with these headers and this value; `key` is where its key stands, as [`RecordWriter::put`] told.
    #[must_use]
    pub fn finish(mut self, key: Range<usize>, value: &[u8]) -> Record {
        let end = self.out.len();
        self.out.extend_from_slice(value);
        let mut written = Bytes::from(self.out);
        let value = written.split_off(end);
        Record {
            key: if key.is_empty() {
                Bytes::new()
            } else {
                written.slice(key)
            },
            headers: Headers {
                written,
                count: self.count,
                size: self.size,
            },
            value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
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
        fn a_text_that_is_formed_stands_like_any_other(text in ".{0,200}", value in ".{0,20}") {
            let mut formed = RecordWriter::with_capacity(0);
            formed.put_shown(b"n", &text);
            let mut given = RecordWriter::with_capacity(9);
            let key = given.put(b"n", text.as_bytes());
            let record = given.finish(key, value.as_bytes());
            prop_assert_eq!(&record.headers, &formed.finish(0..0, &[]).headers);
            prop_assert_eq!((&record.key[..], &record.value[..]), (text.as_bytes(), value.as_bytes()));
        }
    }
}
