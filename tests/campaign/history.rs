//! What clients saw: grants and how they ended, each with the two moments between which it was decided.

/// Microseconds of the campaign's own monotonic clock.
pub type Micros = u64;

/// A decision was made somewhere between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The request was sent.
    pub sent: Micros,
    /// The answer was there; `Micros::MAX` when none came.
    pub received: Micros,
}

/// A charge that was admitted, as its client was told.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// Number of the bucket.
    pub bucket: usize,
    /// Units taken.
    pub amount: u64,
    /// When.
    pub at: Span,
    /// One daemon alone admitted it, because the store was away.
    pub degraded: bool,
    /// How long its reservation lasts, where there is one.
    pub ttl: Option<Micros>,
    /// The settle that was sent, if one was.
    pub settled: Option<Settled>,
}

/// A settle that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// When.
    pub at: Span,
    /// The most units that it can have given back: none where the answer says so, all that were asked
    /// for where no answer came.
    pub refunded: u64,
}

impl Grant {
    /// Units that can have been given back.
    pub fn refunded(&self) -> u64 {
        self.settled.map_or(0, |settled| settled.refunded)
    }

    /// When units can have been given back at the earliest.
    pub fn refund_from(&self) -> Micros {
        self.settled.map_or(Micros::MAX, |settled| settled.at.sent)
    }
}
