//! Reading numbers and byte strings off a slice, every length checked.

use super::Malformed;
use bytes::Bytes;
use trellis_core::log::Headers;
use trellis_core::log::wire::{take_length, take_string};

/// What is left to read of a slice.
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl Wire<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// How many items follow, each of at least `least` bytes: never more than can be there.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        if count.saturating_mul(least) > self.0.len() {
            return Err(Malformed);
        }
        Ok(count)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

/// What is left to read of shared bytes; what is read of it shares them.
pub(super) struct SharedWire {
    bytes: Bytes,
    at: usize,
}

impl SharedWire {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is left, to be read by `take`.
    fn take<T>(&mut self, take: impl FnOnce(&mut &[u8]) -> Option<T>) -> Result<T, Malformed> {
        let mut left = self.bytes.get(self.at..).ok_or(Malformed)?;
        let taken = take(&mut left).ok_or(Malformed)?;
        self.at = self.bytes.len() - left.len();
        Ok(taken)
    }

    /// A length.
    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        self.take(take_length)
    }

    /// A byte string behind its length.
    pub(super) fn string(&mut self) -> Result<Bytes, Malformed> {
        let length = self.take(|left| take_string(left).map(<[u8]>::len))?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        Ok(self.bytes.slice(self.at - length..self.at))
    }

    /// Headers behind their number.
    pub(super) fn headers(&mut self) -> Result<Headers, Malformed> {
        let count = self.length()?;
        let (headers, end) = Headers::read(&self.bytes, self.at, count).ok_or(Malformed)?;
        self.at = end;
        Ok(headers)
    }
}
