//! How long records are kept.

use trellis_core::{Micros, Time};

/// What a partition keeps at least; beyond it the oldest records are dropped by and by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest records up to this many bytes, counted as the port counts sizes; `None` for all.
    pub max_bytes: Option<u64>,
    /// Records of at most this age; `None` for all.
    pub max_age: Option<Micros>,
}

impl Retention {
    /// Keeps what is not trimmed.
    pub const FOREVER: Self = Self {
        max_bytes: None,
        max_age: None,
    };

    /// The retention of a partition in a list by number; a partition that is not in it keeps everything.
    #[must_use]
    pub fn of(list: &[Self], partition: u32) -> Self {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        list.get(index).copied().unwrap_or(Self::FOREVER)
    }

    /// Whether records may be dropped behind which `bytes` newer ones stand, the newest of them taken in at `time`.
    #[must_use]
    pub fn drops(&self, newer_bytes: u64, time: Time, now: Time) -> bool {
        let enough = self.max_bytes.is_some_and(|most| newer_bytes >= most);
        let old = self.max_age.is_some_and(|most| time + most < now);
        enough || old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_when_enough_newer_ones_stand_or_when_they_are_old() {
        let second = Micros::from_secs(1);
        let retention = Retention {
            max_bytes: Some(100),
            max_age: Some(second),
        };
        let (then, now) = (Time(5), Time(5) + second);
        assert!(!retention.drops(99, then, now));
        assert!(retention.drops(100, then, now));
        assert!(retention.drops(0, then, now + Micros::TICK));
        assert!(!Retention::FOREVER.drops(u64::MAX, Time(0), Time::NEVER));
    }

    #[test]
    fn a_partition_without_a_rule_keeps_everything() {
        let one = Retention {
            max_bytes: Some(1),
            max_age: None,
        };
        assert_eq!(Retention::of(&[one], 0), one);
        assert_eq!(Retention::of(&[one], 1), Retention::FOREVER);
    }
}
