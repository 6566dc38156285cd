//! Tests of the real binary over real connections.

mod hostile;
mod requests;
mod settings;
mod shutdown;
mod waiters;
