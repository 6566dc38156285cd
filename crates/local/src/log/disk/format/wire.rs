//! Reading numbers and byte strings off a slice, every length checked.

use super::Malformed;
use bytes::Bytes;

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

    /// A length in groups of seven bits, the lowest first, at most five of them.
    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.bytes.get(self.at).ok_or(Malformed)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).map_err(|_| Malformed);
            }
        }
        Err(Malformed)
    }

    /// A byte string behind its length.
    pub(super) fn string(&mut self) -> Result<Bytes, Malformed> {
        let length = self.length()?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        if length > self.left() {
            return Err(Malformed);
        }
        let end = self.at + length;
        let string = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(string)
    }
}

/// Writes a length as [`SharedWire::length`] reads it. Lengths are below 2^32: bounds on batches are.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    let mut left = length;
    loop {
        let [low, ..] = (left & 0x7f).to_le_bytes();
        left >>= 7;
        if left == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Writes a byte string behind its length.
pub(super) fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    put_length(out, string.len());
    out.extend_from_slice(string);
}
