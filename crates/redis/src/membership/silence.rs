//! Which members' shares are withheld, and when. Pure: what a beat has shown is handed in.
//!
//! A member that cannot reach the store spends its share of each limit by itself, for as long as
//! `limits.fallback_hold` after the last beat that the store has acknowledged. So the others decide without that
//! share from when its heart has missed a few beats until then, be it declared dead or not. All times are the
//! store's, by which limits count too, so that all daemons withhold the same.

use std::sync::Arc;
use trellis_core::Micros;

/// Spans that are over and remembered, and the shares in one span. What is beyond is not withheld.
const MAX_PAST: usize = 8;
const MAX_SHARES: usize = 64;

/// For how long a span that is over is remembered: for buckets that nobody has looked at since.
const REMEMBERED: u64 = 3_600_000_000;

/// The finest division of a rate; shares that would need a finer one are rounded up.
const FINEST: u64 = 1_000_000;

/// Which of how many members.
pub type Place = (u64, u64);

/// A stretch of the store's time in which some members' shares are withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// When it begins, in microseconds.
    pub from: u64,
    /// When it ends at the latest.
    pub til: u64,
    /// Which shares, each as which of how many.
    pub shares: Vec<Place>,
}

impl Withheld {
    /// What is left of a rate: so many parts of so many, never rounded up.
    #[must_use]
    pub fn rest(&self) -> (u64, u64) {
        let of = self.shares.iter().fold(1, |of, (_, count)| match of {
            FINEST => FINEST,
            of => Some(lcm(of, *count))
                .filter(|of| *of < FINEST)
                .unwrap_or(FINEST),
        });
        let gone = self.shares.iter().map(|(_, count)| of.div_ceil(*count));
        (of.saturating_sub(gone.sum()), of)
    }
}

fn lcm(a: u64, b: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (a / gcd(a, b)).saturating_mul(b)
}

/// What a beat has shown of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The store's time of its last beat.
    pub at: u64,
    /// The share that it spends while it is apart; `None` before it knows one.
    pub place: Option<Place>,
    /// Whether it says itself that it spends its share.
    pub apart: bool,
    /// Whether it was declared dead.
    pub dead: bool,
}

/// What is withheld by what was seen so far.
pub(crate) struct Silence {
    /// For how long after its last beat a member's share is withheld.
    hold: Micros,
    /// How old the last beat of a silent member is.
    silent_after: Micros,
    spans: Arc<[Withheld]>,
}

impl Silence {
    pub(crate) fn new(hold: Micros, silent_after: Micros) -> Self {
        Self {
            hold,
            silent_after,
            spans: Arc::from([]),
        }
    }

    pub(crate) fn spans(&self) -> Arc<[Withheld]> {
        self.spans.clone()
    }

    /// Takes in what a beat, answered at this time of the store, has shown of all peers. Tells whether other
    /// shares are withheld now than before.
    pub(crate) fn observe(&mut self, now: u64, peers: &[Sight]) -> bool {
        let before = self.present(now.saturating_sub(1));
        let mut spans: Vec<Withheld> = Vec::new();
        for span in self.spans.iter().filter(|span| span.from < now) {
            let til = span.til.min(now);
            if til + REMEMBERED > now {
                spans.push(Withheld {
                    til,
                    ..span.clone()
                });
            }
        }
        spans.drain(..spans.len().saturating_sub(MAX_PAST));
        for span in self.to_come(now, peers) {
            match spans.last_mut() {
                Some(last) if last.til == span.from && last.shares == span.shares => {
                    last.til = span.til;
                }
                _ => spans.push(span),
            }
        }
        self.spans = spans.into();
        before != self.present(now)
    }

    fn present(&self, now: u64) -> Option<Vec<Place>> {
        let mut spans = self.spans.iter();
        let span = spans.find(|span| span.from <= now && now < span.til);
        span.map(|span| span.shares.clone())
    }

