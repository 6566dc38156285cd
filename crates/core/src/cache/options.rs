//! What a caller wants of a key that it may have to compute.

use crate::Micros;

/// Where an entry may be read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// This daemon's copy of the shared store, where there is one.
    #[default]
    Near,
    /// The store itself.
    Store,
}

/// What a caller wants of a look at keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// Whether an entry past its TTL is told where there is no fresh one.
    pub allow_stale: bool,
    /// Where an entry may be read from.
    pub read: ReadFrom,
}

/// Whether an entry past its TTL may be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleMode {
    /// It may not.
    #[default]
    Never,
    /// At once, while one caller computes it anew.
    WhileRevalidate,
    /// When the computation fails.
    OnError,
}

/// What a caller wants of a key that it may have to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchOptions {
    /// Whether an entry past its TTL may be served.
    pub stale: StaleMode,
    /// Compute anew even what is fresh. Joins a computation under way.
    pub refresh: bool,
    /// How long a lease lives unless it is renewed; at least 1 µs.
    pub lease_ttl: Micros,
    /// How long a lease lives at most, from its grant; at least 1 µs.
    pub compute_deadline: Micros,
    /// Where an entry may be read from.
    pub read: ReadFrom,
}

/// What to do where somebody else computes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Say so.
    No,
    /// Wait for the whole value.
    Whole,
    /// Wait, and take the value's parts as they come.
    Parts,
}
