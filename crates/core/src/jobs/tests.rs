//! Rules one by one; records and checkpoints; and random lives of owners on a log that does harm, against a model.

mod batches;
mod charges;
mod checkpoints;
mod harness;
mod joins;
mod lives;
mod model;
mod proposals;
mod records;
mod rules;
mod streams;
mod turns;
mod world;
