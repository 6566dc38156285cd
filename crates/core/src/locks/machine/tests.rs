//! The machine against a model that is too simple to be wrong, under random calls; and what only it can show.

mod harness;
mod model;
mod random;
mod rules;