    /// One span after the other, each without those whose time is over by then.
    fn to_come(&self, now: u64, peers: &[Sight]) -> Vec<Withheld> {
        let mut held: Vec<(u64, Place)> = peers
            .iter()
            .filter(|peer| peer.dead || peer.apart || now >= peer.at + self.silent_after.0)
            .filter_map(|peer| Some((peer.at + self.hold.0, peer.place?)))
            .filter(|(til, (index, count))| *til > now && index < count)
            .collect();
        held.sort_unstable();
        held.truncate(MAX_SHARES);
        let mut from = now;
        let mut spans = Vec::new();
        for (index, (til, _)) in held.iter().enumerate() {
            if *til > from {
                let mut shares: Vec<Place> =
                    held[index..].iter().map(|(_, place)| *place).collect();
                shares.sort_unstable();
                spans.push(Withheld {
                    from,
                    til: *til,
                    shares,
                });
                from = *til;
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn silence() -> Silence {
        Silence::new(Micros::from_secs(60), Micros::from_secs(3))
    }

    fn sight(at: u64, index: u64) -> Sight {
        Sight {
            at: at * SECOND,
            place: Some((index, 3)),
            apart: false,
            dead: false,
        }
    }

    fn spans(silence: &Silence) -> Vec<(u64, u64, Vec<Place>)> {
        let spans = silence.spans();
        let seconds =
            |span: &Withheld| (span.from / SECOND, span.til / SECOND, span.shares.clone());
        spans.iter().map(seconds).collect()
    }

    #[test]
    fn a_share_is_withheld_from_the_missed_beats_to_the_end_of_the_hold() {
        let mut silence = silence();
        assert!(!silence.observe(102 * SECOND, &[sight(100, 2)]));
        assert!(spans(&silence).is_empty());
        assert!(silence.observe(103 * SECOND, &[sight(100, 2)]));
        let dead = Sight {
            dead: true,
            ..sight(100, 2)
        };
        assert!(!silence.observe(110 * SECOND, &[dead]));
        assert_eq!(spans(&silence), [(103, 160, vec![(2, 3)])]);
        assert!(
            silence.observe(161 * SECOND, &[]) || spans(&silence) == [(103, 160, vec![(2, 3)])]
        );
        silence.observe((160 + 3_600) * SECOND, &[]);
        assert!(spans(&silence).is_empty());
    }

    #[test]
    fn two_silent_members_are_withheld_each_for_its_time() {
        let mut silence = silence();
        silence.observe(104 * SECOND, &[sight(100, 1), sight(101, 2)]);
        let both = vec![(1, 3), (2, 3)];
        assert_eq!(
            spans(&silence),
            [(104, 160, both.clone()), (160, 161, vec![(2, 3)])]
        );
        let back = sight(106, 1);
        assert!(silence.observe(106 * SECOND, &[back, sight(101, 2)]));
        assert_eq!(
            spans(&silence),
            [(104, 106, both), (106, 161, vec![(2, 3)])]
        );
    }

    #[test]
    fn who_says_that_it_is_apart_is_withheld_while_it_beats_and_is_one_span() {
        let mut silence = silence();
        for second in 100..110 {
            let apart = Sight {
                apart: true,
                ..sight(second, 2)
            };
            assert_eq!(silence.observe(second * SECOND, &[apart]), second == 100);
        }
        assert_eq!(spans(&silence), [(100, 169, vec![(2, 3)])]);
        assert!(silence.observe(110 * SECOND, &[sight(110, 2)]));
        assert_eq!(spans(&silence), [(100, 110, vec![(2, 3)])]);
    }

    #[test]
    fn nothing_is_withheld_without_a_hold_or_a_place() {
        let mut silence = Silence::new(Micros::ZERO, Micros::from_secs(3));
        assert!(!silence.observe(104 * SECOND, &[sight(100, 2)]));
        let mut silence = self::silence();
        let unplaced = Sight {
            place: None,
            ..sight(100, 2)
        };
        assert!(!silence.observe(104 * SECOND, &[unplaced]));
    }

    #[test]
    fn what_is_left_of_a_rate_is_exact_or_rounded_down() {
        let rest = |shares: &[Place]| {
            let shares = shares.to_vec();
            Withheld {
                from: 0,
                til: 1,
                shares,
            }
            .rest()
        };
        assert_eq!(rest(&[(2, 3)]), (2, 3));
        assert_eq!(rest(&[(1, 3), (0, 4)]), (5, 12));
        assert_eq!(rest(&[(0, 1)]), (0, 1));
        assert_eq!(rest(&[(0, 2), (0, 2), (1, 2)]), (0, 2));
        let (part, of) = rest(&[(0, 999_983), (1, 999_979)]);
        assert_eq!((part, of), (999_996, 1_000_000));
    }
}
