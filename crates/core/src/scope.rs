//! The guarantee an answer carries.

use crate::Time;
use std::sync::Arc;

/// Who agrees on the state an answer was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All daemons that share the store.
    Shared,
    /// This daemon alone, as configured.
    Local,
    /// This daemon alone, because the shared store is away.
    Degraded {
        /// Since when, as wall-clock time.
        since: Time,
        /// Why, for an operator.
        reason: Arc<str>,
    },
}
