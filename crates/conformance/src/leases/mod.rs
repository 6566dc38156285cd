//! Prepaid leases against everything that can go wrong: the daemons' machine ([`trellis_core::limits::leases`])
//! over a store, in a world of drifting clocks, pauses, crashes, and messages that are late, lost or doubled.
//!
//! [`World::run`] plays one such history and returns every admission with its time; [`Promise::broken`] tells
//! whether they exceed the limit. The store is a [`SliceStore`]: [`Model`] is the rules in their shortest form,
//! and backends hold their own store against the same world. [`Fault`] breaks a rule, so that a test can show
//! that the world would notice.

mod model;
mod promise;
mod random;
mod world;

pub use model::{Fault, Model};
pub use promise::{Admission, Promise};
pub use random::Random;
use trellis_core::limits::leases::{Ask, LeaseConfig, Report, Rule};
pub use world::{History, Mishap, World};

/// What a store answers to an ask, in its own time.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// Units; 0: none.
    pub units: i64,
    /// When to ask again.
    pub again: Option<u64>,
    /// Units left.
    pub level: i64,
    /// The largest slice to expect.
    pub share: i64,
    /// Whether slices are granted.
    pub rule: Rule,
    /// How long the slice lasts from when it was asked for.
    pub ttl: u64,
}

/// The part of a store that hands out slices of one bucket. `now` is the store's own clock, in microseconds.
pub trait SliceStore {
    /// Hands out a slice, or not.
    fn lease(&mut self, now: u64, daemon: usize, ask: &Ask, config: &LeaseConfig) -> Granted;
    /// Takes a slice back.
    fn give_back(&mut self, now: u64, daemon: usize, report: Report);
    /// Charges without a slice; tells whether it was admitted.
    fn charge(&mut self, now: u64, daemon: usize, amount: i64) -> bool;
    /// The daemons that were told to give their slices back since the last call.
    fn recalled(&mut self) -> Vec<usize>;
    /// Units in the store that nobody may spend: after all slices have ended, and a long time, all are free.
    fn missing(&mut self, now: u64) -> i64;
}
