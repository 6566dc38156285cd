//! What the machine does, case by case. One file per promise; the random ones check every step.

mod buckets;
mod check;
mod day;
mod definitions;
mod endings;
mod fair;
pub(super) mod harness;
mod holds;
mod line;
mod liveness;
mod random;
mod requests;
mod reservations;
