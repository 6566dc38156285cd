//! Prepaid leases, the daemon's side: which calls are decided here, out of slices that the store has granted.
//!
//! A *slice* is some units of one bucket that the store has debited already, so spending them asks nobody and
//! exceeds nothing. What makes that true here, whatever the clocks, the network and the store do:
//!
//! - a slice ends at (the time its request was sent + its TTL) on a clock that counts suspend, and that is
//!   checked at every spend; the store, which counts from its own later grant and waits a margin longer,
//!   closes it only afterwards;
//! - what is given back is not spent any more: a slice leaves [`Leases`] before its return is sent; what the
//!   store is told to be spent is not put back;
//! - a slice whose request is not answered is given back whole, and an answer that comes late grants nothing.
//!
//! [`Leases`] holds the slices of many buckets, decides calls, and says what is to be sent ([`Work`]). It is
//! pure: time is handed in, nothing is sent here.

mod decide;
mod demand;
mod lease;
mod suspects;
mod table;

use super::spec::LimitSpec;
use super::types::{ChargeState, SpecSource};
use crate::{Micros, Time};
use smallvec::SmallVec;
use std::sync::Arc;
pub use table::Leases;

/// Spans and bounds of leases.
#[derive(Clone, Copy, Debug)]
pub struct LeaseConfig {
    /// How long a slice may be spent, at most 1 s.
    pub ttl: Micros,
    /// How much longer the store waits before it closes a slice: clocks may drift apart by so much in `ttl`.
    pub margin: Micros,
    /// For how long a slice is meant to last.
    pub horizon: Micros,
    /// What is left of a slice is given back when nothing was spent for so long.
    pub idle_after: Micros,
    /// And so long before the slice ends, at most an eighth of its time.
    pub return_ahead: Micros,
    /// For how long every call is exact where the store grants no slices.
    pub exact_for: Micros,
    /// Buckets with leases.
    pub max_buckets: usize,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            ttl: Micros::from_secs(1),
            margin: Micros::from_millis(100),
            horizon: Micros::from_millis(250),
            idle_after: Micros::from_millis(300),
            return_ahead: Micros::from_millis(50),
            exact_for: Micros::from_secs(1),
            max_buckets: 1_024,
        }
    }
}

/// Which bucket, without owning its names.
#[derive(Clone, Copy, Debug)]
pub struct BucketRef<'a> {
    /// A hash of the three names that nobody outside can foresee.
    pub hash: u64,
    /// Where the limit lives.
    pub namespace: &'a str,
    /// The limit.
    pub limit: &'a str,
    /// The key.
    pub key: &'a str,
}

/// Which bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketName {
    /// As in [`BucketRef`].
    pub hash: u64,
    /// Where the limit lives.
    pub namespace: Box<str>,
    /// The limit.
    pub limit: Box<str>,
    /// The key.
    pub key: Box<str>,
}

impl BucketName {
    /// Without the names.
    #[must_use]
    pub fn as_ref(&self) -> BucketRef<'_> {
        BucketRef {
            hash: self.hash,
            namespace: &self.namespace,
            limit: &self.limit,
            key: &self.key,
        }
    }
}

/// One charge of a call.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which bucket.
    pub bucket: BucketRef<'a>,
    /// Units, at least 1.
    pub amount: i64,
    /// The inline spec.
    pub spec: Option<&'a LimitSpec>,
    /// Whether that spec is required.
    pub require_spec: bool,
}

/// What becomes of a call.
#[derive(Debug)]
pub enum Verdict {
    /// Everything was taken from slices.
    Granted(Vec<ChargeState>),
    /// Nothing was taken: try again after so long.
    Denied(Micros, Vec<ChargeState>),
    /// An ask for the bucket of this charge is under way: decide again once it is answered.
    Join(usize),
    /// These charges were taken from slices, and the store decides on the others.
    Mixed(Held),
    /// The store decides.
    Exact,
}

/// Units taken from slices for a call that is not decided yet: to be handed to [`Leases::release`] when it is
/// denied, to [`Leases::keep`] otherwise. Until then the store is told that they are unspent.
#[derive(Debug, Default)]
pub struct Held {
    /// By charge: its place in the call, and what it met.
    pub charges: Vec<(usize, ChargeState)>,
    parts: SmallVec<[Part; 4]>,
}

/// Units taken from one slice.
#[derive(Clone, Copy, Debug)]
struct Part {
    hash: u64,
    slice: u64,
    units: i64,
}

/// What is to be sent.
#[derive(Debug, Default)]
pub struct Work {
    /// Asks for slices. Each is answered once: [`Leases::answered`] or [`Leases::unanswered`].
    pub asks: Vec<Ask>,
    /// Slices to be given back; one that could not be is handed to [`Leases::not_returned`].
    pub returns: Vec<Return>,
}

/// Asks for a slice.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Of which bucket.
    pub bucket: BucketName,
    /// The slice's name; never twice in a process.
    pub slice: u64,
    /// Units.
    pub wanted: i64,
    /// The least units that are of use.
    pub need: i64,
    /// Units a second asked for here.
    pub demand: i64,
    /// What the store is to know of other slices of the bucket.
    pub reports: Vec<Report>,
}

/// What is left of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The slice.
    pub slice: u64,
    /// Unspent units; `None`: whatever the store granted.
    pub left: Option<i64>,
    /// No more of it is spent: what is left comes back.
    pub done: bool,
    /// When the store has closed it, at the latest: telling it later is of no use.
    until: Time,
}

/// Gives a slice back.
#[derive(Clone, Debug)]
pub struct Return {
    /// Of which bucket.
    pub bucket: Arc<BucketName>,
    /// The slice, `done`.
    pub report: Report,
}

/// What the store says to an ask.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Units of the slice; 0: none.
    pub granted: i64,
    /// When to ask again, on this daemon's clock; `None`: at will.
    pub again: Option<Time>,
    /// Units left in the store.
    pub level: i64,
    /// The spec in force, if there is such a limit, and where it comes from.
    pub spec: Option<(LimitSpec, SpecSource)>,
    /// The largest slice to expect.
    pub share: i64,
    /// Whether slices are granted at all.
    pub rule: Rule,
    /// How long the slice lasts from when it was asked for.
    pub ttl: Micros,
}

/// Whether slices are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// They are, as far as there is enough.
    Given,
    /// This limit, or this share of it, is decided call by call.
    Exact,
    /// Not now: slices are recalled, or calls wait in line.
    NotNow,
}
