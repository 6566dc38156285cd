//! How time passes in a case, and how exactly it can be compared.

use std::time::Duration;
use tokio::time::{Instant, advance, sleep, sleep_until};
use trellis_core::Micros;

/// Tokio rounds timers up to whole milliseconds, and moves paused time by whole milliseconds from where
/// it stands: so a timer fires less than two of them late.
const LATEST: Duration = Duration::from_millis(2);

/// How long on real time something is looked for that needs no time to come.
const LOOKED_FOR: Duration = Duration::from_secs(10);

/// How time passes in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Tokio's paused time: nothing takes time but what a case lets elapse. What a call is told is
    /// exact to the microsecond; what a timer brings comes up to two milliseconds late.
    Virtual,
    /// Real time, for backends across a network.
    Wall {
        /// How far a time may be off: more than a round trip and the scheduling of both sides.
        tolerance: Micros,
    },
}

impl Pace {
    /// How late an answer that time brings may come.
    #[must_use]
    pub fn tolerance(self) -> Micros {
        match self {
            Self::Virtual => LATEST.into(),
            Self::Wall { tolerance } => tolerance,
        }
    }

    /// How far the time of a call and the time by which it is decided may lie apart.
    #[must_use]
    pub fn skew(self) -> Micros {
        match self {
            Self::Virtual => Micros::ZERO,
            Self::Wall { tolerance } => tolerance,
        }
    }

    /// How long to look for what is expected.
    pub(crate) fn patience(self) -> Patience {
        match self {
            Self::Virtual => Patience::Looks(100_000),
            Self::Wall { .. } => Patience::Until(Instant::now() + LOOKED_FOR),
        }
    }

    /// Lets time pass, all that is due meanwhile done.
    pub async fn elapse(self, span: Micros) {
        let span = Duration::from(span);
        match self {
            Self::Wall { .. } => sleep(span).await,
            Self::Virtual => {
                let end = Instant::now() + span;
                if span > LATEST {
                    // Wakes up before `end` however late; on the way time stops at every timer.
                    sleep_until(end - LATEST).await;
                }
                advance(end - Instant::now()).await;
            }
        }
    }
}

/// How long to look for something: by looks where nothing takes time, by time where a look does.
pub(crate) enum Patience {
    Looks(usize),
    Until(Instant),
}

impl Patience {
    /// Whether to look once more.
    pub fn lasts(&mut self) -> bool {
        match self {
            Self::Looks(left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
            Self::Until(end) => Instant::now() < *end,
        }
    }
}
