//! A second opinion: a namespace decided by rules so plain that they can be checked by reading.
//!
//! Nothing is clever here: a bucket is the list of what happened to it, and its level is found by going
//! through that list. The machine is run beside it on random calls (`random`); wherever the contract
//! is exact they must agree, and in a sliding window the machine may be late by one sub-window, never
//! early. Who is served when calls wait is decided by going through the list of those that do (`turns`).

mod bucket;
mod namespace;
mod random;
mod turns;
