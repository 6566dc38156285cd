//! Tests.
mod checker;
mod history;
