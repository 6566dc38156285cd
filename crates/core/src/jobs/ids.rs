//! What names a job, a lease, and the daemon that owns a partition.

use crate::log::Partition;
use crate::{Error, Result, Time};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// Names a job. Made by the daemon that takes it in: the millisecond in 48 bits, the partition in 16, and 64 random bits. So ids
/// of one partition sort by when they were made, as well as the clocks of the daemons agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

impl JobId {
    /// An id made at a wall-clock time for a job of a partition.
    #[must_use]
    pub fn new(made: Time, partition: Partition, random: u64) -> Self {
        let millis = u128::from(made.0 / 1_000) & 0xffff_ffff_ffff;
        let partition = u128::from(partition.0 & 0xffff);
        Self((millis << 80) | (partition << 64) | u128::from(random))
    }

    /// When it was made, to the millisecond.
    #[must_use]
    pub fn made(self) -> Time {
        Time(u64::try_from(self.0 >> 80).unwrap_or(u64::MAX) * 1_000)
    }

    /// Where its job stands.
    #[must_use]
    pub fn partition(self) -> Partition {
        let partition = u32::try_from((self.0 >> 64) & 0xffff);
        Partition(partition.unwrap_or_default())
    }

    /// Reads an id; `field` is the request's field it came from, for the error.
    pub fn parse(text: &str, field: &str) -> Result<Self> {
        hexadecimal::<16>(text)
            .map(|bytes| Self(u128::from_be_bytes(bytes)))
            .ok_or_else(|| {
                let allowed = "must be an id: 32 hexadecimal digits";
                Error::invalid(field, allowed)
            })
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        digits(&mut text, &self.0.to_be_bytes());
        show(&text, formatter)
    }
}

/// A map by jobs that are known. Whoever asks chooses no id, and half of each is random: so there is nothing to hash.
pub type JobMap<V> = HashMap<JobId, V, BuildHasherDefault<JobHasher>>;

/// The same of a set.
pub type JobSet = HashSet<JobId, BuildHasherDefault<JobHasher>>;

/// Takes the random bits of an id for its hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobHasher(u64);

impl Hasher for JobHasher {
    fn write(&mut self, bytes: &[u8]) {
        let bytes = bytes.iter().map(|byte| u64::from(*byte));
        self.0 = bytes.fold(self.0, |hash, byte| hash.rotate_left(8) ^ byte);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the others are not random")]
    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Names a batch. Made as a job's id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub JobId);

impl fmt::Display for BatchId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The place of an owner's record: unique in its partition, and rising in the order of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// The owner's epoch.
    pub epoch: u64,
    /// Its sequence there.
    pub sequence: u64,
}

impl LeaseId {
    /// Reads an id; `field` is the request's field it came from, for the error.
    pub fn parse(text: &str, field: &str) -> Result<Self> {
        let parts = text.split_once('-').and_then(|(epoch, sequence)| {
            Some(Self {
                epoch: number(epoch)?,
                sequence: number(sequence)?,
            })
        });
        parts.ok_or_else(|| Error::invalid(field, "must be a lease's id: two hexadecimal numbers"))
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'-'; 33];
        digits(&mut text[..16], &self.epoch.to_be_bytes());
        digits(&mut text[17..], &self.sequence.to_be_bytes());
        show(&text, formatter)
    }
}

fn number(text: &str) -> Option<u64> {
    hexadecimal::<8>(text).map(u64::from_be_bytes)
}

/// Writes bytes in lower-case digits. The formatter's own way takes ten times as long, and each job has its id in every answer.
fn digits(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn show(text: &[u8], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
}

/// So many bytes in lower-case digits.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, left) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !left.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

/// Who owns a partition: the first to log a higher number than all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Rises with each owner.
    pub number: u64,
    /// One life of one daemon: a random number.
    pub owner: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_are_read_as_they_were_written(made in 0..1_u64 << 57, partition in 0..1_024_u32, random: u64) {
            let id = JobId::new(Time(made), Partition(partition), random);
            prop_assert_eq!(JobId::parse(&id.to_string(), "job_id"), Ok(id));
            prop_assert_eq!(id.made(), Time(made / 1_000 * 1_000));
            prop_assert_eq!(id.partition(), Partition(partition));
            let lease = LeaseId { epoch: made, sequence: random };
            prop_assert_eq!(LeaseId::parse(&lease.to_string(), "lease_id"), Ok(lease));
        }

        #[test]
        fn whatever_is_no_id_is_refused_with_the_field(text in "[0-9a-fA-F-]{0,33}|\\PC{0,40}") {
            if let Err(error) = JobId::parse(&text, "job_id") {
                prop_assert_eq!(error.violation.unwrap().field, "job_id");
            } else {
                prop_assert_eq!(text.len(), 32);
            }
            prop_assert!(LeaseId::parse(&text, "lease_id").is_err() || text.len() == 33);
        }
    }
}
