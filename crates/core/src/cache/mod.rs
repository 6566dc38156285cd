//! The cache: the port that every backend implements, and the pure machine by which a value is computed once.
//!
//! - [`Cache`], [`Waiting`]: the port.
//! - [`Begin`], [`Begun`], [`Lease`], [`Progress`] and their kin: what goes through it.
//! - [`Entry`]: a value as it is kept, and when it is fresh, stale or gone.
//! - [`BoundedEntries`]: where a daemon keeps entries in its memory.
//! - [`Machine`]: the leases, waiting calls and generations of one namespace, decided without I/O over
//!   [`Entries`].

mod bounded;
mod entry;
mod fence;
mod machine;
mod options;
mod port;
mod types;

pub use bounded::{BoundedEntries, Usage};
pub use entry::{Content, Cost, Entry, Hit, MAX_COST, NewEntry, Policy, Source, Version};
pub use fence::Fence;
pub use machine::{Entries, Machine, MachineConfig, MachineStatus, Step, Ticket};
pub use options::{FetchOptions, GetOptions, ReadFrom, StaleMode, Wait};
pub use port::{Cache, Waiting};
pub use types::{
    Appended, Begin, Begun, CacheStats, CacheStatus, ClearTarget, Deleted, EndedBy, Failure,
    Filled, Landing, Lease, LeaseEnd, LeaseId, Ledger, Lookup, NearReset, NearStatus, Precondition,
    Progress, Written,
};
