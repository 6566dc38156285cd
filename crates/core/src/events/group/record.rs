//! What is logged of a group, and its bytes.

use super::fold::{DeadLetter, Retry};
use crate::{Error, ErrorCode, Result, Time};

/// The first byte of every record of this version.
const VERSION: u8 = 1;

/// The most stretches in one record.
const MAX_STRETCHES: usize = 65_536;

/// Why an event is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// It was delivered as often as the group allows.
    Attempts,
    /// A member said that trying again does not help.
    Rejected,
}

/// What happened to a group. Offsets are those of the topic's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// These stretches, `(first, end)` each, need not be delivered: acknowledged, or nothing for this group.
    Done(Vec<(u64, u64)>),
    /// An event was delivered so often and is to be delivered again, not before `due`.
    Retry {
        /// Which.
        offset: u64,
        /// Deliveries so far.
        attempts: u32,
        /// As wall-clock time.
        due: Time,
    },
    /// An event is not delivered any more.
    Dead {
        /// Which.
        offset: u64,
        /// Deliveries so far.
        attempts: u32,
        /// Why.
        reason: DeadReason,
    },
    /// A dead letter is to be delivered again, its attempts counted anew.
    Replay {
        /// Which.
        offset: u64,
        /// As wall-clock time.
        due: Time,
    },
    /// Events below an offset were dropped by retention: nothing of them is remembered.
    Gone {
        /// The first that is kept.
        before: u64,
    },
    /// In a checkpoint: some of what stands.
    Part(GroupPart),
}

/// Some of what a group's records amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupPart {
    /// Settled stretches above the floor.
    pub settled: Vec<(u64, u64)>,
    /// Events that are to be delivered again.
    pub retries: Vec<(u64, Retry)>,
    /// Dead letters.
    pub dead: Vec<(u64, DeadLetter)>,
}

impl GroupPart {
    fn numbers(&self) -> Vec<u64> {
        let mut numbers = vec![self.settled.len() as u64, self.retries.len() as u64];
        for (first, end) in &self.settled {
            numbers.extend([*first, *end]);
        }
        for (offset, retry) in &self.retries {
            numbers.extend([*offset, u64::from(retry.attempts), retry.due.0]);
        }
        for (offset, letter) in &self.dead {
            numbers.extend([
                *offset,
                u64::from(letter.attempts),
                letter.reason.to_number(),
            ]);
        }
        numbers
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let (&[settled, retries], rest) = numbers.split_first_chunk::<2>()?;
        let settled_numbers = usize::try_from(settled.checked_mul(2)?).ok()?;
        let (settled, rest) = rest.split_at_checked(settled_numbers)?;
        let retry_numbers = usize::try_from(retries.checked_mul(3)?).ok()?;
        let (retries, dead) = rest.split_at_checked(retry_numbers)?;
        let retry = |&[offset, attempts, due]: &[u64; 3]| {
            let attempts = u32::try_from(attempts).ok()?;
            let due = Time(due);
            Some((offset, Retry { attempts, due }))
        };
        let letter = |&[offset, attempts, reason]: &[u64; 3]| {
            let attempts = u32::try_from(attempts).ok()?;
            let reason = DeadReason::from_number(reason)?;
            Some((offset, DeadLetter { attempts, reason }))
        };
        let (letters, left) = dead.as_chunks::<3>();
        left.is_empty().then_some(())?;
        Some(Self {
            settled: stretches(settled)?,
            retries: retries
                .as_chunks::<3>()
                .0
                .iter()
                .map(retry)
                .collect::<Option<_>>()?,
            dead: letters.iter().map(letter).collect::<Option<_>>()?,
        })
    }
}

impl DeadReason {
    fn to_number(self) -> u64 {
        match self {
            Self::Attempts => 1,
            Self::Rejected => 2,
        }
    }

    fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Attempts),
            2 => Some(Self::Rejected),
            _ => None,
        }
    }
}

impl GroupRecord {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        let mut put = |kind: u8, numbers: &[u64]| {
            out.push(kind);
            for number in numbers {
                out.extend_from_slice(&number.to_be_bytes());
            }
        };
        match self {
            Self::Done(stretches) => {
                let ends = stretches.iter().flat_map(|(first, end)| [*first, *end]);
                put(1, &ends.collect::<Vec<_>>());
            }
            Self::Retry {
                offset,
                attempts,
                due,
            } => put(2, &[*offset, u64::from(*attempts), due.0]),
            Self::Dead {
                offset,
                attempts,
                reason,
            } => put(3, &[*offset, u64::from(*attempts), reason.to_number()]),
            Self::Replay { offset, due } => put(4, &[*offset, due.0]),
            Self::Gone { before } => put(5, &[*before]),
            Self::Part(part) => put(6, &part.numbers()),
        }
        out
    }

    /// Reads a record. Errors: `Internal` for one of a version or kind that is not known, which must stop whoever folds it:
    /// it must not be passed over.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let unknown = || {
            Error::new(
                ErrorCode::Internal,
                "a record of a group was written by another version",
            )
        };
        let [version, kind, rest @ ..] = bytes else {
            return Err(unknown());
        };
        let (numbers, left) = rest.as_chunks::<8>();
        if *version != VERSION || !left.is_empty() {
            return Err(unknown());
        }
        let numbers: Vec<u64> = numbers.iter().map(|it| u64::from_be_bytes(*it)).collect();
        let small = |number: u64| u32::try_from(number).map_err(|_| unknown());
        Ok(match (kind, numbers.as_slice()) {
            (1, ends) => Self::Done(stretches(ends).ok_or_else(unknown)?),
            (2, &[offset, attempts, due]) => Self::Retry {
                offset,
                attempts: small(attempts)?,
                due: Time(due),
            },
            (3, &[offset, attempts, reason]) => Self::Dead {
                offset,
                attempts: small(attempts)?,
                reason: DeadReason::from_number(reason).ok_or_else(unknown)?,
            },
            (4, &[offset, due]) => Self::Replay {
                offset,
                due: Time(due),
            },
            (5, &[before]) => Self::Gone { before },
            (6, numbers) => Self::Part(GroupPart::from_numbers(numbers).ok_or_else(unknown)?),
            _ => return Err(unknown()),
        })
    }
}

fn stretches(ends: &[u64]) -> Option<Vec<(u64, u64)>> {
    let (pairs, left) = ends.as_chunks::<2>();
    let right = left.is_empty() && pairs.len() <= MAX_STRETCHES;
    let rising = pairs.iter().all(|[first, end]| first < end);
    (right && rising).then(|| pairs.iter().map(|[first, end]| (*first, *end)).collect())
}
