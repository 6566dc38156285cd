//! Slots: at most so many held at a time, each hold until it is released or its time is over.

use super::spec::ConcurrencySpec;
use crate::Time;
use std::collections::BTreeMap;

/// Who holds slots and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    /// When the hold ends by itself.
    pub until: Time,
    /// The reservation that holds.
    pub reservation: u64,
}

/// Slots and who holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotBucket {
    pub(super) spec: ConcurrencySpec,
    /// Slots of each hold, the one that ends first first.
    holds: BTreeMap<Hold, i64>,
    /// The sum over `holds`; above the slots after the limit was lowered.
    held: i64,
}

impl SlotBucket {
    /// All slots free.
    pub(super) fn new(spec: ConcurrencySpec) -> Self {
        Self {
            spec,
            holds: BTreeMap::new(),
            held: 0,
        }
    }

    /// The same holds under another spec.
    pub(super) fn respec(&self, spec: ConcurrencySpec) -> Self {
        Self {
            spec,
            holds: self.holds.clone(),
            held: self.held,
        }
    }

    /// Slots free; negative after the limit was lowered below what is held.
    pub(super) fn available(&self) -> i64 {
        self.spec.slots.saturating_sub(self.held)
    }

    /// Takes slots, adding to what the hold has.
    pub(super) fn take(&mut self, amount: i64, hold: Hold) {
        *self.holds.entry(hold).or_default() += amount;
        self.held += amount;
    }

    /// Frees every slot of a hold. Returns how many; 0 when it has none here.
    pub(super) fn release(&mut self, hold: Hold) -> i64 {
        let freed = self.holds.remove(&hold).unwrap_or(0);
        self.held -= freed;
        freed
    }

    /// Frees `amount` slots of a hold, at most what it has.
    pub(super) fn release_part(&mut self, amount: i64, hold: Hold) -> i64 {
        let Some(has) = self.holds.get_mut(&hold) else {
            return 0;
        };
        let freed = amount.min(*has);
        *has -= freed;
        if *has == 0 {
            self.holds.remove(&hold);
        }
        self.held -= freed;
        freed
    }

    /// Moves the end of a hold; nothing happens when it has no slots here.
    pub(super) fn renew(&mut self, hold: Hold, until: Time) {
        if let Some(amount) = self.holds.remove(&hold) {
            self.holds.insert(Hold { until, ..hold }, amount);
        }
    }

    /// Who holds how many.
    #[cfg(test)]
    pub(super) fn holds(&self) -> &BTreeMap<Hold, i64> {
        &self.holds
    }

    /// The first time at which `need` slots are free when nobody takes or releases any: holds end by
    /// themselves. When `need` exceeds what the ends of all holds free, the last end.
    pub(super) fn ready_at(&self, need: i64, now: Time) -> Time {
        let mut available = self.available();
        if available >= need {
            return now;
        }
        if need >= available.saturating_add(self.held) {
            return self.holds.keys().next_back().map_or(now, |hold| hold.until);
        }
        let mut last = now;
        for (hold, amount) in &self.holds {
            available += amount;
            last = hold.until;
            if available >= need {
                break;
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_back_by_release_once_and_ready_at_follows_the_ends() {
        let mut bucket = SlotBucket::new(ConcurrencySpec::new(3).unwrap());
        let (a, b) = (
            Hold {
                until: Time(50),
                reservation: 1,
            },
            Hold {
                until: Time(40),
                reservation: 2,
            },
        );
        bucket.take(2, a);
        bucket.take(1, b);
        assert_eq!(bucket.available(), 0);
        assert_eq!(bucket.ready_at(1, Time(0)), Time(40));
        assert_eq!(bucket.ready_at(2, Time(0)), Time(50));
        assert_eq!((bucket.release(a), bucket.release(a)), (2, 0));
        bucket.renew(b, Time(90));
        assert_eq!(bucket.ready_at(3, Time(0)), Time(90));
    }
}
