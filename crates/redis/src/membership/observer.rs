//! Watches the hearts of peers. Pure: the looks and their times are handed in.
//!
//! A peer is suspect when its beat stood still for `death_after` on *our* monotonic clock, between a look
//! that had been answered and a later one that had not yet been sent. A stretch in which we could not look
//! proves nothing, since the store may have been away from the peer as well; after one we start over.

use std::collections::HashMap;
use trellis_core::{Micros, Time};

/// One peer as a look showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pulse {
    pub(crate) daemon: String,
    pub(crate) incarnation: u64,
    pub(crate) beat: u64,
}

/// When a look was sent and answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) sent_at: Time,
    pub(crate) answered_at: Time,
}

struct Seen {
    pulse: Pulse,
    /// When the look was answered that showed this beat first.
    since: Time,
}

/// What was seen so far.
pub(crate) struct Observer {
    death_after: Micros,
    last_look: Time,
    seen: HashMap<String, Seen>,
}

impl Observer {
    pub(crate) fn new(death_after: Micros) -> Self {
        Self {
            death_after,
            last_look: Time::default(),
            seen: HashMap::new(),
        }
    }

    /// Starts over: in another generation, old sights prove nothing.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Takes in a look at all peers and tells who is suspect, with the beat that stood still.
    pub(crate) fn observe(&mut self, look: Look, pulses: &[Pulse]) -> Vec<Pulse> {
        if look.sent_at - self.last_look > Micros(self.death_after.0 / 2) {
            self.forget();
        }
        self.last_look = look.answered_at;
        self.seen
            .retain(|daemon, _| pulses.iter().any(|pulse| pulse.daemon == *daemon));
        let mut suspects = Vec::new();
        for pulse in pulses {
            match self.seen.get(&pulse.daemon) {
                Some(seen) if seen.pulse == *pulse => {
                    if look.sent_at - seen.since >= self.death_after {
                        suspects.push(pulse.clone());
                    }
                }
                _ => {
                    let (pulse, since) = (pulse.clone(), look.answered_at);
                    self.seen
                        .insert(pulse.daemon.clone(), Seen { pulse, since });
                }
            }
        }
        suspects
    }

    /// How long the peer's heart has stood still.
    pub(crate) fn silence(&self, daemon: &str) -> Micros {
        let since = self.seen.get(daemon).map(|seen| seen.since);
        since.map_or(Micros::ZERO, |since| self.last_look - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEATH: Micros = Micros::from_secs(5);

    fn look(observer: &mut Observer, millis: u64, beat: u64) -> usize {
        let sent_at = Time(millis * 1_000);
        let look = Look {
            sent_at,
            answered_at: sent_at + Micros::from_millis(10),
        };
        let pulse = Pulse {
            daemon: "b".to_owned(),
            incarnation: 1,
            beat,
        };
        observer.observe(look, &[pulse]).len()
    }

    #[test]
    fn a_heart_that_stands_still_makes_suspect_after_death_after_and_not_before() {
        let mut observer = Observer::new(DEATH);
        for second in 10..=15 {
            assert_eq!(look(&mut observer, second * 1_000, 7), 0, "{second}");
        }
        assert_eq!(
            look(&mut observer, 15_009, 7),
            0,
            "counted from the answer of the first look"
        );
        assert_eq!(look(&mut observer, 15_010, 7), 1);
        assert_eq!(observer.silence("b"), Micros(5_010_000 - 10_000 + 10_000));
    }

    #[test]
    fn a_beat_starts_the_count_anew() {
        let mut observer = Observer::new(DEATH);
        for (second, beat) in [(10, 7), (12, 7), (14, 8), (16, 8), (18, 8)] {
            assert_eq!(look(&mut observer, second * 1_000, beat), 0);
        }
        assert_eq!(look(&mut observer, 20_000, 8), 1);
    }

    #[test]
    fn a_stretch_without_looks_proves_nothing() {
        let mut observer = Observer::new(DEATH);
        assert_eq!(look(&mut observer, 10_000, 7), 0);
        assert_eq!(
            look(&mut observer, 60_000, 7),
            0,
            "the store was away for everybody"
        );
        assert_eq!(look(&mut observer, 62_000, 7), 0);
        assert_eq!(look(&mut observer, 64_000, 7), 0);
        assert_eq!(look(&mut observer, 66_000, 7), 1);
    }

    #[test]
    fn another_incarnation_is_another_heart() {
        let mut observer = Observer::new(DEATH);
        for second in 10..=14 {
            look(&mut observer, second * 1_000, 7);
        }
        let sent_at = Time(16_000_000);
        let reborn = Pulse {
            daemon: "b".to_owned(),
            incarnation: 2,
            beat: 7,
        };
        assert!(
            observer
                .observe(
                    Look {
                        sent_at,
                        answered_at: sent_at
                    },
                    &[reborn]
                )
                .is_empty()
        );
    }
}
